//! `add_constraint`: a constraint without a scan under a strong lock. CHECK and foreign keys are added NOT VALID and then
//! validated; UNIQUE and PRIMARY KEY take over an index that was built concurrently.

use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::ddl::foreign_key::ForeignKey;
use super::ddl::index::{IndexSpec, TRIAL_NEEDS, counted, drop_index, missing_table};
use super::ddl::patient::{count, in_turn, patiently};
use super::drop_index::rebuild;
use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::pg::{ConstraintState, Session, column_state, constraint_state, explain, sqlstate, table_state};
use crate::sql::{self, Demand, Ident, QualifiedName};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "add_constraint",
    about: "add a constraint, checking the rows without blocking anybody",
    parse,
    keys: keys_of::<Written>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    side: Side,
    table: QualifiedName,
    name: Ident,
    check: Option<String>,
    foreign_key: Option<ForeignKey>,
    unique: Option<Vec<Ident>>,
    primary_key: Option<Vec<Ident>>,
    validate: Option<bool>,
}

#[derive(Debug)]
enum Rule {
    Check(String),
    ForeignKey(ForeignKey),
    /// A unique or (true) primary key, and the index of the same name it takes over.
    Key(bool, IndexSpec),
}

struct AddConstraint {
    side: Side,
    table: QualifiedName,
    name: Ident,
    rule: Rule,
    validate: bool,
}

/// What an undo needs: what stood under the name before us.
#[derive(Debug, Serialize, Deserialize)]
struct Was {
    /// `pg_get_constraintdef` of a constraint that we only validate.
    constraint: Option<String>,
    /// `pg_get_indexdef` of an index that we only take over.
    index: Option<String>,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let Written { side, table, name, check, foreign_key, unique, primary_key, validate } = from_table(table)?;
    let given = [check.is_some(), foreign_key.is_some(), unique.is_some(), primary_key.is_some()];
    let mut faults = Vec::new();
    if given.iter().filter(|given| **given).count() != 1 {
        faults.push(Fault::key("name", "exactly one of `check`, `foreign_key`, `unique` and `primary_key` is needed"));
    }
    if let Some(key) = &foreign_key
        && (key.columns.is_empty() || key.columns.len() != key.referenced_columns.len())
    {
        faults.push(Fault::key("foreign_key", "`columns` and `referenced_columns` must be as many, and at least one"));
    }
    if unique.as_ref().or(primary_key.as_ref()).is_some_and(Vec::is_empty) {
        faults.push(Fault::key("name", "a key has at least one column"));
    }
    if validate.is_some() && (unique.is_some() || primary_key.is_some()) {
        faults.push(Fault::key("validate", "`validate` belongs to `check` and `foreign_key`: a key is always checked"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let key = |columns: &[Ident]| IndexSpec {
        side,
        table: table.clone(),
        name: name.clone(),
        columns: columns.iter().map(Ident::to_string).collect(),
        unique: true,
        method: None,
        predicate: None,
        include: Vec::new(),
        nulls_not_distinct: false,
    };
    let rule = match (check, foreign_key, unique, primary_key) {
        (Some(check), ..) => Rule::Check(check),
        (_, Some(foreign_key), ..) => Rule::ForeignKey(foreign_key),
        (_, _, Some(columns), _) => Rule::Key(false, key(&columns)),
        (_, _, _, columns) => Rule::Key(true, key(&columns.unwrap_or_default())),
    };
    let step = AddConstraint { side, table, name, rule, validate: validate.unwrap_or(true) };
    Ok((Box::new(step), Vec::new()))
}

#[async_trait]
impl Step for AddConstraint {
    fn describe(&self) -> Summary {
        let (what, lock) = match &self.rule {
            Rule::Check(_) => ("check", "ACCESS EXCLUSIVE for an instant, lock_timeout with retries; the scan blocks nobody"),
            Rule::ForeignKey(_) => (
                "foreign key",
                "SHARE ROW EXCLUSIVE on both tables for an instant, lock_timeout with retries; the scan blocks nobody",
            ),
            Rule::Key(primary, _) => (
                if *primary { "primary key" } else { "unique constraint" },
                "SHARE UPDATE EXCLUSIVE for the build, ACCESS EXCLUSIVE for an instant, lock_timeout with retries",
            ),
        };
        let not_valid = if self.validate { "" } else { ", not validated" };
        Summary {
            effect: format!("add {what} {} to {} of {}{not_valid}", self.name.as_str(), self.table.plain(), self.side),
            lock: lock.to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        let mut touched = vec![Touched::new(self.side, &self.table, Use::Alters)];
        if let Rule::ForeignKey(key) = &self.rule {
            touched.push(Touched::new(self.side, &key.references, Use::Reads));
        }
        touched
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let table = table_state(&*cx.connect(self.side).await?, &self.table).await?;
        let table = table.with_context(|| format!("table {} is not there yet", self.table.plain()))?;
        let what = if self.validate { "every row read to check it" } else { "no row read" };
        Ok(vec![Forecast {
            object: table.name.plain(),
            what: what.to_owned(),
            rows: Some(if self.validate { table.rows } else { 0 }),
            lock: self.describe().lock,
        }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let mut session = cx.connect(self.side).await?;
        if table_state(&session, &self.table).await?.is_none() {
            return Ok(missing_table(&self.table, self.side));
        }
        let blocks = |object: String, what: String, next: &str| {
            vec![Finding { severity: Severity::Blocks, object, what, next: next.to_owned() }]
        };
        let table = format!("table {}", self.table.plain());
        let constraint = format!("constraint {} of {}", self.name.as_str(), self.table.plain());
        let there = constraint_state(&session, &self.table, &self.name).await?;
        if let Some(there) = &there {
            if let Some(difference) = self.difference(&mut session, there).await? {
                return Ok(blocks(constraint, difference, "drop or rename that one, or give this one another name"));
            }
            if there.validated {
                return Ok(Vec::new());
            }
        }
        match &self.rule {
            Rule::Check(expression) => {
                if let Err(why) = self.check_definition(&mut session, expression).await? {
                    return Ok(blocks(constraint, format!("the server refuses its definition: {why}"), "correct the step"));
                }
                if !self.validate {
                    return Ok(Vec::new());
                }
                let wrong = count(cx, &session, &format!("FROM {} WHERE NOT ({expression})", self.table)).await?;
                Ok(match wrong {
                    0 => Vec::new(),
                    _ => {
                        let what = format!("{} the check {}", counted(wrong, "row breaks", "rows break"), self.name.as_str());
                        blocks(table, what, "correct the rows first (backfill or clean_rows), then run again")
                    }
                })
            }
            Rule::ForeignKey(key) => {
                if table_state(&session, &key.references).await?.is_none() {
                    return Ok(missing_table(&key.references, self.side));
                }
                for (of, columns) in [(&self.table, &key.columns), (&key.references, &key.referenced_columns)] {
                    if let Some(column) = missing_column(&session, of, columns).await? {
                        let what = format!("has no column {}", column.as_str());
                        return Ok(blocks(format!("table {}", of.plain()), what, "correct the step"));
                    }
                }
                if !self.validate {
                    return Ok(Vec::new());
                }
                let orphans = count(cx, &session, &key.orphans(&self.table)).await?;
                Ok(match orphans {
                    0 => Vec::new(),
                    _ => {
                        let what =
                            format!("{} to no row of {}", counted(orphans, "row points", "rows point"), key.references.plain());
                        blocks(table, what, "set them aside or correct them first (clean_rows), then run again")
                    }
                })
            }
            Rule::Key(primary, index) => {
                let mut findings = index.obstacles(cx).await?;
                if *primary && findings.is_empty() {
                    for column in index.columns.iter().map(|column| Ident::new(column.trim_matches('"'))) {
                        if column_state(&session, &self.table, &column).await?.is_some_and(|state| !state.not_null) {
                            let object = format!("column {} of {}", column.as_str(), self.table.plain());
                            let what = "may be NULL: a primary key would scan the table under ACCESS EXCLUSIVE".to_owned();
                            findings.extend(blocks(object, what, "put a set_not_null step for it before this one"));
                        }
                    }
                }
                Ok(findings)
            }
        }
    }

    fn demands(&self) -> Vec<Demand> {
        let demand =
            |rule| Demand { table: self.table.clone(), name: self.name.as_str().to_owned(), rule, checked: self.validate };
        match &self.rule {
            Rule::Check(expression) => vec![demand(sql::Rule::Check(expression.clone()))],
            Rule::ForeignKey(key) => vec![demand(key.rule())],
            Rule::Key(_, index) => index.demands(),
        }
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let mut session = cx.connect(self.side).await?;
        if let Some(there) = constraint_state(&session, &self.table, &self.name).await? {
            return Ok(match self.difference(&mut session, &there).await? {
                Some(difference) => Extent::Partial(difference),
                None if there.validated || !self.validate => Extent::Complete,
                None => Extent::Partial("the constraint is not validated".to_owned()),
            });
        }
        match &self.rule {
            Rule::Key(_, index) => Ok(match index.observe(cx).await? {
                Extent::Complete => Extent::Partial("the index is there, the constraint is not".to_owned()),
                less => less,
            }),
            _ => Ok(Extent::Absent),
        }
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let session = cx.connect(self.side).await?;
        let constraint = constraint_state(&session, &self.table, &self.name).await?.map(|there| there.definition);
        let index = match &self.rule {
            Rule::Key(_, index) => index.state(&session).await?.filter(|there| there.valid).map(|there| there.definition),
            _ => None,
        };
        Before::of(&Was { constraint, index })
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let session = cx.connect(self.side).await?;
        let there = constraint_state(&session, &self.table, &self.name).await?;
        if there.is_none() {
            if let Rule::Key(_, index) = &self.rule {
                index.build(cx).await?;
            }
            in_turn(cx, self.side, &[self.add()]).await?;
            cx.crash_point("added");
        }
        let validated = there.is_some_and(|there| there.validated) || matches!(self.rule, Rule::Key(..));
        if self.validate && !validated {
            patiently(cx, self.side, &format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.table, self.name)).await?;
            cx.crash_point("validated");
        }
        Ok(())
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let was: Was = before.read()?;
        let session = cx.connect(self.side).await?;
        let there = constraint_state(&session, &self.table, &self.name).await?.map(|there| there.definition);
        if there != was.constraint {
            let mut statements = Vec::new();
            if there.is_some() {
                statements.push(format!("ALTER TABLE {} DROP CONSTRAINT {}", self.table, self.name));
            }
            if let Some(definition) = &was.constraint {
                statements.push(format!("ALTER TABLE {} ADD CONSTRAINT {} {definition}", self.table, self.name));
            }
            in_turn(cx, self.side, &statements).await?;
            cx.crash_point("constraint-dropped");
        }
        if let Rule::Key(_, index) = &self.rule
            && let Some(table) = table_state(&session, &self.table).await?
        {
            let name = table.name.sibling(self.name.as_str());
            match was.index {
                Some(definition) => rebuild(cx, self.side, &name, Some(&definition)).await?,
                None if index.state(&session).await?.is_some() => drop_index(cx, self.side, &name).await?,
                None => {}
            }
        }
        Ok(())
    }
}

impl AddConstraint {
    /// The statement that adds the constraint without reading rows.
    fn add(&self) -> String {
        let rule = match &self.rule {
            Rule::Check(expression) => format!("CHECK ({expression}) NOT VALID"),
            Rule::ForeignKey(key) => format!("{} NOT VALID", key.definition()),
            Rule::Key(true, index) => format!("PRIMARY KEY USING INDEX {}", index.name),
            Rule::Key(false, index) => format!("UNIQUE USING INDEX {}", index.name),
        };
        format!("ALTER TABLE {} ADD CONSTRAINT {} {rule}", self.table, self.name)
    }

    /// In what the constraint that is there differs from this one, apart from being validated.
    async fn difference(&self, session: &mut Session, there: &ConstraintState) -> anyhow::Result<Option<String>> {
        let same = match &self.rule {
            Rule::Check(expression) => match self.check_definition(session, expression).await? {
                Ok(definition) => there.kind == "c" && there.definition.trim_end_matches(" NOT VALID") == definition,
                Err(why) => return Ok(Some(format!("the server refuses the plan's definition: {why}"))),
            },
            Rule::ForeignKey(key) => {
                let references = table_state(session, &key.references).await?.map(|table| table.name);
                there.kind == "f" && references.is_some_and(|references| key.is(there, &references))
            }
            Rule::Key(primary, index) => {
                let columns: Vec<String> = there.columns.iter().map(|column| Ident::new(column.as_str()).to_string()).collect();
                there.kind == if *primary { "p" } else { "u" } && columns == index.columns && there.deferrable == (false, false)
            }
        };
        Ok((!same).then(|| format!("a constraint of that name has another definition: {}", there.definition)))
    }

    /// How the server writes the check, tried on an empty temporary copy of the table and rolled back; or why it refuses.
    async fn check_definition(&self, session: &mut Session, expression: &str) -> anyhow::Result<Result<String, String>> {
        let transaction = session.transaction().await?;
        let make = format!("CREATE TEMPORARY TABLE {} (LIKE {})", self.table.name(), self.table);
        transaction.batch_execute(&make).await.context(TRIAL_NEEDS)?;
        let copy = QualifiedName::new("pg_temp", self.table.name().as_str());
        let add = format!("ALTER TABLE {copy} ADD CONSTRAINT {} CHECK ({expression})", self.name);
        if let Err(error) = transaction.batch_execute(&add).await {
            return match sqlstate(&error) {
                code if code.starts_with("42") || code.starts_with("0A") => Ok(Err(explain(&error.into()))),
                _ => Err(error.into()),
            };
        }
        let made = constraint_state(transaction.client(), &copy, &self.name).await?;
        transaction.rollback().await?;
        made.map(|made| Ok(made.definition)).context("the check on the temporary copy is not there")
    }
}

async fn missing_column(session: &Session, table: &QualifiedName, columns: &[Ident]) -> anyhow::Result<Option<Ident>> {
    for column in columns {
        if column_state(session, table, column).await?.is_none() {
            return Ok(Some(column.clone()));
        }
    }
    Ok(None)
}
