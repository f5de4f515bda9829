//! `repair`: gives rows of green the values they should have, and makes rows that a migration lost.
//!
//! What is right comes from projections of blue or from queries on green. The right rows are staged in tables of ours on green, anew
//! at each attempt; then each table is walked in keyed batches: rows that differ and that `only` calls damaged are set aside
//! whole in `crossfade.quarantine` and changed, rows of `insert_from` or `insert` that are not there are made and noted in
//! `crossfade.repair_made`. Whatever green holds beside that is left alone: rows blue never had, rows changed or removed
//! since, rows that a repair made once and that somebody removed.
//!
//! Blue may go on while rows are repaired: what is revoked there after the right rows were staged must not come back. Where
//! blue is captured, no follower may move green until the repair ends ([`standing`]): what blue changes afterwards is ahead of
//! green's watermark and comes with the next batch. Elsewhere the right rows are staged anew and what they no longer say is taken
//! back ([`withdraw()`]), until a pass finds nothing to do.

mod file;
mod make;
mod stage;
mod standing;
mod withdraw;

use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::file::{Mend, Right};
use self::make::{Make, unmake};
use self::stage::{Stage, Staged};
use self::standing::Standing;
use self::withdraw::withdraw;
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::rows::assignment;
use super::rows::batches::Batches;
use super::rows::key_walk::{KeyWalk, forget};
use super::rows::keyed_table::KeyedTable;
use super::rows::set_aside::{Back, changing};
use super::{Cx, Fault, Forecast, Reversal, RowChange, SetAside, Step, Summary, Touched, Use, from_table};
use crate::pg::{Session, Snapshot, control_present, mark, marked, unmark};
use crate::projection::{Bound, ProjectionSet, bind, load};
use crate::sql::Ident;
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "repair",
    about: "give damaged rows of green the values they should have, setting them aside first",
    parse,
    keys: keys_of::<Written>,
};

/// The marker of a finished repair; `verify` knows by it that what was set aside is no longer what green should hold.
const REPAIRED: &str = "repaired";

/// So often the right rows are staged while blue goes on changing them.
const PASSES: u32 = 10;

/// Rows of one table.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    made: u64,
    changed: u64,
    taken_back: u64,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    repairs: String,
    side: Option<Side>,
    projections: Option<String>,
}

#[derive(Debug)]
struct Repair {
    /// Green, or blue in a plan with one database.
    side: Side,
    mends: Vec<Mend>,
    /// The projections that the mends name, and no others.
    set: ProjectionSet,
}

/// What the undo needs: the tables as they were, in the order of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Tables(Vec<KeyedTable>);

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { repairs, side, projections } = from_table(table)?;
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    let path = around.base.join(&repairs);
    let mends = match file::load(&path) {
        Ok((mends, content)) => {
            files.push(content);
            mends
        }
        Err(flaws) => {
            faults.extend(flaws.into_iter().map(|(line, what)| Fault::file(path.clone(), line, what)));
            Vec::new()
        }
    };
    let mut set = ProjectionSet::default();
    if let Some(directory) = projections {
        match load(&around.base.join(directory)) {
            Ok((loaded, contents)) => {
                set = loaded;
                files.extend(contents);
            }
            Err(flaws) => faults.extend(flaws.into_iter().map(|flaw| Fault::file(flaw.file, flaw.line, flaw.what))),
        }
    }
    for mend in &mends {
        faults.extend(mend.against(&set).into_iter().map(|what| Fault::file(path.clone(), Some(mend.line), what)));
    }
    set.projections.retain(|projection| mends.iter().any(|mend| mend.projected() && mend.table == projection.table));
    let side = side.unwrap_or(Side::Green);
    if side == Side::Blue && !set.projections.is_empty() {
        faults.push(Fault::key(
            "side",
            "blue is not repaired from blue: `side = \"blue\"` is for repairs by `rows` and `insert` alone",
        ));
    }
    if faults.is_empty() { Ok((Box::new(Repair { side, mends, set }), files)) } else { Err(faults) }
}

#[async_trait]
impl Step for Repair {
    fn describe(&self) -> Summary {
        let tables: Vec<String> = self.mends.iter().map(|mend| mend.table.plain()).collect();
        Summary {
            effect: format!("repair damaged rows of {} on {}, set aside whole first", tables.join(", "), self.side),
            lock: "row locks for about batch_target at a time; ROW EXCLUSIVE on the tables, which blocks no reads or writes"
                .to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        if self.set.projections.is_empty() { vec![self.side] } else { vec![Side::Blue, Side::Green] }
    }

    fn notes(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        let mut touched: Vec<Touched> = self.mends.iter().map(|mend| Touched::new(self.side, &mend.table, Use::Walks)).collect();
        for source in self.set.projections.iter().flat_map(|projection| &projection.sources) {
            touched.push(Touched::new(Side::Blue, &source.drives, Use::Carries));
        }
        touched
    }

    fn set_aside(&self, before: &Before) -> anyhow::Result<Vec<SetAside>> {
        let Tables(tables) = before.read()?;
        let pairs = self.mends.iter().zip(tables).rev().filter(|(mend, _)| !mend.update.is_empty());
        Ok(pairs.map(|(mend, table)| SetAside::new(self.side, table, Back::Update(mend.update.clone()))).collect())
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    fn row_changes(&self) -> Vec<RowChange> {
        self.mends.iter().map(|mend| RowChange { table: mend.table.clone(), known: None }).collect()
    }

    /// Stages the right rows in temporary tables and counts.
    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let green = cx.connect(self.side).await?;
        let tables = self.tables(&green).await?;
        let findings = self.preconditions(cx).await?;
        if !findings.is_empty() {
            return Ok(findings.into_iter().map(Forecast::of).collect());
        }
        let staged = self.staged(cx, &green, &tables, "pg_temp").await?;
        let mut lines = Vec::new();
        for ((mend, table), staged) in self.mends.iter().zip(&tables).zip(&staged) {
            let lock = "row locks, a batch at a time".to_owned();
            let object = mend.table.plain();
            if let Some(condition) = staged.damaged(mend, table) {
                let what = format!("set aside and repair: {}", mend.reason);
                let rows = Some(count(&green, &format!("{} WHERE {condition}", table.name)).await?);
                lines.push(Forecast { object: object.clone(), what, rows, lock: lock.clone() });
            }
            if let Some(from) = staged.missing(mend, table, control_made(&green).await?) {
                let what = format!("make rows that are not there: {}", mend.reason);
                lines.push(Forecast { object, what, rows: Some(count(&green, &from).await?), lock });
            }
        }
        Ok(lines)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let green = cx.connect(self.side).await?;
        let mut findings = Vec::new();
        for mend in &self.mends {
            let block = |what: String, next: &str| Finding {
                severity: Severity::Blocks,
                object: format!("repair of {}", mend.table.plain()),
                what,
                next: next.to_owned(),
            };
            let table = match KeyedTable::read(&green, &mend.table, mend.key(&self.set)).await {
                Ok(table) => table,
                Err(error) => {
                    findings.push(block(crate::pg::explain(&error), "correct the repairs file, or migrate green first"));
                    continue;
                }
            };
            let as_null: Vec<(Ident, String)> = mend.update.iter().map(|column| (column.clone(), "NULL".to_owned())).collect();
            if !as_null.is_empty() {
                findings.extend(assignment::check(&green, &table, &as_null).await?);
            }
            for (name, condition) in [("only", &mend.only), ("insert_only", &mend.insert_only)] {
                let Some(condition) = condition else { continue };
                let sql = format!("SELECT FROM {} WHERE ({condition}\n)", table.name);
                if let Err(error) = green.prepare(&sql).await {
                    let what = format!("`{name}` does not fit the table: {}", crate::pg::explain(&error.into()));
                    findings.push(block(what, "correct the repairs file"));
                }
            }
            for (name, query) in mend.queries() {
                if let Err(error) = green.prepare(query).await {
                    let what = format!("green refuses `{name}`: {}", crate::pg::explain(&error.into()));
                    findings.push(block(what, "correct the repairs file, or save blue's facts first: crossfade audit --save"));
                }
            }
        }
        if !self.set.projections.is_empty() {
            findings.extend(bind(&cx.connect(Side::Blue).await?, &green, &self.set, true).await?.findings);
        }
        Ok(findings)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let green = cx.connect(self.side).await?;
        if marked(&green, &cx.run, &cx.step, REPAIRED).await? {
            return Ok(Extent::Complete);
        }
        if !control_made(&green).await? {
            return Ok(Extent::Absent);
        }
        let done: i64 = green
            .query_one(
                "SELECT (SELECT count(*) FROM crossfade.quarantine WHERE run = $1 AND step = $2 AND restored_at IS NULL) \
                      + (SELECT count(*) FROM crossfade.repair_made WHERE run = $1 AND step = $2 AND unmade_at IS NULL)",
                &[&cx.run.as_str(), &cx.step.as_str()],
            )
            .await?
            .get(0);
        Ok(if done > 0 { Extent::Partial(format!("{done} rows are repaired, others may not be")) } else { Extent::Absent })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        Before::of(&Tables(self.tables(&cx.connect(self.side).await?).await?))
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let Tables(tables) = before.read()?;
        let green = cx.connect(self.side).await?;
        let standing = Standing::take(cx, &self.set).await?;
        let mut batches = Batches::open(cx, self.side).await?;
        let mut done = vec![Done::default(); self.mends.len()];
        for pass in 1.. {
            // Anew each time: what was revoked on blue since must not come back.
            let staged = self.staged(cx, &green, &tables, "crossfade").await?;
            cx.crash_point("staged");
            let mut moved = 0;
            for number in (0..self.mends.len()).rev() {
                let (mend, table, staged) = (&self.mends[number], &tables[number], &staged[number]);
                let taken = withdraw(cx, &mut batches, mend, table, staged).await?;
                done[number].taken_back += taken;
                moved += taken;
            }
            for (number, ((table, staged), done)) in tables.iter().zip(&staged).zip(&mut done).enumerate() {
                let (made, changed) = self.mend(cx, &mut batches, number, table, staged).await?;
                done.made += made;
                done.changed += changed;
                moved += made + changed;
            }
            if standing.holds_still() || moved == 0 {
                break;
            }
            if pass == PASSES {
                return Err(Stop::Findings(vec![goes_on()]).into());
            }
        }
        for (mend, done) in self.mends.iter().zip(done) {
            let Done { made, changed, taken_back } = done;
            let back = if taken_back > 0 { format!(", {taken_back} taken back: blue changed meanwhile") } else { String::new() };
            cx.remark(format!("{}: {changed} rows repaired, {made} made{back}", mend.table.plain()));
        }
        Stage::drop_all(&green, "crossfade", self.mends.len()).await?;
        green.batch_execute(&mark(&cx.run, &cx.step, REPAIRED)).await?;
        Ok(())
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let Tables(tables) = before.read()?;
        let mut batches = Batches::open(cx, self.side).await?;
        if !control_made(&batches.session).await? {
            return Ok(());
        }
        for (mend, table) in self.mends.iter().zip(tables).rev() {
            if !mend.update.is_empty() {
                let set_aside = SetAside::new(self.side, table.clone(), Back::Update(mend.update.clone()));
                let (_, left) = set_aside.put_back_in(cx, &mut batches, "true").await?;
                if left > 0 {
                    cx.remark(format!(
                        "{left} rows of {} were changed or removed since and stay as they are",
                        table.name.plain()
                    ));
                }
            }
            let (_, left) = unmake(cx, &mut batches, &table, "true").await?;
            if left > 0 {
                cx.remark(format!("{left} rows that were made in {} are gone, changed or in use and stay", table.name.plain()));
            }
        }
        Stage::drop_all(&batches.session, "crossfade", self.mends.len()).await?;
        batches.session.batch_execute(&unmark(&cx.run, &cx.step)).await?;
        forget(&batches.session, cx).await
    }
}

impl Repair {
    /// Makes and changes what is damaged in one table. Returns how many rows of each.
    async fn mend(
        &self,
        cx: &Cx,
        batches: &mut Batches<'_>,
        number: usize,
        table: &KeyedTable,
        staged: &Staged,
    ) -> anyhow::Result<(u64, u64)> {
        let (mend, name) = (&self.mends[number], format!("table{number}"));
        let (mut made, mut changed) = (0, 0);
        if let Some((new, columns)) = &staged.new {
            let make = Make { cx, table, new, columns, only: mend.insert_only.as_deref() };
            made = make.all(batches, &format!("{name}-make")).await?;
        }
        if let Some(condition) = staged.damaged(mend, table) {
            let set = staged.assignments(mend, table);
            let statements = vec![changing(cx, table, &set, &mend.reason)];
            let condition = condition.as_str();
            let walk = KeyWalk { cx, name: &name, table, condition, lock: "FOR NO KEY UPDATE", statements, most: None };
            changed = walk.finish(batches).await?;
        }
        Ok((made, changed))
    }

    async fn tables(&self, green: &Session) -> anyhow::Result<Vec<KeyedTable>> {
        let mut tables = Vec::new();
        for mend in &self.mends {
            tables.push(KeyedTable::read(green, &mend.table, mend.key(&self.set)).await?);
        }
        Ok(tables)
    }

    /// Stages the right rows of every table: those of projections from one snapshot of blue.
    async fn staged(&self, cx: &Cx, green: &Session, tables: &[KeyedTable], schema: &str) -> anyhow::Result<Vec<Staged>> {
        let mut bound: Vec<Bound> = Vec::new();
        let mut blue = None;
        if !self.set.projections.is_empty() {
            let snapshot = Snapshot::export(cx.opener(Side::Blue)?).await?;
            let binding = bind(snapshot.session(), green, &self.set, true).await?;
            if !binding.findings.is_empty() {
                return Err(Stop::Findings(binding.findings).into());
            }
            bound = binding.bound.into_iter().map(|(bound, _)| bound).collect();
            blue = Some(snapshot);
        }
        Stage::drop_all(green, schema, self.mends.len()).await?;
        let mut all = Vec::new();
        for (number, (mend, table)) in self.mends.iter().zip(tables).enumerate() {
            let stage = Stage { green, schema, number, table };
            let staged = match (&mend.right, &blue) {
                (Right::Projected { insert_from }, Some(blue)) => {
                    let bound = bound.iter().find(|bound| bound.table == table.name);
                    let bound = bound.with_context(|| format!("table {} has no projection", mend.table.plain()))?;
                    stage.project(blue.session(), bound, &mend.update, insert_from).await
                }
                (Right::Declared { rows, insert, .. }, _) => {
                    stage.declare(rows.as_deref(), insert.as_deref(), &mend.update).await
                }
                (Right::Projected { .. }, None) => Err(anyhow::anyhow!("there is no blue to project from")),
            };
            all.push(staged.with_context(|| format!("cannot stage the right rows of {}", mend.table.plain()))?);
            cx.progress(number as u64 + 1, self.mends.len() as u64, "tables");
        }
        Ok(all)
    }
}

fn goes_on() -> Finding {
    Finding {
        severity: Severity::Blocks,
        object: "writes on blue".to_owned(),
        what: format!("change the rows that are repaired, in each of {PASSES} passes: nobody can tell when green has them all"),
        next: "let writes on blue end, or capture them (`start_capture` before the copy), then run the same command again"
            .to_owned(),
    }
}

/// Whether our tables, that of made rows among them, are there.
async fn control_made(green: &Session) -> anyhow::Result<bool> {
    Ok(control_present(green).await?
        && green.query_one("SELECT to_regclass('crossfade.repair_made') IS NOT NULL", &[]).await?.get(0))
}

async fn count(green: &Session, from: &str) -> anyhow::Result<i64> {
    Ok(green.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await?.get(0))
}
