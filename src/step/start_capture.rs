//! `start_capture`: from now on the transactions of blue record which rows they change.
//!
//! Where it stands is told by blue: a row of `crossfade.captured` for each table that has its triggers, or that is published for
//! a slot, and marker `captured` when all have, and the slot tells their changes.

use async_trait::async_trait;
use serde::Deserialize;

use super::ddl::patient::in_turn;
use super::projected::{Keys, Projected};
use super::prove_revocations;
use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::slot;
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::capture::{self, CapturedTable, Shape, installed, obstacles, slot_obstacles};
use crate::limits::Size;
use crate::pg::{Session, control_present, mark, marked, table_state, unmark};
use crate::projection::{Captured, captured};
use crate::revocation::{Rules, forget_rules, keep_rules};
use crate::sql::QualifiedName;
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, RunId, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "start_capture",
    about: "record which rows of blue change, by triggers or from a replication slot",
    parse,
    keys: keys_of::<CaptureKeys>,
};

pub(super) const CAPTURED: &str = "captured";

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct CaptureKeys {
    projections: Option<String>,
    #[serde(default)]
    tables: Vec<QualifiedName>,
    #[serde(default = "one_gigabyte")]
    outbox_alarm: Size,
    #[serde(default)]
    source: Source,
    #[serde(default)]
    set_replica_identity: bool,
    /// A file of rules that tell revocations among the changes.
    revocations: Option<String>,
    /// Green's tables get the form that the projections fill only later.
    #[serde(default)]
    taken_over_later: bool,
}

/// How changes become known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// The writers' own transactions note them.
    #[default]
    Trigger,
    /// Blue's log tells them.
    Slot,
}

fn one_gigabyte() -> Size {
    Size(1_000_000_000)
}

struct StartCapture {
    projected: Projected,
    alarm: Size,
    rules: Option<Rules>,
    /// Then green is not asked: see [`super::take_over`].
    later: bool,
    source: Source,
    alters: bool,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let keys: CaptureKeys = from_table(table)?;
    if keys.taken_over_later && !keys.tables.is_empty() {
        let what = "`taken_over_later` goes with projections: tables that are the same on both sides need no taking over";
        return Err(vec![Fault::key("taken_over_later", what)]);
    }
    if keys.set_replica_identity && keys.source == Source::Trigger {
        return Err(vec![Fault::key(
            "set_replica_identity",
            "belongs to `source = \"slot\"`: triggers need no replica identity",
        )]);
    }
    let (source, alters) = (keys.source, keys.set_replica_identity);
    let read = Keys::new(keys.projections, keys.tables).read(around);
    let rules = keys.revocations.map(|name| prove_revocations::rules(&name, around)).transpose();
    match (read, rules) {
        (Ok((projected, mut files)), Ok(rules)) => {
            files.extend(rules.iter().map(|rules| rules.text.clone().into_bytes()));
            let (later, alarm) = (keys.taken_over_later, keys.outbox_alarm);
            Ok((Box::new(StartCapture { projected, alarm, rules, later, source, alters }), files))
        }
        (read, rules) => Err([read.err().unwrap_or_default(), rules.err().unwrap_or_default()].concat()),
    }
}

impl StartCapture {
    async fn wanted(&self, blue: &Session, green: &Session) -> anyhow::Result<(Vec<Captured>, Vec<Finding>)> {
        let mut binding = match self.later {
            true => self.projected.bind_to_blue(blue).await?,
            false => self.projected.bind(blue, green, true).await?,
        };
        binding.findings.append(&mut binding.following);
        let bound: Vec<_> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
        let mut tables = captured(&bound);
        if let Some(rules) = &self.rules {
            binding.findings.extend(rules.widen(blue, &mut tables).await?);
        }
        Ok((tables, binding.findings))
    }

    /// The tables whose changes matter, as the files say.
    fn tables(&self) -> Vec<QualifiedName> {
        let mut tables = self.projected.captured_tables();
        for wanted in self.rules.iter().flat_map(|rules| &rules.wanted) {
            if !tables.contains(&wanted.table) {
                tables.push(wanted.table.clone());
            }
        }
        tables
    }

    /// The tables that this step has captured.
    async fn there(&self, cx: &Cx, blue: &Session) -> anyhow::Result<Vec<CapturedTable>> {
        let mut tables = installed(blue, &cx.run).await?;
        tables.retain(|table| table.step == cx.step.as_str());
        Ok(tables)
    }
}

#[async_trait]
impl Step for StartCapture {
    fn describe(&self) -> Summary {
        let count = self.tables().len();
        if self.source == Source::Slot {
            let altered = "; ACCESS EXCLUSIVE for an instant where the replica identity is set";
            return Summary {
                effect: format!("read the keys of rows that change in {count} tables of blue from a logical replication slot"),
                lock: format!(
                    "SHARE UPDATE EXCLUSIVE for an instant, lock_timeout with retries: readers and writers go on{}",
                    if self.alters { altered } else { "" }
                ),
            };
        }
        Summary {
            effect: format!("record the keys of rows that change in {count} tables of blue, by triggers on statements"),
            lock: "SHARE ROW EXCLUSIVE for an instant, table by table, lock_timeout with retries: readers go on".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn notes(&self) -> Vec<Side> {
        match self.source {
            Source::Trigger => vec![Side::Blue],
            Source::Slot => vec![Side::Blue, Side::Green], // the inbox is there
        }
    }

    fn touches(&self) -> Vec<Touched> {
        let how = match self.source {
            Source::Trigger => vec![Use::Captures],
            Source::Slot => vec![Use::Captures, Use::Streams],
        };
        let tables = self.tables();
        tables.iter().flat_map(|table| how.iter().map(|how| Touched::new(Side::Blue, table, *how))).collect()
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    fn keeps(&self, run: &RunId, switched: bool) -> Option<String> {
        match self.source {
            Source::Slot if switched => None, // the switch took it away
            Source::Slot => {
                Some(format!("replication slot {} stays on blue, which keeps its log for it", capture::slot_name(run)))
            }
            Source::Trigger if switched => Some(format!("triggers stay on {} tables of blue", self.tables().len())),
            Source::Trigger => Some(format!("triggers stay on {} tables of blue and record every change", self.tables().len())),
        }
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let blue = cx.connect(Side::Blue).await?;
        let mut lines = Vec::new();
        for table in self.tables() {
            let state = table_state(&blue, &table).await?;
            let what = match state {
                Some(_) if self.source == Source::Slot => "published: its changes go into a replication slot",
                Some(_) => "four triggers per table: INSERT, UPDATE, DELETE, TRUNCATE, once per statement",
                None => "blue has no such table",
            };
            lines.push(Forecast {
                object: state.map_or_else(|| table.plain(), |state| state.name.plain()),
                what: what.to_owned(),
                rows: None,
                lock: match self.source {
                    Source::Trigger => "SHARE ROW EXCLUSIVE for an instant: writers wait, readers do not".to_owned(),
                    Source::Slot => "SHARE UPDATE EXCLUSIVE for an instant: readers and writers go on".to_owned(),
                },
            });
        }
        lines.extend(self.lacks(cx).await?.into_iter().map(Forecast::of));
        Ok(lines)
    }

    async fn lacks(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        if self.source == Source::Trigger {
            return Ok(Vec::new());
        }
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        // Green's tables may not be there yet: then which columns are needed is not known.
        let (tables, _) = self.wanted(&blue, &green).await.unwrap_or_default();
        slot_obstacles(&blue, &tables, &cx.run, self.alters).await
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let (tables, mut findings) = self.wanted(&blue, &green).await?;
        findings.extend(obstacles(&blue, &tables, &cx.run, self.source == Source::Slot).await?);
        if self.source == Source::Slot {
            findings.extend(slot_obstacles(&blue, &tables, &cx.run, self.alters).await?);
        }
        findings.extend(slot::alone(cx, &blue, self.source == Source::Slot).await?);
        if let Some(rules) = &self.rules {
            findings.extend(rules.check(Some(&blue), (!self.later).then_some(&green)).await?);
        }
        Ok(findings)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let blue = cx.connect(Side::Blue).await?;
        if !control_present(&blue).await? {
            return Ok(Extent::Absent);
        }
        let there = self.there(cx, &blue).await?;
        if let Some(missing) = slot::missing(cx, &blue, &there).await? {
            return Ok(Extent::Partial(missing));
        }
        let altered = capture::altered(&blue, &there).await?.len();
        Ok(match (there.len(), marked(&blue, &cx.run, &cx.step, CAPTURED).await?) {
            (0, false) => Extent::Absent,
            (_, true) if altered == 0 => Extent::Complete,
            (count, true) => Extent::Partial(format!("{altered} of {count} captured tables changed since")),
            (count, false) => Extent::Partial(format!("{count} tables are captured, not all of them for good")),
        })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        if !self.alters {
            return Ok(Before::default()); // the triggers and functions are known by the rows that are written with them
        }
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let (tables, _) = self.wanted(&blue, &green).await?;
        Before::of(&slot::Identities::to_set(&blue, &tables).await?)
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let (tables, findings) = self.wanted(&blue, &green).await?;
        if !findings.is_empty() {
            return Err(Stop::Findings(findings).into());
        }
        let there = self.there(cx, &blue).await?;
        let keep: Vec<String> = self.rules.iter().map(|rules| keep_rules(&cx.run, rules)).collect();
        if self.source == Source::Slot {
            if self.alters {
                before.read::<slot::Identities>()?.set(cx, &blue).await?;
            }
            return slot::begin(cx, &blue, &tables, &there, self.alarm.0, keep).await;
        }
        let mut read = Vec::new();
        for by_rules in self.rules.iter().flat_map(|rules| &rules.wanted) {
            read.extend(table_state(&blue, &by_rules.table).await?.map(|state| state.name));
        }
        for wanted in &tables {
            let shape = Shape::read(&blue, wanted).await?;
            let mut shape =
                shape.ok_or_else(|| anyhow::anyhow!("table {} on blue went away or lost a column", wanted.table.plain()))?;
            // What a TRUNCATE takes away must be told too, row by row.
            shape.rows_of_truncate = read.contains(&shape.table);
            if let Some(old) = there.iter().find(|old| old.table == shape.table) {
                if old.fits(&shape) && capture::altered(&blue, std::slice::from_ref(old)).await?.is_empty() {
                    continue;
                }
                // Nothing was read since: this step is not done.
                in_turn(cx, Side::Blue, &[capture::remove(&blue, old).await?, vec![old.forget()]].concat()).await?;
                cx.crash_point("released");
            }
            let install = capture::install(&blue, &cx.run, &cx.step, &shape, self.alarm.0).await?;
            in_turn(cx, Side::Blue, &install).await?;
            cx.crash_point("table");
            if cx.interrupt.soft.is_cancelled() {
                return Err(Stop::Interrupted.into());
            }
        }
        in_turn(cx, Side::Blue, &[keep, vec![mark(&cx.run, &cx.step, CAPTURED)]].concat()).await
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let blue = cx.connect(Side::Blue).await?;
        if !control_present(&blue).await? {
            return Ok(());
        }
        let there = self.there(cx, &blue).await?;
        if self.source == Source::Slot {
            slot::end(cx, &blue).await?;
            if self.alters {
                before.read::<slot::Identities>()?.put_back(cx, &blue).await?;
            }
        } else {
            for old in &there {
                in_turn(cx, Side::Blue, &capture::remove(&blue, old).await?).await?;
                cx.crash_point("released");
            }
            capture::forget_changes(&blue, &there).await?;
        }
        cx.crash_point("emptied");
        let forget = there.iter().map(CapturedTable::forget).chain([unmark(&cx.run, &cx.step)]);
        let forget = forget.chain(self.rules.iter().map(|_| forget_rules(&cx.run)));
        in_turn(cx, Side::Blue, &forget.collect::<Vec<_>>()).await
    }
}
