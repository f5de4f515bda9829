//! `backfill`: gives existing rows their new values, in short batches in key order.
//!
//! `where` says which rows still need it; that is what makes the step observable and resumable. Old values are set aside in
//! `crossfade.quarantine`, and the undo puts them back in rows that still hold what the step wrote. Where every column was
//! NULL (`where` says so) `set_aside = false` saves that; the undo then makes them NULL again where they equal what `set`
//! gives, or does what `undo_set` and `undo_where` say.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;

use super::recorded::{Recorded, over};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::rows::assignment::{self, Set};
use super::rows::batches::Batches;
use super::rows::key_walk::{FORWARD, KeyWalk, UNDO, extent, forget};
use super::rows::keyed_table::KeyedTable;
use super::rows::set_aside::{Back, assignments, changing, restore};
use super::{Becomes, Cx, Fault, Forecast, Reversal, RowChange, SetAside, Step, Summary, Touched, Use, from_table};
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "backfill", about: "give existing rows new values, in batches", parse, keys: keys_of::<Written> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    side: Side,
    table: QualifiedName,
    key: Option<Vec<Ident>>,
    #[schemars(with = "BTreeMap<String, String>")]
    set: toml::Table,
    #[serde(rename = "where")]
    condition: String,
    #[serde(default = "yes")]
    set_aside: bool,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    undo_set: Option<toml::Table>,
    undo_where: Option<String>,
    done_with: Option<Recorded>,
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Backfill {
    side: Side,
    table: QualifiedName,
    key: Option<Vec<Ident>>,
    set: Set,
    condition: String,
    undo: Undo,
    done_with: Option<Recorded>,
}

/// Where the old values come from when it is taken back.
#[derive(Debug)]
enum Undo {
    SetAside,
    Write { set: Set, condition: String },
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let Written { side, table, key, set, condition, set_aside, undo_set, undo_where, done_with } = from_table(table)?;
    let set = assignment::read("set", &set)?;
    let mut faults = Vec::new();
    if condition.trim().is_empty() {
        faults.push(Fault::key("where", "`where` is empty; it must say which rows still need the new values"));
    }
    if set_aside && (undo_set.is_some() || undo_where.is_some()) {
        faults.push(Fault::key(
            if undo_set.is_some() { "undo_set" } else { "undo_where" },
            "old rows are set aside and the undo puts those back; undo_set and undo_where belong to set_aside = false",
        ));
    }
    if undo_set.is_some() != undo_where.is_some() {
        faults.push(Fault::key(
            if undo_set.is_some() { "undo_set" } else { "undo_where" },
            "undo_set and undo_where come together: what the undo writes, and which rows still need it",
        ));
    }
    for (column, _) in set.iter().filter(|(column, _)| !set_aside && !assignment::states_null(&condition, column)) {
        faults.push(Fault::key(
            "set_aside",
            format!("set_aside = false loses old values: `where` must state `{} IS NULL` (joined by AND)", column.as_str()),
        ));
    }
    let undo = match (set_aside, undo_set, undo_where) {
        (false, Some(undo_set), Some(condition)) => Undo::Write { set: assignment::read("undo_set", &undo_set)?, condition },
        (false, ..) => null_again(&set),
        (true, ..) => Undo::SetAside,
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok((Box::new(Backfill { side, table, key, set, condition, undo, done_with }), Vec::new()))
}

/// NULL where the columns hold what `set` gives.
fn null_again(set: &Set) -> Undo {
    let ours = set.iter().map(|(column, expression)| format!("{column} IS NOT DISTINCT FROM ({expression}\n)"));
    let filled = set.iter().map(|(column, _)| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" OR ");
    let condition = format!("{} AND ({filled})", ours.collect::<Vec<_>>().join(" AND "));
    Undo::Write { set: set.iter().map(|(column, _)| (column.clone(), "NULL".to_owned())).collect(), condition }
}

#[async_trait]
impl Step for Backfill {
    fn describe(&self) -> Summary {
        let columns = self.set.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>().join(", ");
        Summary {
            effect: format!(
                "set {columns} of {} on {} in batches, where {}",
                self.table.plain(),
                self.side,
                self.condition.trim()
            ),
            lock: "row locks for about batch_target at a time; ROW EXCLUSIVE on the table, which blocks no reads or writes"
                .to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn set_aside(&self, before: &Before) -> anyhow::Result<Vec<SetAside>> {
        match &self.undo {
            Undo::SetAside => Ok(vec![SetAside::new(self.side, before.read()?, self.back())]),
            Undo::Write { .. } => Ok(Vec::new()),
        }
    }

    fn touches(&self) -> Vec<Touched> {
        vec![Touched::new(self.side, &self.table, Use::Walks)]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let session = cx.connect(self.side).await?;
        let table = KeyedTable::read(&session, &self.table, self.key.as_deref()).await?;
        let estimate = table.estimate(&session, &self.condition).await?;
        let walked = table.rows(&session).await?;
        let mut forecast = vec![Forecast {
            object: table.name.plain(),
            what: format!("update rows in batches, walking about {walked} by ({})", table.key_list()),
            rows: Some(estimate),
            lock: "row locks, a batch at a time".to_owned(),
        }];
        forecast.extend(self.preconditions(cx).await?.into_iter().map(Forecast::of));
        Ok(forecast)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        let table = KeyedTable::read(&session, &self.table, self.key.as_deref()).await?;
        let mut findings = assignment::check(&session, &table, &self.set).await?;
        if let Undo::Write { set, .. } = &self.undo {
            findings.extend(assignment::check(&session, &table, set).await?);
        }
        Ok(findings)
    }

    fn row_changes(&self) -> Vec<RowChange> {
        let known = Some((self.condition.clone(), Becomes::Set(self.set.clone())));
        vec![RowChange { table: self.table.clone(), known }]
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        if over(self.done_with.as_ref(), cx).await? {
            return Ok(Extent::Complete);
        }
        let session = cx.connect(self.side).await?;
        let table = KeyedTable::read(&session, &self.table, self.key.as_deref()).await?;
        extent(&session, cx, &table, &self.condition).await
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let session = cx.connect(self.side).await?;
        Before::of(&KeyedTable::read(&session, &self.table, self.key.as_deref()).await?)
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let table: KeyedTable = before.read()?;
        let statement = match &self.undo {
            Undo::SetAside => changing(cx, &table, &self.set, "changed by a backfill"),
            Undo::Write { .. } => update(&table, &self.set),
        };
        let mut batches = Batches::open(cx, self.side).await?;
        self.walk(cx, FORWARD, &table, &self.condition, statement).finish(&mut batches).await.map(drop)
    }

    async fn verify(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        let table = KeyedTable::read(&session, &self.table, self.key.as_deref()).await?;
        if !table.any(&session, &self.condition).await? {
            return Ok(Vec::new());
        }
        Ok(vec![Finding {
            severity: Severity::Warning,
            object: table.name.plain(),
            what: "rows that need the new values came after the last batch: something still writes the old form".to_owned(),
            next: "give new rows their new form (a default, a trigger, the application), then run this step in a new run"
                .to_owned(),
        }])
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let table: KeyedTable = before.read()?;
        let mut batches = Batches::open(cx, self.side).await?;
        match &self.undo {
            Undo::SetAside => {
                let (_, left) = restore(cx, &mut batches, &table, &self.back(), "true").await?;
                if left > 0 {
                    cx.remark(format!(
                        "{left} rows of {} were changed or removed since and stay as they are",
                        table.name.plain()
                    ));
                }
            }
            Undo::Write { set, condition } => {
                let statement = update(&table, set);
                self.walk(cx, UNDO, &table, condition, statement).once(&mut batches).await?;
            }
        }
        forget(&batches.session, cx).await
    }
}

impl Backfill {
    /// How rows that were set aside go back.
    fn back(&self) -> Back {
        Back::Update(self.set.iter().map(|(column, _)| column.clone()).collect())
    }

    fn walk<'a>(
        &self,
        cx: &'a Cx,
        name: &'static str,
        table: &'a KeyedTable,
        condition: &'a str,
        statement: String,
    ) -> KeyWalk<'a> {
        KeyWalk { cx, name, table, condition, lock: "FOR NO KEY UPDATE", statements: vec![statement], most: None }
    }
}

fn update(table: &KeyedTable, set: &Set) -> String {
    format!("UPDATE {} SET {} WHERE {}", table.name, assignments(set), table.among())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<Option<String>> {
        let around = Surroundings { base: ".".into(), has_green: false };
        match parse(toml::from_str(text).unwrap(), &around) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.key).collect(),
        }
    }

    #[test]
    fn old_values_are_never_lost_silently() {
        let base = "side = 'blue'\ntable = 't'\nset = { a = '1', b = '2' }\n";
        assert!(faults(&format!("{base}where = 'a IS NULL'")).is_empty());
        assert!(faults(&format!("{base}where = 'a IS NULL AND b IS NULL'\nset_aside = false")).is_empty());
        assert_eq!(faults(&format!("{base}where = 'a IS NULL'\nset_aside = false")), [Some("set_aside".to_owned())]);
        assert_eq!(faults(&format!("{base}where = ' '")), [Some("where".to_owned())]);
        let both = "undo_set = { a = 'NULL' }\nundo_where = 'a = 1'";
        assert_eq!(faults(&format!("{base}where = 'a IS NULL'\n{both}")), [Some("undo_set".to_owned())]);
    }
}
