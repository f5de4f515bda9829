//! `crossfade.clone_entry`: what is to come and how to take it away, written before the first of it; and bringing what is noted.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use super::away::dropping;
use super::{BEGUN, Clone, TOGETHER};
use crate::copy::clone::{Planned, Relation, Stage, together};
use crate::copy::{Piece, Rest};
use crate::pg::{Session, mark};
use crate::sql::{Literal, QualifiedName};
use crate::step::Cx;
use crate::step::copy::{listener, loader};

/// A row of `crossfade.clone_entry`: stage, schema and name of a table, object, statement.
type Noted<'a> = (&'a str, Option<String>, Option<String>, String, String);

impl Clone {
    /// Writes down everything that will be done and how to take it away, before the first of it.
    #[expect(clippy::too_many_arguments, reason = "one row of each sort")]
    pub(super) async fn note(
        &self,
        cx: &Cx,
        green: &Session,
        drops: &str,
        there: &BTreeSet<(String, String)>,
        planned: &[Planned],
        tables: &[Relation],
        analyzed_last: &[QualifiedName],
        sequences: &BTreeSet<(String, String)>,
        settings: &str,
    ) -> anyhow::Result<()> {
        let mut rows: Vec<Noted> = Vec::new();
        rows.push(("drop", None, None, String::new(), dropping(drops, there, planned)));
        rows.push(("settings", None, None, String::new(), settings.to_owned()));
        let parts = |table: &QualifiedName| {
            (table.schema().map(|schema| schema.as_str().to_owned()), Some(table.name().as_str().to_owned()))
        };
        for table in tables {
            let with_parent = (table.partition && self.choice.is_everything()) || table.parent;
            let analyze = if with_parent { "" } else { "ANALYZE" };
            let (schema, name) = parts(&table.table);
            rows.push(("table", schema, name, table.own_rows().unwrap_or_default(), analyze.to_owned()));
        }
        for (schema, name) in sequences {
            rows.push(("sequence", Some(schema.clone()), Some(name.clone()), String::new(), String::new()));
        }
        for one in planned {
            let (schema, name) = one.table.as_ref().map(parts).unwrap_or_default();
            rows.push((one.stage.name(), schema, name, one.object.clone(), one.text.clone()));
        }
        for table in analyzed_last {
            let what = format!("statistics of {}", table.plain());
            rows.push((Stage::After.name(), None, None, what, format!("ANALYZE {table};")));
        }
        let value = |text: &Option<String>| text.as_ref().map_or("NULL".to_owned(), |text| Literal::new(text).to_string());
        let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
        let values = rows.iter().enumerate().map(|(number, (stage, schema, name, object, text))| {
            let (object, text) = (Literal::new(object), Literal::new(text));
            format!("({run}, {step}, {number}, '{stage}', {}, {}, {object}, {text})", value(schema), value(name))
        });
        let text = format!(
            "BEGIN;\nINSERT INTO crossfade.clone_entry (run, step, number, stage, table_schema, table_name, object, statement) VALUES\n{};\n\
             {};\nCOMMIT;\n-- They are found by number many times: without statistics each search passes over all.\nANALYZE crossfade.clone_entry",
            values.collect::<Vec<_>>().join(",\n"),
            mark(&cx.run, &cx.step, BEGUN)
        );
        green.batch_execute(&text).await.context("notes on green")
    }

    pub(super) async fn settings(&self, cx: &Cx, green: &Session) -> anyhow::Result<String> {
        let sql = "SELECT statement FROM crossfade.clone_entry WHERE run = $1 AND step = $2 AND stage = 'settings'";
        Ok(green.query_one(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?.get(0))
    }

    /// What is to come of the tables in these stages; with `filled`, tables hold rows, and their sizes are asked.
    pub(super) async fn rests(&self, cx: &Cx, green: &Session, stages: &[Stage], filled: bool) -> anyhow::Result<Vec<Rest>> {
        let mut rests: Vec<Rest> = Vec::new();
        let mut places: BTreeMap<QualifiedName, usize> = BTreeMap::new();
        let with_rows = stages.contains(&Stage::Chain);
        let wanted: Vec<&str> = stages.iter().map(|stage| stage.name()).chain(with_rows.then_some("table")).collect();
        let rows = green
            .query(
                "SELECT number, stage, table_schema, table_name, object, statement FROM crossfade.clone_entry \
                 WHERE run = $1 AND step = $2 AND stage = ANY ($3) AND table_name IS NOT NULL AND NOT done ORDER BY number",
                &[&cx.run.as_str(), &cx.step.as_str(), &wanted],
            )
            .await?;
        let mut numbers: Vec<Vec<String>> = Vec::new();
        for row in rows {
            let (number, stage): (i32, String) = (row.get(0), row.get(1));
            let table = QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3));
            let stage = stages.iter().find(|known| known.name() == stage);
            let at = *places.entry(table.clone()).or_insert(rests.len());
            if at == rests.len() {
                rests.push(Rest {
                    table: table.clone(),
                    bytes: 0,
                    chains: Vec::new(),
                    last: Vec::new(),
                    analyze: false,
                    done: None,
                });
                numbers.push(Vec::new());
            }
            if stage.is_some() {
                numbers[at].push(number.to_string());
            }
            let text: String = row.get(5);
            let object = format!("{} of table {}", row.get::<_, String>(4), table.plain());
            match stage {
                None => rests[at].analyze = text == "ANALYZE",
                Some(Stage::Chain) => rests[at].chains.push(vec![piece(cx, number, object, text)]),
                Some(_) => rests[at].last.push(piece(cx, number, object, text)),
            }
        }
        for (rest, numbers) in rests.iter_mut().zip(numbers) {
            rest.done = (!numbers.is_empty()).then(|| done(cx, &numbers.join(", ")));
        }
        if filled {
            let names: Vec<String> = rests.iter().map(|rest| rest.table.to_string()).collect();
            let sizes =
                "SELECT pg_table_size(to_regclass(name)) FROM unnest($1::text[]) WITH ORDINALITY AS t (name, n) ORDER BY n";
            for (rest, row) in rests.iter_mut().zip(green.query(sizes, &[&names]).await?) {
                rest.bytes = row.get::<_, Option<i64>>(0).map_or(0, i64::unsigned_abs);
            }
        }
        Ok(rests)
    }

    /// Brings what is missing of these stages, several tables at a time.
    pub(super) async fn rest(&self, cx: &Cx, green: &Session, stages: &[Stage], settings: String) -> anyhow::Result<()> {
        let rests = self.rests(cx, green, stages, true).await?;
        loader(cx, rests, Vec::new(), Vec::new(), true, settings)?.rest(listener(cx, 0)).await
    }

    /// Does what is not done of a stage, in its order.
    pub(super) async fn in_order(&self, cx: &Cx, green: &Session, stage: Stage) -> anyhow::Result<()> {
        let sql = "SELECT number, object, statement FROM crossfade.clone_entry \
                   WHERE run = $1 AND step = $2 AND stage = $3 AND NOT done ORDER BY number";
        let rows = green.query(sql, &[&cx.run.as_str(), &cx.step.as_str(), &stage.name()]).await?;
        for some in rows.chunks(TOGETHER) {
            let numbers: Vec<String> = some.iter().map(|row| row.get::<_, i32>(0).to_string()).collect();
            let texts: Vec<&str> = some.iter().map(|row| row.get(2)).collect();
            let text = format!("BEGIN;\n{}\n;{};\nCOMMIT", together(&texts), done(cx, &numbers.join(", ")));
            if let Err(error) = green.batch_execute(&text).await {
                let first: String = some.first().map(|row| row.get(1)).unwrap_or_default();
                let last: String = some.last().map(|row| row.get(1)).unwrap_or_default();
                return Err(anyhow::Error::from(error).context(format!("definitions on green, from {first} to {last}")));
            }
            cx.crash_point(stage.name());
        }
        Ok(())
    }
}

fn piece(cx: &Cx, number: i32, object: String, text: String) -> Piece {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    Piece {
        object,
        there: format!("(SELECT done FROM crossfade.clone_entry WHERE run = {run} AND step = {step} AND number = {number})"),
        statements: vec![text],
        done: Some(done(cx, &number.to_string())),
    }
}

/// The statement that says of these entries that they are there.
fn done(cx: &Cx, numbers: &str) -> String {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    format!("UPDATE crossfade.clone_entry SET done = true WHERE run = {run} AND step = {step} AND number IN ({numbers})")
}
