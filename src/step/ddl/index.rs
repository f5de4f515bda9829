//! An index as a plan describes it: its statement, what the server would make of it, building it and taking it away.

use anyhow::Context;
use serde::Deserialize;

use super::patient::{count, patiently};
use crate::pg::{IndexState, Session, explain, index_state, sqlstate, table_state};
use crate::sql::{Demand, Ident, QualifiedName, Statement, split};
use crate::step::Cx;
use crate::terms::{Extent, Finding, Severity, Side};

/// The keys of a plan's table that describe an index.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::step) struct IndexSpec {
    pub side: Side,
    pub table: QualifiedName,
    pub name: Ident,
    /// Names, or SQL text such as `lower(email)`, `created_at DESC`, `(a + b)`.
    pub columns: Vec<String>,
    #[serde(default)]
    pub unique: bool,
    pub method: Option<Ident>,
    #[serde(rename = "where")]
    pub predicate: Option<String>,
    #[serde(default)]
    pub include: Vec<Ident>,
    /// PostgreSQL 15 or later.
    #[serde(default)]
    pub nulls_not_distinct: bool,
}

/// Why a trial on a temporary copy may fail, and what to do.
pub(in crate::step) const TRIAL_NEEDS: &str = "cannot try the definition on a temporary copy of its table (the role needs TEMPORARY on the database and SELECT on the table)";

/// What the server makes of a description, tried on an empty copy of the table.
enum Trial {
    /// Its shape (see [`IndexState::shape`]) and the expression of each key column.
    Fits { shape: String, keys: Vec<String>, predicate: Option<String> },
    /// It refuses.
    Refused(String),
}

impl IndexSpec {
    /// The statement for an index on `table`, which is the real one or a copy.
    fn statement(&self, concurrently: bool, table: &QualifiedName) -> String {
        let mut sql = format!(
            "CREATE {}INDEX {}{} ON {table} ",
            if self.unique { "UNIQUE " } else { "" },
            if concurrently { "CONCURRENTLY " } else { "" },
            self.name,
        );
        if let Some(method) = &self.method {
            sql += &format!("USING {method} ");
        }
        sql += &format!("({})", self.columns.iter().map(|column| key_column(column)).collect::<Vec<_>>().join(", "));
        if !self.include.is_empty() {
            sql += &format!(" INCLUDE ({})", self.include.iter().map(Ident::to_string).collect::<Vec<_>>().join(", "));
        }
        if self.nulls_not_distinct {
            sql += " NULLS NOT DISTINCT";
        }
        if let Some(predicate) = &self.predicate {
            sql += &format!(" WHERE {predicate}");
        }
        sql
    }

    /// What it demands of rows.
    pub(in crate::step) fn demands(&self) -> Vec<Demand> {
        let statements = split(&self.statement(false, &self.table)).unwrap_or_default();
        statements.iter().flat_map(Statement::demands).collect()
    }

    /// What is there under the index's name, which is looked for in the schema of the table.
    pub(in crate::step) async fn state(&self, session: &Session) -> anyhow::Result<Option<IndexState>> {
        match table_state(session, &self.table).await? {
            Some(table) => index_state(session, &table.name.sibling(self.name.as_str())).await,
            None => Ok(None),
        }
    }

    /// How much of the index is there. An index of that name that is another one is `Partial`: [`IndexSpec::obstacles`] blocks.
    pub(in crate::step) async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let mut session = cx.connect(self.side).await?;
        Ok(match self.state(&session).await? {
            None => Extent::Absent,
            Some(there) if !there.valid => Extent::Partial(format!("index {} is INVALID", self.name.as_str())),
            Some(there) => match self.difference(&mut session, &there).await? {
                None => Extent::Complete,
                Some(difference) => Extent::Partial(difference),
            },
        })
    }

    /// Everything that keeps the index from being built.
    pub(in crate::step) async fn obstacles(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let mut session = cx.connect(self.side).await?;
        let blocks =
            |object: String, what: String, next: String| vec![Finding { severity: Severity::Blocks, object, what, next }];
        let index = format!("index {}", self.name.as_str());
        let Some(table) = table_state(&session, &self.table).await? else {
            return Ok(missing_table(&self.table, self.side));
        };
        if table.kind != "r" && table.kind != "m" {
            let what = "is partitioned or no table: PostgreSQL builds no index concurrently on it".to_owned();
            let next = "build it on each partition with create_index, then attach them with run_sql".to_owned();
            return Ok(blocks(format!("table {}", self.table.plain()), what, next));
        }
        let version: i32 = session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
        if self.nulls_not_distinct && version < 150_000 {
            let what = format!("nulls_not_distinct needs PostgreSQL 15, {} is {}", self.side, version / 10_000);
            return Ok(blocks(index, what, "take the key out of the plan".to_owned()));
        }
        let (keys, predicate) = match self.trial(&mut session).await? {
            Trial::Fits { keys, predicate, .. } => (keys, predicate),
            Trial::Refused(why) => {
                return Ok(blocks(index, format!("the server refuses its definition: {why}"), "correct the step".to_owned()));
            }
        };
        let there = self.state(&session).await?;
        if let Some(pid) = there.as_ref().and_then(|there| there.builder) {
            let what = format!("another session (pid {pid}) is building it");
            return Ok(blocks(index, what, "wait until it is done, then run again".to_owned()));
        }
        match there {
            Some(there) if there.valid => {
                let next = "rename or drop that one (drop_index), or give this one another name".to_owned();
                let difference = self.difference(&mut session, &there).await?;
                return Ok(difference.map_or(Vec::new(), |what| blocks(index, what, next)));
            }
            Some(there) if there.table != table.name => {
                let what = format!("that name is an INVALID index of table {}", there.table.plain());
                return Ok(blocks(index, what, "drop it, or give this one another name".to_owned()));
            }
            None if table_state(&session, &table.name.sibling(self.name.as_str())).await?.is_some() => {
                let what = "that name belongs to another relation of the schema".to_owned();
                return Ok(blocks(index, what, "give the index another name".to_owned()));
            }
            _ => {}
        }
        if !self.unique {
            return Ok(Vec::new());
        }
        let repeated = self.duplicates(cx, &session, &keys, predicate.as_deref()).await?;
        if repeated == 0 {
            return Ok(Vec::new());
        }
        let what = format!("{} in more than one row: the index must be unique", counted(repeated, "key stands", "keys stand"));
        let next = "remove the extra rows first (clean_rows), then run again".to_owned();
        Ok(blocks(format!("table {}", self.table.plain()), what, next))
    }

    /// Brings the index about from any extent: what an unfinished build left is dropped first.
    pub(in crate::step) async fn build(&self, cx: &Cx) -> anyhow::Result<()> {
        let session = cx.connect(self.side).await?;
        let table = table_state(&session, &self.table).await?.with_context(|| format!("table {} is gone", self.table.plain()))?;
        let name = table.name.sibling(self.name.as_str());
        match self.state(&session).await? {
            Some(there) if there.valid => return Ok(()),
            Some(_) => {
                cx.remark(format!(
                    "index {} is INVALID, left by an unfinished build: drops it and builds it again",
                    self.name.as_str()
                ));
                drop_index(cx, self.side, &name).await?;
                cx.crash_point("invalid-dropped");
            }
            None => {}
        }
        cx.crash_point("build");
        if let Err(failed) = patiently(cx, self.side, &self.statement(true, &table.name)).await {
            self.clear(cx, &session, &name).await;
            return Err(failed);
        }
        cx.crash_point("built");
        Ok(())
    }

    /// Drops what a failed build left: it serves nobody, and every write keeps it up. A server tells of the error before it has let go of
    /// the build; where it is out of reach the index stays for the same command.
    async fn clear(&self, cx: &Cx, session: &Session, name: &QualifiedName) {
        for _ in 0..LET_GO {
            match self.state(session).await {
                Ok(Some(IndexState { valid: false, builder: Some(_), .. })) => tokio::time::sleep(TICK).await,
                Ok(Some(IndexState { valid: false, builder: None, .. })) => {
                    let _ = drop_index(cx, self.side, name).await;
                    return;
                }
                _ => return,
            }
        }
    }

    /// Takes away the index, whatever state it is in.
    pub(in crate::step) async fn unbuild(&self, cx: &Cx) -> anyhow::Result<()> {
        let session = cx.connect(self.side).await?;
        let Some(table) = table_state(&session, &self.table).await? else { return Ok(()) };
        match self.state(&session).await? {
            Some(there) if there.table == table.name => drop_index(cx, self.side, &table.name.sibling(self.name.as_str())).await,
            _ => Ok(()),
        }
    }

    /// In what the index that is there differs from this one.
    async fn difference(&self, session: &mut Session, there: &IndexState) -> anyhow::Result<Option<String>> {
        let table = table_state(session, &self.table).await?;
        if table.is_none_or(|table| table.name != there.table) {
            return Ok(Some(format!("an index of that name is on table {}", there.table.plain())));
        }
        Ok(match self.trial(session).await? {
            Trial::Fits { shape, .. } if shape == there.shape => None,
            Trial::Fits { shape, .. } => {
                Some(format!("an index of that name has another definition: it is `{}`, the plan's is `{shape}`", there.shape))
            }
            Trial::Refused(why) => Some(format!("the server refuses the plan's definition: {why}")),
        })
    }

    /// Makes the index on an empty temporary copy of the table, asks what came out, and rolls everything back. So the
    /// comparison with an existing index is between two answers of the same server, not between texts of ours.
    async fn trial(&self, session: &mut Session) -> anyhow::Result<Trial> {
        let copy = QualifiedName::new("pg_temp", self.table.name().as_str());
        let transaction = session.transaction().await?;
        let make = format!("CREATE TEMPORARY TABLE {} (LIKE {})", self.table.name(), self.table);
        transaction.batch_execute(&make).await.context(TRIAL_NEEDS)?;
        if let Err(error) = transaction.batch_execute(&self.statement(false, &copy)).await {
            return match sqlstate(&error) {
                code if code.starts_with("42") || code.starts_with("0A") => Ok(Trial::Refused(explain(&error.into()))),
                _ => Err(error.into()),
            };
        }
        let name = copy.sibling(self.name.as_str());
        let made = index_state(transaction.client(), &name).await?.context("the index on the temporary copy is not there")?;
        let row = transaction
            .query_one(
                "SELECT array_agg(pg_get_indexdef(x.indexrelid, n, false) ORDER BY n), max(pg_get_expr(x.indpred, x.indrelid)) \
                 FROM pg_index x, generate_series(1, x.indnkeyatts) AS n WHERE x.indexrelid = to_regclass($1::text)",
                &[&name.to_string()],
            )
            .await?;
        let trial = Trial::Fits { shape: made.shape, keys: row.get(0), predicate: row.get(1) };
        transaction.rollback().await?;
        Ok(trial)
    }

    async fn duplicates(&self, cx: &Cx, session: &Session, keys: &[String], predicate: Option<&str>) -> anyhow::Result<i64> {
        let mut conditions: Vec<String> = predicate.map(|predicate| format!("({predicate})")).into_iter().collect();
        if !self.nulls_not_distinct {
            conditions.extend(keys.iter().map(|key| format!("({key}) IS NOT NULL")));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let keys = keys.iter().map(|key| format!("({key})")).collect::<Vec<_>>().join(", ");
        let query = format!("FROM (SELECT 1 FROM {} {filter} GROUP BY {keys} HAVING count(*) > 1) AS repeated", self.table);
        count(cx, session, &query).await
    }
}

/// How often a failed build is looked at until its session has let go of it.
const LET_GO: u32 = 40;
/// Between two looks.
const TICK: std::time::Duration = std::time::Duration::from_millis(50);

/// The finding about a table that is not there.
pub(in crate::step) fn missing_table(table: &QualifiedName, side: Side) -> Vec<Finding> {
    vec![Finding {
        severity: Severity::Blocks,
        object: format!("table {}", table.plain()),
        what: format!("is not on {side}"),
        next: "correct the step's `table`, or create the table in an earlier step".to_owned(),
    }]
}

/// A number with the words for one and for several.
pub(in crate::step) fn counted(count: i64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Drops an index without blocking anybody.
pub(in crate::step) async fn drop_index(cx: &Cx, side: Side, name: &QualifiedName) -> anyhow::Result<()> {
    patiently(cx, side, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await
}

/// Builds an index again from what `pg_get_indexdef` said, without blocking anybody. Its text begins with
/// `CREATE INDEX` or `CREATE UNIQUE INDEX` (PostgreSQL manual 9.26.9), so the word after that is known.
pub(in crate::step) fn concurrently(definition: &str) -> Option<String> {
    ["CREATE INDEX ", "CREATE UNIQUE INDEX "]
        .iter()
        .find_map(|prefix| definition.strip_prefix(prefix).map(|rest| format!("{prefix}CONCURRENTLY {rest}")))
}

/// A plain name becomes an identifier; everything else is SQL text.
fn key_column(column: &str) -> String {
    let mut bytes = column.bytes();
    let plain = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$');
    if plain { Ident::new(column).to_string() } else { column.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_a_statement() {
        let text = "side = 'blue'\ntable = 'auth.users'\nname = 'by_mail'\ncolumns = ['Tenant', 'lower(email)', 'at DESC']\n\
                    unique = true\nmethod = 'btree'\ninclude = ['id']\nwhere = 'NOT gone'\nnulls_not_distinct = true";
        let spec: IndexSpec = toml::from_str(text).unwrap();
        assert_eq!(
            spec.statement(true, &spec.table),
            "CREATE UNIQUE INDEX CONCURRENTLY \"by_mail\" ON \"auth\".\"users\" USING \"btree\" \
             (\"Tenant\", lower(email), at DESC) INCLUDE (\"id\") NULLS NOT DISTINCT WHERE NOT gone"
        );
    }

    #[test]
    fn a_definition_is_rebuilt_concurrently() {
        assert_eq!(
            concurrently("CREATE UNIQUE INDEX i ON s.t USING btree (a)").unwrap(),
            "CREATE UNIQUE INDEX CONCURRENTLY i ON s.t USING btree (a)"
        );
        assert_eq!(concurrently("CREATE TABLE t ()"), None);
    }
}
