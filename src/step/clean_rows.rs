//! `clean_rows`: removes or mends rows that stand in the way, after setting them aside whole in `crossfade.quarantine`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::recorded::{Recorded, over};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::rows::assignment::{self, Set};
use super::rows::batches::Batches;
use super::rows::dependent::{self, Dependent};
use super::rows::key_walk::{FORWARD, KeyWalk, extent, forget, rows_done};
use super::rows::keyed_table::KeyedTable;
use super::rows::set_aside::{Back, changing, removing};
use super::{Becomes, Cx, Fault, Forecast, Reversal, RowChange, SetAside, Step, Summary, Touched, Use, from_table};
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "clean_rows",
    about: "remove or mend rows, setting them aside whole first, in batches",
    parse,
    keys: keys_of::<Written>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    side: Side,
    table: QualifiedName,
    key: Option<Vec<Ident>>,
    #[serde(rename = "where")]
    condition: String,
    reason: String,
    max_rows: u64,
    #[serde(default)]
    delete: bool,
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    set: Option<toml::Table>,
    #[serde(default)]
    cascades: bool,
    done_with: Option<Recorded>,
}

#[derive(Debug)]
struct CleanRows {
    side: Side,
    table: QualifiedName,
    key: Option<Vec<Ident>>,
    condition: String,
    reason: String,
    max_rows: u64,
    action: Action,
    done_with: Option<Recorded>,
}

#[derive(Debug)]
enum Action {
    /// Remove the rows; with `cascades` also what foreign keys take along.
    Delete { cascades: bool },
    /// Give columns other values.
    Mend(Set),
}

/// What the undo needs: the tables as they were.
#[derive(Debug, Serialize, Deserialize)]
struct Tables {
    table: KeyedTable,
    dependents: Vec<Dependent>,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let Written { side, table, key, condition, reason, max_rows, delete, set, cascades, done_with } = from_table(table)?;
    let mut faults = Vec::new();
    for (name, text) in [("where", &condition), ("reason", &reason)] {
        if text.trim().is_empty() {
            faults.push(Fault::key(name, format!("`{name}` is empty")));
        }
    }
    let action = match (delete, set) {
        (true, None) => Action::Delete { cascades },
        (false, Some(set)) => {
            if cascades {
                faults.push(Fault::key("cascades", "`cascades` belongs to delete = true"));
            }
            Action::Mend(assignment::read("set", &set)?)
        }
        _ => {
            faults.push(Fault::key("delete", "exactly one of `delete = true` and `set = { column = \"expression\" }` is needed"));
            Action::Delete { cascades }
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok((Box::new(CleanRows { side, table, key, condition, reason, max_rows, action, done_with }), Vec::new()))
}

#[async_trait]
impl Step for CleanRows {
    fn describe(&self) -> Summary {
        let what = match &self.action {
            Action::Delete { .. } => "remove",
            Action::Mend(_) => "mend",
        };
        Summary {
            effect: format!(
                "{what} at most {} rows of {} on {}, set aside whole first: {}",
                self.max_rows,
                self.table.plain(),
                self.side,
                self.reason
            ),
            lock: "row locks for about batch_target at a time; ROW EXCLUSIVE on the table, which blocks no reads or writes"
                .to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn set_aside(&self, before: &Before) -> anyhow::Result<Vec<SetAside>> {
        let Tables { table, dependents } = before.read()?;
        // First the rows, then those that refer to them.
        let dependents = dependents.into_iter().map(|dependent| {
            let back = dependent.back();
            SetAside::new(self.side, dependent.table, back)
        });
        Ok([SetAside::new(self.side, table, self.back())].into_iter().chain(dependents).collect())
    }

    fn touches(&self) -> Vec<Touched> {
        vec![Touched::new(self.side, &self.table, Use::Walks)]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let session = cx.connect(self.side).await?;
        let table = self.read(&session).await?;
        let what = match &self.action {
            Action::Delete { .. } => "set aside and remove rows",
            Action::Mend(_) => "set aside and mend rows",
        };
        let rows = Some(table.estimate(&session, &self.condition).await?);
        let lock = "row locks, a batch at a time";
        let mut forecast = vec![Forecast { object: table.name.plain(), what: what.to_owned(), rows, lock: lock.to_owned() }];
        let findings = self.preconditions(cx).await?;
        if findings.is_empty() {
            for dependent in self.dependents(&session, &table).await? {
                let what = dependent.describe(&table);
                forecast.push(Forecast { object: dependent.table.name.plain(), what, rows: None, lock: lock.to_owned() });
            }
        }
        forecast.extend(findings.into_iter().map(Forecast::of));
        Ok(forecast)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        let table = self.read(&session).await?;
        let mut findings = match &self.action {
            Action::Delete { cascades } => dependent::check(&session, &table, *cascades).await?,
            Action::Mend(set) => assignment::check(&session, &table, set).await?,
        };
        let sql = format!("SELECT count(*) FROM {} WHERE ({}\n)", table.name, self.condition);
        let matching: i64 = session.query_one(&sql, &[]).await?.get(0);
        let done = rows_done(&session, cx).await?;
        let total = matching.unsigned_abs() + done;
        if total > self.max_rows {
            findings.push(Finding {
                severity: Severity::Blocks,
                object: table.name.plain(),
                what: format!("{total} rows meet `where` ({done} of them done), more than max_rows = {}", self.max_rows),
                next: "look at the rows; raise max_rows only when they are all meant".to_owned(),
            });
        }
        Ok(findings)
    }

    fn row_changes(&self) -> Vec<RowChange> {
        let becomes = match &self.action {
            Action::Delete { .. } => Becomes::Gone,
            Action::Mend(set) => Becomes::Set(set.clone()),
        };
        vec![RowChange { table: self.table.clone(), known: Some((self.condition.clone(), becomes)) }]
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        if over(self.done_with.as_ref(), cx).await? {
            return Ok(Extent::Complete);
        }
        let session = cx.connect(self.side).await?;
        extent(&session, cx, &self.read(&session).await?, &self.condition).await
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let session = cx.connect(self.side).await?;
        let table = self.read(&session).await?;
        let dependents = self.dependents(&session, &table).await?;
        Before::of(&Tables { table, dependents })
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let Tables { table, dependents } = before.read()?;
        let (lock, statements) = match &self.action {
            Action::Delete { .. } => {
                let taken_along = dependents.iter().flat_map(|dependent| dependent.keeping(cx, &table, &self.reason));
                ("FOR UPDATE", taken_along.chain([removing(cx, &table, &self.reason)]).collect())
            }
            Action::Mend(set) => ("FOR NO KEY UPDATE", vec![changing(cx, &table, set, &self.reason)]),
        };
        let most = Some(self.max_rows);
        let walk = KeyWalk { cx, name: FORWARD, table: &table, condition: &self.condition, lock, statements, most };
        let mut batches = Batches::open(cx, self.side).await?;
        let written = walk.finish(&mut batches).await?;
        cx.remark(format!("{written} rows of {} are set aside in crossfade.quarantine", table.name.plain()));
        Ok(())
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let mut batches = Batches::open(cx, self.side).await?;
        for set_aside in self.set_aside(before)? {
            let (_, left) = set_aside.put_back_in(cx, &mut batches, "true").await?;
            if left > 0 {
                cx.remark(format!(
                    "{left} rows of {} stay set aside in crossfade.quarantine: their place was taken or changed since",
                    set_aside.table().plain()
                ));
            }
        }
        forget(&batches.session, cx).await
    }
}

impl CleanRows {
    /// How rows that were set aside go back.
    fn back(&self) -> Back {
        match &self.action {
            Action::Delete { .. } => Back::Insert,
            Action::Mend(set) => Back::Update(set.iter().map(|(column, _)| column.clone()).collect()),
        }
    }

    async fn read(&self, session: &Session) -> anyhow::Result<KeyedTable> {
        KeyedTable::read(session, &self.table, self.key.as_deref()).await
    }

    async fn dependents(&self, session: &Session, table: &KeyedTable) -> anyhow::Result<Vec<Dependent>> {
        match &self.action {
            Action::Delete { cascades: true } => dependent::read(session, table).await,
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_action() {
        let around = Surroundings { base: ".".into(), has_green: false };
        let base = "side = 'blue'\ntable = 't'\nwhere = 'a > 1'\nreason = 'x'\nmax_rows = 5\n";
        let count = |more: &str| match parse(toml::from_str(&format!("{base}{more}")).unwrap(), &around) {
            Ok(_) => 0,
            Err(faults) => faults.len(),
        };
        assert_eq!([count("delete = true"), count("set = { a = '1' }")], [0, 0]);
        assert_eq!(
            [count(""), count("delete = true\nset = { a = '1' }"), count("set = { a = '1' }\ncascades = true")],
            [1, 1, 1]
        );
    }
}
