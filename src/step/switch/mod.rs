//! `switch`: the cutover. Every participant sends its traffic to green, together or not at all.

mod back;
mod carry;
mod measure;
mod notes;
mod passage;
mod warm;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

pub(super) use self::back::end_capture;
use self::notes::Notes;
use self::passage::Passage;
use super::projected::{Keys, Projected};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Fault, Forecast, Reversal, Step, Stop, Summary, Touched, Use, from_table};
use crate::cutover::beat::NO_RETURN;
use crate::cutover::participant::{Participant, Scene, Written};
use crate::cutover::readiness::Allowed;
use crate::cutover::smoke::Smoke;
use crate::limits::Span;
use crate::sql::QualifiedName;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "switch", about: "send the traffic of every participant to green, or of none", parse, keys: keys_of::<Plan> };

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plan {
    projections: Option<String>,
    #[serde(default)]
    tables: Vec<QualifiedName>,
    back: Option<Keys>,
    #[serde(default)]
    verify: bool,
    hold_for: Option<Span>,
    max_lag: Option<Span>,
    timeout: Option<Span>,
    #[serde(default)]
    participant: Vec<Written>,
    #[serde(default)]
    smoke: Vec<Smoke>,
}

/// The switch.
pub(super) struct Switch {
    projected: Projected,
    /// The projections of the way back: what blue must hold, from green.
    back: Option<Projected>,
    /// Whether every row is compared behind the fence.
    verify: bool,
    /// How long traffic is held at most.
    hold_for: Duration,
    /// How old the oldest change may be that is not on the other side when the hold begins.
    max_lag: Duration,
    /// How long one call to a participant or a smoke check may take.
    timeout: Duration,
    participants: Vec<Box<dyn Participant>>,
    smoke: Vec<Smoke>,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Plan { projections, tables, back, verify, hold_for, max_lag, timeout, participant, smoke } = from_table(table)?;
    let mut faults = Vec::new();
    let (mut projected, mut files) = (None, Vec::new());
    match Keys::new(projections, tables).read(around) {
        Ok((read, contents)) => {
            projected = Some(read);
            files = contents;
        }
        Err(more) => faults.extend(more),
    }
    let back = back.and_then(|keys| match keys.read(around) {
        Ok((read, contents)) => {
            files.extend(contents);
            Some(read)
        }
        Err(more) => {
            faults.extend(more.into_iter().map(|fault| Fault { key: Some("back".to_owned()), ..fault }));
            None
        }
    });
    if participant.is_empty() {
        faults.push(Fault::key("participant", "give at least one [[step.participant]]: nothing would switch"));
    }
    let mut participants: Vec<Box<dyn Participant>> = Vec::new();
    for written in participant {
        match written.read(&around.base) {
            Ok((read, contents)) => {
                if participants.iter().any(|other| other.name() == read.name()) {
                    faults.push(Fault::key("participant", format!("two participants are called {}", read.name())));
                }
                participants.push(read);
                files.extend(contents);
            }
            Err(wrong) => faults.extend(wrong.into_iter().map(|what| Fault::key("participant", what))),
        }
    }
    faults.extend(smoke.iter().filter_map(|smoke| smoke.check().err()).map(|what| Fault::key("smoke", what)));
    let mut span = |key: &str, given: Option<Span>, default: u64| {
        let span = given.map_or(Duration::from_secs(default), |span| span.0);
        if span.is_zero() {
            faults.push(Fault::key(key, format!("`{key}` must be longer than nothing")));
        }
        span
    };
    let (hold_for, max_lag, timeout) = (span("hold_for", hold_for, 5), span("max_lag", max_lag, 1), span("timeout", timeout, 10));
    match projected {
        Some(projected) if faults.is_empty() => {
            Ok((Box::new(Switch { projected, back, verify, hold_for, max_lag, timeout, participants, smoke }), files))
        }
        _ => Err(faults),
    }
}

impl Switch {
    fn scene(&self, cx: &Cx) -> Scene {
        Scene { hook: cx.allow_hooks.then(|| cx.hook()), patience: self.timeout }
    }

    /// The tables of a side that the projections use.
    fn tables_of(&self, side: Side) -> Vec<QualifiedName> {
        let mut tables: Vec<QualifiedName> =
            self.projected.touches(Use::Carries).into_iter().filter(|used| used.side == side).map(|used| used.relation).collect();
        // What the way back reads on green and writes on blue belongs to it too.
        if let Some(back) = &self.back {
            let used = back.touches(Use::Carries).into_iter().filter(|used| used.side.other() == side);
            tables.extend(used.map(|used| used.relation));
        }
        tables.sort();
        tables.dedup();
        tables
    }

    /// Whether writes on the side that is to serve must be kept away until the release: some participant sends it traffic as
    /// soon as it has switched, or it is the side that was fenced by the switch that is taken back.
    fn guards(&self, to: Side) -> bool {
        to == Side::Blue || self.participants.iter().any(|participant| !participant.holds())
    }

    fn allowed(&self) -> Allowed {
        Allowed { changes_left: None, lag: self.max_lag, standby_lag: self.max_lag, switched: false }
    }

    fn needs_hooks(&self, cx: &Cx) -> Vec<Finding> {
        let programs = self.participants.iter().filter(|participant| participant.runs_programs() && !cx.allow_hooks);
        programs
            .map(|participant| Finding {
                severity: Severity::Blocks,
                object: format!("participant {}", participant.name()),
                what: "runs programs of the plan, and hooks are not allowed".to_owned(),
                next: "look at them, then run the same command with `--allow-hooks`".to_owned(),
            })
            .collect()
    }
}

#[async_trait]
impl Step for Switch {
    fn describe(&self) -> Summary {
        let count = self.participants.len();
        Summary {
            effect: format!(
                "switch {count} participant{} from blue to green, holding traffic for at most {}; point of no return: {NO_RETURN}",
                if count == 1 { "" } else { "s" },
                humantime::format_duration(self.hold_for)
            ),
            lock: "SHARE ROW EXCLUSIVE on blue's tables for an instant, then no writes on blue".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        let mut touched = self.projected.touches(Use::Carries);
        let fenced = self.tables_of(Side::Blue);
        touched.extend(fenced.iter().map(|table| Touched::new(Side::Blue, table, Use::Alters)));
        touched
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    fn leads_back(&self) -> Option<&Projected> {
        self.back.as_ref()
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let scene = self.scene(cx);
        let mut lines = Vec::new();
        for (participant, (_, standing)) in self.participants.iter().zip(self.standings(&scene).await) {
            let stands = standing.map_or_else(|why| format!("not known where it stands: {why}"), |on| format!("stands on {on}"));
            let what = format!("would {}; {stands}", participant.describe());
            lines.push(Forecast { object: format!("participant {}", participant.name()), what, rows: None, lock: String::new() });
        }
        for table in self.fence(cx, Side::Blue).await?.tables() {
            let lock = "SHARE ROW EXCLUSIVE for an instant: writers wait".to_owned();
            lines.push(Forecast { object: table.plain(), what: "fenced on blue: no more writes".to_owned(), rows: None, lock });
        }
        if !cx.approved() {
            let what = format!("would stop with exit code 12 until `--approve {}`", cx.step);
            lines.push(Forecast { object: "approval".to_owned(), what, rows: None, lock: String::new() });
        }
        Ok(lines)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let mut findings = self.needs_hooks(cx);
        let blue = cx.connect(Side::Blue).await?;
        let begun = Notes::new(cx, Side::Green).progress(&blue).await?.begun.is_some();
        if findings.is_empty() && !begun {
            let fence = self.fence(cx, Side::Blue).await?;
            findings.extend(fence.obstacles(&blue).await?);
            findings.extend(self.fence(cx, Side::Green).await?.obstacles(&cx.connect(Side::Green).await?).await?);
            for (name, standing) in self.standings(&self.scene(cx)).await {
                let what = match standing {
                    Ok(standing) if standing.flows_to(Side::Blue) => continue,
                    Ok(standing) => format!("stands on {standing}: a switch begins with all traffic on blue"),
                    Err(why) => format!("not known where it stands: {why}"),
                };
                let next = "bring it to blue, or take it out of the plan".to_owned();
                findings.push(Finding { severity: Severity::Blocks, object: format!("participant {name}"), what, next });
            }
        }
        if findings.iter().all(|finding| finding.severity != Severity::Blocks) && !cx.approved() {
            let question = format!("send all traffic to green? ({})", self.describe().effect);
            return Err(Stop::Waiting { question, step: cx.step.clone() }.into());
        }
        Ok(findings)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let blue = cx.connect(Side::Blue).await?;
        let (there, back) = (Notes::new(cx, Side::Green), Notes::new(cx, Side::Blue));
        let (there, back) = (there.progress(&blue).await?, back.progress(&blue).await?);
        if let Some(begun) = back.begun {
            return Ok(Extent::Partial(format!("on the way back to blue, at {begun}")));
        }
        match there.begun {
            None => Ok(Extent::Absent),
            Some(begun) if !there.ended => Ok(Extent::Partial(format!("on the way to green, at {begun}"))),
            Some(_) => {
                for (name, standing) in self.standings(&self.scene(cx)).await {
                    match standing {
                        Ok(standing) if standing.flows_to(Side::Green) => {}
                        Ok(standing) => return Ok(Extent::Partial(format!("participant {name} stands on {standing}"))),
                        Err(why) => return Ok(Extent::Partial(format!("participant {name} cannot be asked: {why}"))),
                    }
                }
                Ok(Extent::Complete)
            }
        }
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        Passage::new(self, cx, Side::Green).go().await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let needed = self.needs_hooks(cx);
        if !needed.is_empty() {
            return Err(Stop::Findings(needed).into());
        }
        let blue = cx.connect(Side::Blue).await?;
        let (there, back) = (Notes::new(cx, Side::Green), Notes::new(cx, Side::Blue));
        match there.progress(&blue).await?.begun {
            None if back.progress(&blue).await?.begun.is_none() => return Ok(()),
            Some(begun) if begun < NO_RETURN => return Passage::new(self, cx, Side::Green).back().await,
            _ => Passage::new(self, cx, Side::Blue).go().await?,
        }
        // In this order: a crash in between finds the way back at its end, not its beginning.
        there.forget(&blue).await?;
        cx.crash_point("forgotten");
        back.forget(&blue).await
    }
}
