//! Holds projections against both catalogs.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::rules::{bind_rules, nullable_key, related};
use super::{
    Blocks, Bound, BoundColumn, BoundSource, Constant, Projection, ProjectionSet, Source, Target, TargetColumn, read_target,
};
use crate::pg::{Session, explain, sqlstate};
use crate::sql::{Ident, Literal};
use crate::terms::{Finding, Severity};

/// What the catalogs say to the projections.
#[derive(Debug, Default)]
pub struct Binding {
    /// The projections that fit, with the description of their green tables.
    pub bound: Vec<(Bound, Target)>,
    /// What does not fit; each blocks.
    pub findings: Vec<Finding>,
    /// What stands in the way of capturing and following changes, but not of a copy.
    pub following: Vec<Finding>,
}

impl Binding {
    /// What forbids to follow: of both lists, the findings that block.
    pub fn blocks_following(&self) -> Vec<Finding> {
        let all = self.findings.iter().chain(&self.following);
        all.filter(|finding| finding.severity == Severity::Blocks).cloned().collect()
    }
}

/// Holds every projection against both catalogs and finds everything that does not fit at once. Changes nothing.
///
/// `keys_indexed` is false while a copy has set the unique indexes aside: then no index is asked for.
///
/// # Errors
/// When a session is gone.
pub async fn bind(blue: &Session, green: &Session, set: &ProjectionSet, keys_indexed: bool) -> anyhow::Result<Binding> {
    let casts = casts(green).await?;
    Binder { blue, green: Some(green), prelude: String::new(), keys_indexed, casts, binding: Binding::default() }.all(set).await
}

/// The same where green's tables get the form that the projections fill only later: blue's catalog alone is asked, and what the
/// files say of green is believed. Enough to know what must be captured, and nothing else.
///
/// # Errors
/// When the session is gone.
pub async fn bind_to_blue(blue: &Session, set: &ProjectionSet) -> anyhow::Result<Binding> {
    let casts = BTreeSet::new();
    Binder { blue, green: None, prelude: String::new(), keys_indexed: false, casts, binding: Binding::default() }.all(set).await
}

struct Binder<'a> {
    blue: &'a Session,
    /// Not yet there for [`bind_to_blue`].
    green: Option<&'a Session>,
    prelude: String,
    keys_indexed: bool,
    casts: BTreeSet<(u32, u32)>,
    binding: Binding,
}

impl Binder<'_> {
    async fn all(mut self, set: &ProjectionSet) -> anyhow::Result<Binding> {
        self.constants(&set.constants).await?;
        self.functions(set).await?;
        for projection in &set.projections {
            self.projection(projection).await?;
        }
        Ok(self.binding)
    }

    fn find(&mut self, object: impl Into<String>, what: impl Into<String>, next: impl Into<String>) {
        let finding = Finding { severity: Severity::Blocks, object: object.into(), what: what.into(), next: next.into() };
        self.binding.findings.push(finding);
    }

    async fn constants(&mut self, constants: &[Constant]) -> anyhow::Result<()> {
        let mut columns = Vec::new();
        for constant in constants {
            let read = match self.green {
                Some(green) => read_constant(green, constant).await?,
                None => Ok("NULL".to_owned()),
            };
            let value = match read {
                Ok(value) => value,
                Err(what) => {
                    let next = "fill what it reads on green, or correct constants.toml";
                    self.find(format!("constant {}", constant.name.as_str()), what, next);
                    "NULL".to_owned() // so that what does not depend on it is still checked
                }
            };
            columns.push(format!("{value} AS {}", constant.name));
        }
        if !columns.is_empty() {
            self.prelude = format!("WITH green AS (SELECT {})\n", columns.join(", "));
        }
        Ok(())
    }

    /// Volatile functions, and aggregates where each row stands alone. Any overload counts.
    async fn functions(&mut self, set: &ProjectionSet) -> anyhow::Result<()> {
        let calls = set.calls();
        let names: Vec<&str> = calls.iter().map(|(name, _)| name.as_str()).collect();
        let rows = self
            .blue
            .query(
                "SELECT DISTINCT proname::text, provolatile = 'v', prokind IN ('a', 'w') FROM pg_proc \
                 WHERE lower(proname) = ANY ($1) AND (provolatile = 'v' OR prokind IN ('a', 'w')) ORDER BY 1",
                &[&names],
            )
            .await?;
        for row in rows {
            let (name, volatile, many): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let object = format!("function {name} on blue");
            if volatile {
                let what = "is volatile: a projection that calls it does not give the same rows each time";
                self.find(object, what, "leave the call out of the projection");
            } else if many && calls.contains(&(name.to_lowercase(), true)) {
                let what = "works on many rows, but outside a sub-select each row stands alone";
                self.find(object, what, "move the call into a sub-select");
            }
        }
        Ok(())
    }

    async fn projection(&mut self, projection: &Projection) -> anyhow::Result<()> {
        let plain = projection.table.plain();
        let found_before = self.binding.findings.len();
        let target = match self.green {
            Some(green) => read_target(green, &projection.table).await?,
            None => Some(Target::believed(projection)),
        };
        let Some(target) = target else {
            let next = "create it on green first, by a `migrate` step before this one";
            self.find(format!("table {plain} on green"), "does not exist", next);
            return Ok(());
        };
        if !target.plain {
            let what = "is no ordinary table (a view, a partition, partitioned, or with children)";
            self.find(format!("table {plain} on green"), what, "project into an ordinary table");
        }
        let named: Vec<&Ident> =
            projection.sources.first().map_or(Vec::new(), |s| s.columns.iter().map(|(name, _)| name).collect());
        self.columns(projection, &target, &named);
        let key: BTreeSet<String> = projection.key.iter().map(|column| column.as_str().to_owned()).collect();
        if self.keys_indexed && !target.unique.contains(&key) {
            let columns = projection.key.iter().map(Ident::as_str).collect::<Vec<_>>().join(", ");
            let what = format!("the key ({columns}) is not covered exactly by a primary key or valid unique index");
            self.find(format!("table {plain} on green"), what, "correct `key` in the projection, or add the unique index");
        }
        let known: Vec<&TargetColumn> = named.iter().filter_map(|name| target.column(name)).collect();
        let mut columns = Vec::new();
        for column in &known {
            columns.push(BoundColumn { name: column.name.clone(), compared_as: self.compared_as(column).await? });
        }
        let mut bound = Bound {
            table: target.table.clone(),
            key: projection.key.clone(),
            columns,
            sources: Vec::new(),
            prelude: self.prelude.clone(),
            binary: known.iter().all(|column| column.built_in()),
            identity: projection.identity,
        };
        for source in &projection.sources {
            let object = format!("projection {plain}, source {}", source.name);
            if let Some(fitted) = self.source(&object, source, &bound, &known).await? {
                bound.sources.push(fitted);
            }
        }
        if self.binding.findings.len() == found_before {
            self.binding.following.extend(related(projection, &bound));
            self.binding.following.extend(nullable_key(projection, &target));
            self.binding.bound.push((bound, target));
        }
        Ok(())
    }

    /// Every column of the table named or defaulted, none unknown.
    fn columns(&mut self, projection: &Projection, target: &Target, named: &[&Ident]) {
        let plain = projection.table.plain();
        for name in named.iter().copied().chain(&projection.defaulted) {
            match target.column(name) {
                None => self.find(
                    format!("projection {plain}, column {}", name.as_str()),
                    "green's table has no such column",
                    "correct the name, or take the column out of the projection",
                ),
                Some(column) if column.generated && named.contains(&name) => self.find(
                    format!("projection {plain}, column {}", name.as_str()),
                    "is generated on green: the server fills it",
                    "move it to `defaulted`",
                ),
                Some(_) => {}
            }
        }
        for column in &target.columns {
            let name = column.name.as_str();
            let defaulted = projection.defaulted.contains(&column.name) || (projection.identity && column.generated);
            if !named.contains(&&column.name) && !defaulted {
                let next = "name it in every source, or list it in `defaulted`";
                self.find(
                    format!("projection {plain}, column {name}"),
                    "is a column of green that the projection does not fill",
                    next,
                );
            } else if defaulted && !column.optional {
                let what = "is defaulted, but green's column is NOT NULL without a default";
                self.find(format!("projection {plain}, column {name}"), what, "name it in every source");
            }
        }
    }

    /// The type under which blue's and green's values have the same text. Without the length where a cast would cut.
    async fn compared_as(&self, column: &TargetColumn) -> anyhow::Result<Option<String>> {
        let name = if column.cast_cuts() { &column.bare_type } else { &column.full_type };
        let known = column.built_in()
            || self.blue.query_one("SELECT to_regtype($1::text) IS NOT NULL", &[&column.bare_type]).await?.get::<_, bool>(0);
        Ok(known.then(|| name.clone()))
    }

    async fn source(
        &mut self,
        object: &str,
        source: &Source,
        bound: &Bound,
        known: &[&TargetColumn],
    ) -> anyhow::Result<Option<BoundSource>> {
        let Some(drives) = read_target(self.blue, &source.drives).await? else {
            self.find(format!("{object}, table {} on blue", source.drives.plain()), "does not exist", "correct `drives`");
            return Ok(None);
        };
        if !drives.plain {
            let what = "is no ordinary table, so its blocks cannot be the parts of a copy";
            let place = format!("{object}, table {} on blue", source.drives.plain());
            self.find(place, what, "let `drives` name an ordinary table");
        }
        let expression = |column: &TargetColumn| {
            source.columns.iter().find(|(name, _)| *name == column.name).map(|(_, text)| (text.clone(), None))
        };
        let mut fitted = BoundSource {
            name: source.name.clone(),
            drives: source.drives.clone(),
            alias: source.alias.clone(),
            from: source.from.clone(),
            filter: source.filter.clone(),
            expressions: known.iter().filter_map(|column| expression(column)).collect(),
            driving: Vec::new(),
            rules: Vec::new(),
            apart: false,
        };
        if fitted.expressions.len() != known.len() {
            return Ok(None); // found when the file was read: its sources name different columns
        }
        let statement = match self.blue.prepare(&bound.rows(&fitted, Blocks { from: 0, to: Some(1) })).await {
            Ok(statement) => statement,
            Err(error) if sqlstate(&error).is_empty() => return Err(error.into()),
            Err(error) => {
                self.blame(object, bound, &fitted, error.into()).await?;
                return Ok(None);
            }
        };
        let mut fits = true;
        for ((column, expression), given) in known.iter().zip(&mut fitted.expressions).zip(statement.columns()) {
            match fit(given.type_(), column, &self.casts) {
                Some(Fit::Same) => {}
                Some(Fit::Cast) => expression.1 = Some(column.bare_type.clone()),
                None => {
                    fits = false;
                    let what = format!("the expression is {}, green's column is {}", given.type_(), column.full_type);
                    let next = "cast the expression to the column's type, if that is right";
                    self.find(format!("{object}, column {}", column.name.as_str()), what, next);
                }
            }
        }
        // EXPLAIN asks for the privileges too, and takes nothing but the locks of a reader.
        let explained = format!("EXPLAIN {}", bound.rows(&fitted, Blocks { from: 0, to: Some(1) }));
        if let Err(error) = self.blue.simple_query(&explained).await {
            if sqlstate(&error).is_empty() {
                return Err(error.into());
            }
            self.find(
                object,
                format!("blue cannot run it: {}", explain(&error.into())),
                "grant SELECT on its tables to this role",
            );
            fits = false;
        }
        if fits {
            let found = bind_rules(self.blue, object, source, bound, &mut fitted, &drives).await?;
            self.binding.following.extend(found);
        }
        Ok(fits.then_some(fitted))
    }

    /// Finds which text of a source blue refuses.
    async fn blame(&mut self, object: &str, bound: &Bound, source: &BoundSource, whole: anyhow::Error) -> anyhow::Result<()> {
        let found_before = self.binding.findings.len();
        let next = "correct the projection; the names are blue's";
        let mut only = Bound { columns: Vec::new(), ..bound.clone() };
        if let Err(error) = self.blue.prepare(&only.rows(source, Blocks { from: 0, to: Some(1) })).await {
            self.find(object, format!("blue refuses from, where or the alias: {}", explain(&error.into())), next);
            return Ok(());
        }
        for (column, expression) in bound.columns.iter().zip(&source.expressions) {
            only.columns = vec![column.clone()];
            let alone = BoundSource { expressions: vec![expression.clone()], ..source.clone() };
            if let Err(error) = self.blue.prepare(&only.rows(&alone, Blocks::ALL)).await {
                let what = format!("blue refuses the expression: {}", explain(&error.into()));
                self.find(format!("{object}, column {}", column.name.as_str()), what, next);
            }
        }
        if self.binding.findings.len() == found_before {
            self.find(object, format!("blue refuses it: {}", explain(&whole)), next);
        }
        Ok(())
    }
}

/// How an expression gets into a column.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    /// As it is.
    Same,
    /// By a cast on blue to the column's type without its length: green enforces the length.
    Cast,
}

/// `casts` holds the assignment casts between the server's own types.
fn fit(given: &Type, column: &TargetColumn, casts: &BTreeSet<(u32, u32)>) -> Option<Fit> {
    let text_like = |oid: u32| oid == Type::TEXT.oid() || oid == Type::VARCHAR.oid();
    let text_array = |oid: u32| oid == Type::TEXT_ARRAY.oid() || oid == Type::VARCHAR_ARRAY.oid();
    let (from, to) = (given.oid(), column.type_oid);
    if !column.built_in() {
        // Another OID in each database: by name, and rows travel as text.
        let own = column.bare_type.rsplit('.').next().unwrap_or_default().trim_matches('"');
        let same = given.name() == own || given.name().strip_prefix('_').is_some_and(|element| own == format!("{element}[]"));
        return same.then_some(Fit::Same);
    }
    let string = text_like(to) || to == Type::BPCHAR.oid();
    if from == to || (text_like(from) && string) {
        Some(Fit::Same)
    } else if casts.contains(&(from, to)) || text_like(to) || (text_array(from) && text_array(to)) {
        Some(Fit::Cast)
    } else {
        None
    }
}

async fn casts(green: &Session) -> anyhow::Result<BTreeSet<(u32, u32)>> {
    let rows = green
        .query("SELECT castsource, casttarget FROM pg_cast WHERE castcontext IN ('a', 'i') AND castsource < 16384 AND casttarget < 16384", &[])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The constant as SQL text `'value'::type`, or what is wrong with it.
async fn read_constant(green: &Session, constant: &Constant) -> anyhow::Result<Result<String, String>> {
    let text = format!("SELECT v::text, pg_typeof(v)::text FROM ({}\n) AS constant(v) LIMIT 2", constant.query);
    let rows = match green.query(&text, &[]).await {
        Ok(rows) => rows,
        Err(error) if sqlstate(&error).is_empty() => return Err(error.into()),
        Err(error) => return Ok(Err(format!("green refuses its query: {}", explain(&error.into())))),
    };
    let [row] = rows.as_slice() else {
        let count = if rows.is_empty() { "no row" } else { "more than one row" };
        return Ok(Err(format!("its query gives {count}; exactly one is expected")));
    };
    Ok(match row.get::<_, Option<String>>(0) {
        Some(value) => Ok(format!("{}::{}", Literal::new(value), row.get::<_, String>(1))),
        None => Err("its query gives NULL".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_: &Type, bare: &str) -> TargetColumn {
        TargetColumn {
            name: Ident::new("c"),
            type_oid: type_.oid(),
            bare_type: bare.to_owned(),
            full_type: bare.to_owned(),
            category: 'U',
            generated: false,
            optional: true,
            not_null: false,
        }
    }

    #[test]
    fn types_fit_as_they_are_by_a_cast_or_not() {
        let casts = BTreeSet::from([(Type::INT4.oid(), Type::INT8.oid())]);
        assert_eq!(fit(&Type::UUID, &column(&Type::UUID, "uuid"), &casts), Some(Fit::Same));
        assert_eq!(fit(&Type::TEXT, &column(&Type::VARCHAR, "character varying"), &casts), Some(Fit::Same));
        assert_eq!(fit(&Type::INT4, &column(&Type::INT8, "bigint"), &casts), Some(Fit::Cast));
        assert_eq!(fit(&Type::BPCHAR, &column(&Type::TEXT, "text"), &casts), Some(Fit::Cast));
        assert_eq!(fit(&Type::TEXT, &column(&Type::JSONB, "jsonb"), &casts), None);
    }
}
