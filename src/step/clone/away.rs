//! Taking a clone away again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use super::{Clone, TOGETHER, blocks};
use crate::copy::clone::{Planned, Stage};
use crate::copy::missing;
use crate::pg::{Session, unmark};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::copy::end_workers;
use crate::step::{Cx, Stop};
use crate::terms::{Finding, Side};

impl Clone {
    /// Takes away everything this step brought, as far as it is there; refuses where somebody else wrote rows.
    pub(super) async fn drop_all(&self, cx: &Cx, green: &Session) -> anyhow::Result<()> {
        let strangers = self.strangers(cx, green).await?;
        if !strangers.is_empty() {
            return Err(Stop::Findings(strangers).into());
        }
        let sql = "SELECT statement FROM crossfade.clone_entry WHERE run = $1 AND step = $2 AND stage = 'drop'";
        end_workers(cx, green).await?;
        let drops: String = green.query_one(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?.get(0);
        let dropping = cx.connect(Side::Green).await?;
        dropping.batch_execute("SET search_path = ''").await?;
        for delete in self.rows_of_extensions(cx, green).await? {
            dropping.batch_execute(&delete).await.context("rows in tables of extensions on green")?;
        }
        for some in statements(&drops).chunks(TOGETHER) {
            dropping.batch_execute(&format!("BEGIN;\n{}\n;COMMIT", some.join("\n"))).await.context("dropping on green")?;
            cx.crash_point("dropped");
        }
        let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
        let own = |table: &str| format!("DELETE FROM crossfade.{table} WHERE run = {run} AND step = {step}");
        let watermark = format!("DELETE FROM crossfade.watermark WHERE run = {run}");
        let mut forget = vec![own("clone_entry"), own("copy_part"), watermark, unmark(&cx.run, &cx.step)];
        forget.extend(missing::forget(&cx.run, &cx.step));
        green.batch_execute(&format!("BEGIN; {}; COMMIT", forget.join("; "))).await?;
        Ok(())
    }

    /// The statements that take the loaded rows out of tables of extensions, which may have been there before.
    async fn rows_of_extensions(&self, cx: &Cx, green: &Session) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT table_schema, table_name, object FROM crossfade.clone_entry \
                   WHERE run = $1 AND step = $2 AND stage = 'table' AND object <> '' \
                     AND to_regclass(format('%I.%I', table_schema, table_name)) IS NOT NULL";
        let rows = green.query(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
        let delete = |row: &tokio_postgres::Row| {
            let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            format!("DELETE FROM ONLY {table} WHERE {}", row.get::<_, String>(2))
        };
        Ok(rows.iter().map(delete).collect())
    }

    /// Tables that hold more rows than were loaded: what this step did not load it does not drop.
    async fn strangers(&self, cx: &Cx, green: &Session) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT e.table_schema, e.table_name, e.object FROM crossfade.clone_entry e WHERE e.run = $1 AND e.step = $2 AND e.stage = 'table' \
                     AND to_regclass(format('%I.%I', e.table_schema, e.table_name)) IS NOT NULL";
        let mut findings = Vec::new();
        let parts = "SELECT projection, sum(rows)::bigint FROM crossfade.copy_part WHERE run = $1 AND step = $2 GROUP BY 1";
        let parts = green.query(parts, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
        let loaded: BTreeMap<String, i64> = parts.iter().map(|row| (row.get(0), row.get(1))).collect();
        for row in green.query(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await? {
            let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let condition = match row.get::<_, String>(2) {
                none if none.is_empty() => String::new(),
                own => format!(" WHERE {own}"),
            };
            let rows: i64 = green.query_one(&format!("SELECT count(*) FROM ONLY {table}{condition}"), &[]).await?.get(0);
            let loaded = loaded.get(&table.plain()).copied().unwrap_or(0);
            if rows > loaded {
                let what = format!(
                    "holds {rows} rows, the clone loaded {loaded}: somebody else writes to it, and its rows would be lost"
                );
                let next = format!("keep green as it is, or, if its rows may go, TRUNCATE {table} on green and do this again");
                findings.push(blocks(&format!("table {} on green", table.plain()), what, next));
            }
        }
        Ok(findings)
    }
}

/// The statements of a text that begins each on a line of its own with `DROP`, `ALTER` or `SELECT`.
fn statements(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let begins = ["DROP ", "ALTER ", "SELECT ", "CREATE ", "COMMENT "].iter().any(|word| line.starts_with(word));
        match all.last_mut() {
            Some(last) if !(begins && last.ends_with(';')) => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

/// What of the dropping text is needed, and nothing that was there before. Indexes and constraints go with their tables, and
/// those of a partition cannot go before: foreign keys alone stand between tables.
pub(super) fn dropping(drops: &str, there: &BTreeSet<(String, String)>, planned: &[Planned]) -> String {
    let key = |planned: &Planned| -> Option<String> {
        let at = planned.text.find("ALTER TABLE ")?;
        let (table, rest) = planned.text[at..].strip_prefix("ALTER TABLE ")?.split_once("\n    ADD CONSTRAINT ")?;
        let (name, _) = rest.split_once(" FOREIGN KEY (")?;
        Some(format!("ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {name};"))
    };
    let keys: BTreeSet<String> = planned.iter().filter(|planned| planned.stage == Stage::Key).filter_map(key).collect();
    let needed = |line: &&str| {
        let constraint = line.starts_with("ALTER TABLE IF EXISTS ") && line.contains(" DROP CONSTRAINT IF EXISTS ");
        !line.starts_with("DROP INDEX IF EXISTS ")
            && (!constraint || keys.contains(*line))
            && !there.iter().any(|(sort, name)| drops_it(line, sort, name))
    };
    drops.lines().filter(needed).collect::<Vec<_>>().join("\n")
}

/// Whether a line drops this schema or extension.
fn drops_it(line: &str, sort: &str, name: &str) -> bool {
    let quoted = Ident::new(name).to_string();
    [name, &quoted].iter().any(|name| line == format!("DROP {sort} IF EXISTS {name};"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_their_indexes_along() {
        let text = "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES public.b(x) NOT VALID;".to_owned();
        let planned = [Planned { stage: Stage::Key, table: None, object: String::new(), text }];
        let drops = "ALTER TABLE IF EXISTS ONLY public.a DROP CONSTRAINT IF EXISTS k;\nDROP INDEX IF EXISTS public.i;\n\
                     ALTER TABLE IF EXISTS ONLY public.b DROP CONSTRAINT IF EXISTS b_pkey;\nDROP TABLE IF EXISTS public.a;\n\
                     DROP SCHEMA IF EXISTS s;";
        let there = BTreeSet::from([("SCHEMA".to_owned(), "s".to_owned())]);
        let expected = "ALTER TABLE IF EXISTS ONLY public.a DROP CONSTRAINT IF EXISTS k;\nDROP TABLE IF EXISTS public.a;";
        assert_eq!(dropping(drops, &there, &planned), expected);
    }

    #[test]
    fn dropping_statements_are_told_apart() {
        let text = "DROP INDEX IF EXISTS public.i;\nSELECT pg_catalog.lo_unlink(oid) FROM x\nWHERE oid = 5;\nDROP TABLE IF EXISTS \"a\nb\";\n";
        let expected = [
            "DROP INDEX IF EXISTS public.i;",
            "SELECT pg_catalog.lo_unlink(oid) FROM x\nWHERE oid = 5;",
            "DROP TABLE IF EXISTS \"a\nb\";",
        ];
        assert_eq!(statements(text), expected);
        assert!(drops_it("DROP SCHEMA IF EXISTS \"A\";", "SCHEMA", "A"));
        assert!(!drops_it("DROP SCHEMA IF EXISTS a;", "EXTENSION", "a"));
    }
}
