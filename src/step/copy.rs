//! `copy`: fills empty tables of green with the rows their projections give, from one snapshot of blue.
//!
//! Where it stands is told by green: marker `taken-off` (indexes, constraints and triggers are off), rows of
//! `crossfade.copy_part` (parts that are in) and `crossfade.copy_missing` (those that are not), marker `loaded` (all parts of one
//! snapshot), and the part row of projection `*` (everything is back). What must be back is in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::projected::{Keys, Projected};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::copy::{
    Control, Filling, Fittings, Held, Interrupted, Load, Loaded, Missing, Moment, Order, Rebuild, Rest, Sequence, missing,
};
use crate::pg::{Patience, Session, control_present, mark, marked, reads_block_ranges, unmark};
use crate::projection::{Bound, Target, TargetColumn};
use crate::sql::{Literal, QualifiedName};
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "copy", about: "fill green's tables from one snapshot of blue, by projections", parse, keys: keys_of::<Keys> };

const TAKEN_OFF: &str = "taken-off";
const LOADED: &str = "loaded";

/// Up to so many bytes of rows the indexes of a table stay in place during the load.
const FEW: u64 = 128 << 10;

struct Copy {
    projected: Projected,
}

/// What undo and every resume need.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    fittings: Fittings,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let (projected, files) = from_table::<Keys>(table)?.read(around)?;
    Ok((Box::new(Copy { projected }), files))
}

#[async_trait]
impl Step for Copy {
    fn describe(&self) -> Summary {
        let count = self.projected.len();
        let tables = if count == 1 { "table" } else { "tables" };
        Summary {
            effect: format!("fill {count} empty {tables} of green from one snapshot of blue, in parallel parts"),
            lock: "ACCESS SHARE on blue while it runs: no reader or writer waits".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn notes(&self) -> Vec<Side> {
        vec![Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        self.projected.touches(Use::Fills)
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let mut lines = self.projected.forecast(&blue, cx.limits.jobs, "filled").await?;
        for target in self.projected.targets(&green).await? {
            let form = if target.columns.iter().all(TargetColumn::built_in) { "binary" } else { "text" };
            let names = [target.table.plain(), target.table.name().as_str().to_owned()];
            if let Some(line) = lines.iter_mut().find(|line| names.contains(&line.object)) {
                line.what += &format!(", {form}");
            }
        }
        for (table, plan) in self.projected.read_plans(&blue, cx.limits.jobs).await? {
            let names = [table.plain(), table.name().as_str().to_owned()];
            if let Some(at) = lines.iter().position(|line| names.contains(&line.object)) {
                let (joins, spills) = (plan.joins_told(), plan.spills_told());
                if !joins.is_empty() {
                    lines[at].what += &format!(", {joins}");
                }
                if let Some(spills) = spills {
                    lines.insert(at + 1, Forecast { what: spills, rows: None, ..lines[at].clone() });
                }
            }
        }
        Ok(lines)
    }

    async fn lacks(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let plans = self.projected.read_plans(&cx.connect(Side::Blue).await?, cx.limits.jobs).await?;
        Ok(plans.iter().filter_map(|(table, plan)| Some(does_not_fit(table, &plan.spills_told()?))).collect())
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let begun = marked(&green, &cx.run, &cx.step, TAKEN_OFF).await?;
        let binding = self.projected.bind(&blue, &green, !begun).await?;
        let mut findings = binding.findings;
        let same: Vec<QualifiedName> = identical(&binding.bound);
        findings.extend(unseen_sessions(cx, &blue).await?);
        findings.extend(Sequence::unreadable(&blue, &same).await?.iter().map(not_readable));
        for (_, target) in &binding.bound {
            findings.extend(not_ours(target));
            if !begun {
                findings.extend(not_empty(&green, target).await?);
            }
        }
        Ok(findings)
    }

    fn brings(&self) -> Option<&Projected> {
        Some(&self.projected)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let green = cx.connect(Side::Green).await?;
        if !control_present(&green).await? {
            return Ok(Extent::Absent);
        }
        let row = green
            .query_one(
                "SELECT count(*) FILTER (WHERE projection = '*'), count(*) FILTER (WHERE projection <> '*'), \
                        coalesce(sum(rows) FILTER (WHERE projection <> '*'), 0)::bigint \
                 FROM crossfade.copy_part WHERE run = $1 AND step = $2",
                &[&cx.run.as_str(), &cx.step.as_str()],
            )
            .await?;
        let (ended, parts, rows): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        Ok(if ended > 0 {
            Extent::Complete
        } else if marked(&green, &cx.run, &cx.step, LOADED).await? {
            Extent::Partial(format!("{rows} rows loaded, indexes and constraints not all back"))
        } else if marked(&green, &cx.run, &cx.step, TAKEN_OFF).await? {
            Extent::Partial(format!("{rows} rows in {parts} parts loaded, not all"))
        } else {
            Extent::Absent
        })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let mut green = cx.connect(Side::Green).await?;
        let targets = self.projected.targets(&green).await?; // all are there: the preconditions asked
        let mut fittings = Fittings::read(&mut green, &targets).await?;
        fittings.keep_indexes_of(&self.small(cx).await?);
        Before::of(&Known { fittings })
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let Known { fittings } = before.read()?;
        let green = cx.connect(Side::Green).await?;
        if !marked(&green, &cx.run, &cx.step, TAKEN_OFF).await? {
            let mark = mark(&cx.run, &cx.step, TAKEN_OFF);
            transaction(cx, fittings.take_off().into_iter().chain([mark]).collect()).await?;
            cx.crash_point("taken-off");
        }
        let blue = cx.connect(Side::Blue).await?;
        let binding = self.projected.bind(&blue, &green, false).await?;
        if !binding.findings.is_empty() {
            return Err(Stop::Findings(binding.findings).into());
        }
        let same = identical(&binding.bound);
        let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
        let told = cx.clone();
        let triggers: Vec<String> = fittings.triggers.iter().map(crate::copy::Trigger::enable).collect();
        let rebuild = Rebuild {
            fittings,
            green: cx.opener(Side::Green)?,
            jobs: cx.limits.jobs,
            told: Arc::new(move |place| told.crash_point(place)),
        };
        if marked(&green, &cx.run, &cx.step, LOADED).await? {
            self.rest(cx, &blue, &rebuild, &bound).await?;
        } else {
            self.load(cx, &blue, &green, &rebuild, bound).await?;
        }
        cx.crash_point("indexed");
        stop_here(cx)?;
        rebuild.foreign_keys().await?;
        cx.crash_point("keyed");
        rebuild.sequences(&blue, &same).await?;
        cx.crash_point("sequences");
        transaction(cx, triggers.into_iter().chain([ended(cx)]).collect()).await
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        if !marked(&green, &cx.run, &cx.step, TAKEN_OFF).await? {
            return Ok(()); // every other effect comes after this marker
        }
        let Known { fittings } = before.read()?;
        let strangers = strangers(cx, &green, &fittings).await?;
        if !strangers.is_empty() {
            let all = strangers.iter().map(|found| format!("{} {}; next: {}", found.object, found.what, found.next));
            anyhow::bail!("{}", all.collect::<Vec<_>>().join("\n"));
        }
        let rebuild = Rebuild { fittings, green: cx.opener(Side::Green)?, jobs: 1, told: Arc::new(|_| ()) };
        let mut statements = rebuild.back_to_empty(&green).await?;
        let forget_watermark = format!("DELETE FROM crossfade.watermark WHERE run = {}", Literal::new(cx.run.as_str()));
        statements.extend(forget_parts(cx));
        statements.extend([forget_watermark, unmark(&cx.run, &cx.step)]);
        end_workers(cx, &green).await?;
        transaction(cx, statements).await
    }
}

impl Copy {
    /// Loads what is missing of every table, and builds what was taken off it.
    async fn load(&self, cx: &Cx, blue: &Session, green: &Session, rebuild: &Rebuild, bound: Vec<Bound>) -> anyhow::Result<()> {
        let texts = bound.iter().filter(|bound| !bound.binary).count();
        let mut resumed = true;
        let held = match Held::find(green, cx.opener(Side::Blue)?, &cx.run, &cx.step).await? {
            Some(held) => held,
            None => {
                resumed = false;
                begin_again(cx, green, rebuild).await?;
                let held = hold(cx).await?;
                let reader = held.join().await?;
                let (fillings, block_size) = fillings(&reader, bound.clone()).await?;
                let parts = missing::parts(&fillings, block_size, cx.limits.jobs, reads_block_ranges(&reader).await?);
                missing::plan(green, &cx.run, &cx.step, "", &parts).await?;
                cx.crash_point("planned");
                held
            }
        };
        // Of several copies of a run the first snapshot counts: a change that a later one has already is derived again.
        let watermark = format!(
            "INSERT INTO crossfade.watermark (run, snapshot) VALUES ({}, {}) ON CONFLICT (run) DO NOTHING",
            Literal::new(cx.run.as_str()),
            Literal::new(&held.seen)
        );
        let mut loaded = vec![mark(&cx.run, &cx.step, LOADED), watermark];
        loaded.extend(missing::forget(&cx.run, &cx.step));
        let parts = missing::read(green, &cx.run, &cx.step).await?;
        let tables = tables(blue, rebuild, &bound).await?;
        let load = loader(cx, tables, parts, loaded, resumed, String::new())?;
        load_missing(cx, green, load, &held, resumed, self.projected.estimate(blue).await?, texts).await
    }

    /// The green tables that get few bytes of rows.
    async fn small(&self, cx: &Cx) -> anyhow::Result<Vec<QualifiedName>> {
        let blue = cx.connect(Side::Blue).await?;
        let driven = self.projected.driven();
        let sizes = blocks(&blue, driven.iter().flat_map(|(_, drives)| drives).cloned().collect()).await?;
        let bytes = |name: &QualifiedName| sizes.of.get(name).map_or(0, |count| u64::from(*count) * u64::from(sizes.block_size));
        let few = driven.into_iter().filter(|(_, drives)| drives.iter().map(bytes).sum::<u64>() <= FEW);
        let names: Vec<String> = few.map(|(table, _)| table.to_string()).collect();
        let sql = "SELECT n.nspname, c.relname FROM unnest($1::text[]) AS t (name) \
                   JOIN pg_class c ON c.oid = to_regclass(t.name) JOIN pg_namespace n ON n.oid = c.relnamespace";
        let rows = cx.connect(Side::Green).await?.query(sql, &[&names]).await?;
        Ok(rows.iter().map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
    }

    /// Builds what is missing of tables whose rows are there.
    async fn rest(&self, cx: &Cx, blue: &Session, rebuild: &Rebuild, bound: &[Bound]) -> anyhow::Result<()> {
        let tables = tables(blue, rebuild, bound).await?;
        loader(cx, tables, Vec::new(), Vec::new(), true, String::new())?.rest(listener(cx, 0)).await
    }
}

/// Rows that blue would join through temporary files.
fn does_not_fit(table: &QualifiedName, spills: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: table.plain(),
        what: format!("reading its rows writes {spills}"),
        next: "give the role that reads blue more: ALTER ROLE ... SET work_mem; or let an index serve the join".to_owned(),
    }
}

/// What comes after the rows of each table.
async fn tables(blue: &Session, rebuild: &Rebuild, bound: &[Bound]) -> anyhow::Result<Vec<Rest>> {
    let drives = bound.iter().flat_map(|bound| &bound.sources).map(|source| &source.drives);
    let sizes = blocks(blue, drives.cloned().collect()).await?;
    let mut rests = rebuild.rests();
    for rest in &mut rests {
        let own = bound.iter().filter(|bound| bound.table == rest.table).flat_map(|bound| &bound.sources);
        let blocks: u64 = own.filter_map(|source| sizes.of.get(&source.drives)).map(|count| u64::from(*count)).sum();
        rest.bytes = blocks * u64::from(sizes.block_size);
    }
    Ok(rests)
}

/// The tables with the sizes of their driving tables, and the bytes of a block.
async fn fillings(blue: &Session, bound: Vec<Bound>) -> anyhow::Result<(Vec<Filling>, u32)> {
    let drives = bound.iter().flat_map(|bound| &bound.sources).map(|source| &source.drives);
    let sizes = blocks(blue, drives.cloned().collect()).await?;
    let filling = |bound: Bound| {
        let blocks = bound.sources.iter().filter_map(|source| sizes.of.get(&source.drives).copied()).collect();
        let toast = bound.sources.iter().filter_map(|source| sizes.toast.get(&source.drives)).sum();
        Filling { bound, blocks, toast, empty: true }
    };
    Ok((bound.into_iter().map(filling).collect(), sizes.block_size))
}

/// Starts the holder of a snapshot of blue for this step.
pub(super) async fn hold(cx: &Cx) -> anyhow::Result<Held> {
    let order = Order::new(cx.database(Side::Blue)?, cx.database(Side::Green)?, &cx.run, &cx.step, cx.limits.hold_snapshot);
    let held = order.give(cx.opener(Side::Blue)?).await?;
    cx.crash_point("snapshot");
    Ok(held)
}

pub(super) fn loader(
    cx: &Cx,
    tables: Vec<Rest>,
    missing: Vec<Missing>,
    loaded: Vec<String>,
    ask: bool,
    settings: String,
) -> anyhow::Result<Load> {
    let green = cx.opener(Side::Green)?;
    let control = Control { limits: cx.limits.clone(), wish: cx.interrupt.wish.clone(), stop: cx.interrupt.soft.clone() };
    let (run, step, jobs) = (cx.run.clone(), cx.step.clone(), cx.limits.jobs);
    Ok(Load { run, step, green, jobs, tables, missing, loaded, ask, settings, control })
}

/// Loads what is missing, and says what that was.
pub(super) async fn load_missing(
    cx: &Cx,
    green: &Session,
    load: Load,
    held: &Held,
    resumed: bool,
    total: u64,
    texts: usize,
) -> anyhow::Result<()> {
    let count = "SELECT count(*), coalesce(sum(rows), 0)::bigint FROM crossfade.copy_part WHERE run = $1 AND step = $2";
    let row = green.query_one(count, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
    let (parts, rows): (i64, i64) = (row.get(0), row.get(1));
    if resumed {
        let missing = load.missing.len();
        cx.remark(format!("goes on from the snapshot that was held: {parts} parts are in, {missing} are missing"));
    }
    let loaded = match load.run(held, cx.opener(Side::Blue)?, rows.unsigned_abs(), listener(cx, total)).await {
        Err(error) if error.is::<Interrupted>() => return Err(Stop::Interrupted.into()),
        other => other?,
    };
    cx.remark(moved(&loaded, texts));
    Ok(())
}

/// What a load moved, for people. Pure.
fn moved(loaded: &Loaded, texts: usize) -> String {
    let seconds = loaded.seconds.max(0.001);
    let form = if texts == 0 { "binary".to_owned() } else { format!("binary, {texts} tables as text") };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let (rate, megabytes) = (loaded.rows as f64 / seconds, loaded.bytes as f64 / 1e6);
    let elsewhere = match loaded.elsewhere {
        0 => String::new(),
        count => format!("; {count} parts by workers elsewhere"),
    };
    format!(
        "{} rows, {megabytes:.1} MB ({form}) in {} parts and {seconds:.1} s, indexes beside them: {rate:.0} rows/s, {:.1} MB/s{elsewhere}",
        loaded.rows,
        loaded.parts - loaded.elsewhere,
        megabytes / seconds
    )
}

/// Lets the snapshot of this run go, ends the workers of other machines that load for it, and waits for that.
pub(super) async fn end_workers(cx: &Cx, green: &Session) -> anyhow::Result<()> {
    let snapshot = format!("DELETE FROM crossfade.copy_snapshot WHERE run = {}", Literal::new(cx.run.as_str()));
    green.batch_execute(&snapshot).await?; // no other can join then
    crate::pg::end_workers(green, &cx.run).await.map(drop)
}

/// Sizes of tables.
struct Sizes {
    /// In blocks.
    of: BTreeMap<QualifiedName, u32>,
    /// Bytes of their large values, which are stored apart.
    toast: BTreeMap<QualifiedName, u64>,
    /// Bytes of a block.
    block_size: u32,
}

/// Asks for the sizes of tables, all at once; one that is not there is left out.
async fn blocks(session: &Session, tables: Vec<QualifiedName>) -> anyhow::Result<Sizes> {
    let names: Vec<String> = tables.iter().map(QualifiedName::to_string).collect();
    let sql = "SELECT pg_relation_size(to_regclass(name)), current_setting('block_size')::int8, \
                   (SELECT pg_relation_size(nullif(reltoastrelid, 0)::regclass) FROM pg_class WHERE oid = to_regclass(name)) \
               FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place) ORDER BY place";
    let (mut of, mut toast, mut block_size) = (BTreeMap::new(), BTreeMap::new(), 8192);
    for (table, row) in tables.into_iter().zip(session.query(sql, &[&names]).await?) {
        let (bytes, block): (Option<i64>, i64) = (row.get(0), row.get(1));
        block_size = u32::try_from(block).unwrap_or(8192).max(1);
        toast.extend(row.get::<_, Option<i64>>(2).map(|bytes| (table.clone(), bytes.unsigned_abs())));
        if let Some(bytes) = bytes {
            of.insert(table, u32::try_from(bytes / i64::from(block_size)).unwrap_or(u32::MAX - 1));
        }
    }
    Ok(Sizes { of, toast, block_size })
}

/// Tells progress to whoever watches, and the places to the tests.
pub(super) fn listener(cx: &Cx, total: u64) -> impl Fn(Moment) + Send + Sync + 'static {
    let told = cx.clone();
    move |moment| match moment {
        Moment::Sent => told.crash_point("part-sent"),
        Moment::Committed(rows) => {
            told.progress(rows, total.max(rows), "rows");
            told.crash_point("part");
        }
        Moment::Loaded => told.crash_point("loaded"),
        Moment::Built => told.crash_point("rebuilt"),
        Moment::Constrained => told.crash_point("constraint"),
        Moment::Pauses(Some(why)) => told.remark(why),
        Moment::Pauses(None) => told.remark("goes on"),
    }
}

/// Nobody holds the snapshot of an earlier attempt, so its parts cannot be completed: they are ranges of blocks, and a row that changed
/// since may have moved from one that is in to one that is missing, or back. The tables, found empty before this step, are emptied
/// again.
/// Why what an earlier attempt brought cannot be completed.
pub(super) const BEGINS_AGAIN: &str =
    "nobody holds their snapshot any more, and parts of another one would not fit to them (rows move)";

async fn begin_again(cx: &Cx, green: &Session, rebuild: &Rebuild) -> anyhow::Result<()> {
    let strangers = strangers(cx, green, &rebuild.fittings).await?;
    if !strangers.is_empty() {
        return Err(Stop::Findings(strangers).into());
    }
    let count = "SELECT count(*) FROM crossfade.copy_part WHERE run = $1 AND step = $2";
    let parts: i64 = green.query_one(count, &[&cx.run.as_str(), &cx.step.as_str()]).await?.get(0);
    end_workers(cx, green).await?;
    let mut statements = rebuild.take_off(green).await?; // what an earlier attempt built already
    if parts > 0 {
        cx.remark(format!("{parts} parts of an earlier attempt are dropped: {BEGINS_AGAIN}"));
        statements.push(rebuild.fittings.truncate());
        statements.extend(forget_parts(cx));
    }
    if !statements.is_empty() {
        transaction(cx, statements).await?;
        cx.crash_point("emptied");
    }
    Ok(())
}

/// Tables that hold other rows than the parts that are committed, by their number: what this step did not load it does not
/// empty. A table without rows has nothing to lose.
async fn strangers(cx: &Cx, green: &Session, fittings: &Fittings) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for table in &fittings.tables {
        let sql = format!(
            "SELECT (SELECT count(*) FROM ONLY {table}), (SELECT coalesce(sum(rows), 0)::bigint FROM crossfade.copy_part \
              WHERE run = $1 AND step = $2 AND projection = $3)"
        );
        let row = green.query_one(&sql, &[&cx.run.as_str(), &cx.step.as_str(), &table.plain()]).await?;
        let (rows, loaded): (i64, i64) = (row.get(0), row.get(1));
        if rows != 0 && rows != loaded {
            findings.push(Finding {
                severity: Severity::Blocks,
                object: format!("table {} on green", table.plain()),
                what: format!(
                    "holds {rows} rows, the copy loaded {loaded}: somebody else writes to it, and its rows would be lost"
                ),
                next: format!("keep green as it is, or, if its rows may go, TRUNCATE {table} on green and do this again"),
            });
        }
    }
    Ok(findings)
}

/// The tables that are the same on both sides: their sequences are read on blue.
fn identical(bound: &[(Bound, Target)]) -> Vec<QualifiedName> {
    bound.iter().filter(|(bound, _)| bound.identity).map(|(bound, _)| bound.table.clone()).collect()
}

fn not_readable(sequence: &QualifiedName) -> Finding {
    Finding {
        severity: Severity::Blocks,
        object: format!("sequence {} on blue", sequence.plain()),
        what: "may not be read by this role: green's must go on where it stands".to_owned(),
        next: format!("GRANT SELECT ON SEQUENCE {sequence} to this role on blue"),
    }
}

/// A role that cannot see whether others are at work cannot hold `max_active_sessions`.
pub(super) async fn unseen_sessions(cx: &Cx, blue: &Session) -> anyhow::Result<Option<Finding>> {
    let sql = "SELECT pg_has_role('pg_read_all_stats', 'USAGE'), quote_ident(current_user)";
    let row = blue.query_one(sql, &[]).await?;
    let (sees, role): (bool, String) = (row.get(0), row.get(1));
    Ok((cx.limits.max_active_sessions.is_some() && !sees).then(|| Finding {
        severity: Severity::Blocks,
        object: "max_active_sessions".to_owned(),
        what: "this role does not see what sessions of others do on blue".to_owned(),
        next: format!("GRANT pg_read_all_stats TO {role} on blue, or leave the limit out"),
    }))
}

/// After the first signal, between two phases that keep what is done.
pub(super) fn stop_here(cx: &Cx) -> anyhow::Result<()> {
    if cx.interrupt.soft.is_cancelled() { Err(Stop::Interrupted.into()) } else { Ok(()) }
}

async fn transaction(cx: &Cx, statements: Vec<String>) -> anyhow::Result<()> {
    let (mut session, observer) = (cx.connect(Side::Green).await?, cx.connect(Side::Green).await?);
    let mut patience = Patience { session: &mut session, observer: &observer, limits: &cx.limits };
    patience.transaction(&statements, &mut |blockers| cx.waiting(blockers)).await.map(drop).context("on green")
}

/// The statement that says everything is there.
pub(super) fn ended(cx: &Cx) -> String {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    format!(
        "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) \
         SELECT {run}, {step}, '*', '', 0, coalesce(sum(rows), 0), coalesce(sum(bytes), 0) \
         FROM crossfade.copy_part WHERE run = {run} AND step = {step} AND projection <> '*' ON CONFLICT DO NOTHING"
    )
}

/// The parts that are in and those that are missing, and the snapshot.
fn forget_parts(cx: &Cx) -> Vec<String> {
    let (run, step) = (Literal::new(cx.run.as_str()), Literal::new(cx.step.as_str()));
    let parts = format!("DELETE FROM crossfade.copy_part WHERE run = {run} AND step = {step}");
    [vec![parts], missing::forget(&cx.run, &cx.step)].concat()
}

fn not_ours(target: &Target) -> Option<Finding> {
    (!target.owned).then(|| Finding {
        severity: Severity::Blocks,
        object: format!("table {} on green", target.table.plain()),
        what: "belongs to a role this one is not a member of: its indexes cannot be taken off and put back".to_owned(),
        next: "run as the owner of the table, or GRANT the owner's role to this one".to_owned(),
    })
}

async fn not_empty(green: &Session, target: &Target) -> anyhow::Result<Option<Finding>> {
    const MANY: i64 = 100_000;
    let sql = format!("SELECT count(*) FROM (SELECT FROM ONLY {} LIMIT {}) AS rows", target.table, MANY + 1);
    let rows: i64 = green.query_one(&sql, &[]).await?.get(0);
    let count = if rows > MANY { format!("more than {MANY}") } else { rows.to_string() };
    Ok((rows > 0).then(|| Finding {
        severity: Severity::Blocks,
        object: format!("table {} on green", target.table.plain()),
        what: format!("holds {count} row{}: a copy fills empty tables only", if rows == 1 { "" } else { "s" }),
        next: format!("`crossfade rollback` the run that filled it, or, if its rows may go, TRUNCATE {} on green", target.table),
    }))
}
