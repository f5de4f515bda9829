//! `audit`: compares what the rows mean on both sides, by a facts file, and stops the run when something is damaged.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::projected::{Keys, Projected};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::verify::at_one_snapshot;
use super::{Cx, Fault, Forecast, Reversal, Step, Stop, Summary, Touched, Use, from_table};
use crate::audit::{BlueFacts, Declaration, Facts, Report, load, page};
use crate::follow::Follower;
use crate::journal::Record;
use crate::sql::QualifiedName;
use crate::terms::{Before, Extent, Finding, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "audit",
    about: "compare what sessions mean on both sides; stop when some are damaged",
    parse,
    keys: keys_of::<Written>,
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    facts: String,
    projections: Option<String>,
    #[serde(default)]
    tables: Vec<QualifiedName>,
    side: Option<Side>,
    #[serde(default)]
    saved: bool,
    serving: Option<Side>,
    #[serde(default)]
    on_finding: OnFinding,
    html: Option<String>,
    json: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnFinding {
    #[default]
    Stop,
    Warn,
}

/// What is audited, for those who audit outside of a run.
#[derive(Debug, Clone)]
pub struct Audited {
    /// The facts.
    pub declared: Declaration,
    /// The side that is audited: green, or blue in a plan with one database, against what was saved there.
    pub side: Side,
    /// Whether blue's facts are those saved on that side.
    pub saved: bool,
    /// The side users are on.
    pub serving: Side,
    /// What green follows by: where the run captures changes, green is first brought to the snapshot that blue is read at.
    pub follows: Option<Arc<Projected>>,
}

#[derive(Debug)]
struct Audit {
    audited: Audited,
    on_finding: OnFinding,
    html: Option<PathBuf>,
    json: Option<PathBuf>,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { facts, projections, tables, side, saved, serving, on_finding, html, json } = from_table(table)?;
    let path = around.base.join(&facts);
    let (declared, content) = load(&path)
        .map_err(|flaws| flaws.into_iter().map(|flaw| Fault::file(path.clone(), flaw.line, flaw.what)).collect::<Vec<_>>())?;
    let mut contents = vec![content];
    let follows = match projections.is_some() || !tables.is_empty() {
        true if saved => return Err(vec![Fault::key("projections", "what was saved stands still: nothing has to follow")]),
        true => {
            let (projected, files) = Keys::new(projections, tables).read(around)?;
            contents.extend(files);
            Some(Arc::new(projected))
        }
        false => None,
    };
    let side = side.unwrap_or(Side::Green);
    if side == Side::Blue && !saved {
        return Err(vec![Fault::key("side", "blue cannot be compared with itself: `side = \"blue\"` needs `saved = true`")]);
    }
    // In a plan with one database users are on what is audited.
    let users_are_on = if side == Side::Blue { Side::Green } else { Side::Blue };
    let audited = Audited { declared, side, saved, serving: serving.unwrap_or(users_are_on), follows };
    let beside = |name: Option<String>| name.map(|name| around.base.join(name));
    Ok((Box::new(Audit { audited, on_finding, html: beside(html), json: beside(json) }), contents))
}

impl Audited {
    /// Asks both sides, and the plan's guards what their jobs would delete.
    ///
    /// # Errors
    /// [`Stop::Findings`] when a query cannot be asked; the server's errors.
    pub async fn ask(&self, cx: &Cx) -> anyhow::Result<Report> {
        let (blue, _follower) = self.blue(cx).await?;
        let green = cx.opener(self.side)?;
        let told = |rows| cx.progress(rows, 0, "rows");
        let report = match crate::audit::audit(&self.declared, blue, &green, self.serving, told).await? {
            Ok(report) => report,
            Err(findings) => return Err(Stop::Findings(findings).into()),
        };
        let mut jobs = Vec::new();
        for guard in cx.guards.iter() {
            jobs.push(guard.job_now(cx).await);
        }
        Ok(report.with_jobs(jobs))
    }

    /// Where blue's facts come from. While the follower lives no other one moves green.
    async fn blue(&self, cx: &Cx) -> anyhow::Result<(BlueFacts, Option<Follower>)> {
        if self.saved {
            return Ok((BlueFacts::Saved, None));
        }
        let together = match &self.follows {
            Some(projected) => at_one_snapshot(cx, projected).await?,
            None => None,
        };
        Ok(match together {
            Some((at, follower)) => (BlueFacts::At(Box::new(at.ticket().join_beside_locks().await?)), Some(follower)),
            None => (BlueFacts::Live(cx.opener(Side::Blue)?), None),
        })
    }
}

#[async_trait]
impl Step for Audit {
    fn describe(&self) -> Summary {
        let sets: Vec<&str> = self.audited.declared.sets.iter().map(|facts| facts.name.as_str()).collect();
        let then = match self.on_finding {
            OnFinding::Stop => "stop when some are damaged",
            OnFinding::Warn => "say which are damaged",
        };
        Summary {
            effect: format!("compare what {} mean on both sides, and {then}", sets.join(", ")),
            lock: "ACCESS SHARE on both sides while it runs: no reader or writer waits".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        if self.audited.saved { vec![self.audited.side] } else { vec![Side::Blue, Side::Green] }
    }

    fn touches(&self) -> Vec<Touched> {
        let of = |side, query: &str| {
            Facts::relations(query).into_iter().map(move |name| Touched::new(side, &name, Use::Carries)).collect::<Vec<_>>()
        };
        let sets = &self.audited.declared.sets;
        let blue = sets.iter().filter(|_| !self.audited.saved).flat_map(|facts| of(Side::Blue, &facts.blue));
        blue.chain(sets.iter().flat_map(|facts| of(self.audited.side, &facts.green))).collect()
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("a comparison changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    fn audited(&self) -> Option<&Audited> {
        Some(&self.audited)
    }

    async fn forecast(&self, _: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let line = |facts: &Facts| Forecast {
            object: facts.name.clone(),
            what: format!("read on both sides in key order; {} fields, {} rules", facts.fields.len(), facts.causes.len()),
            rows: None,
            lock: "ACCESS SHARE".to_owned(),
        };
        Ok(self.audited.declared.sets.iter().map(line).collect())
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let report = self.audited.ask(cx).await?;
        cx.crash_point("audited");
        for (path, text) in [(&self.html, page(&report)), (&self.json, serde_json::to_string_pretty(&report)?)] {
            if let Some(path) = path {
                std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
                cx.remark(format!("audit: {}", path.display()));
            }
        }
        for set in &report.sets {
            cx.record(Record::Audited {
                set: set.name.clone(),
                matrix: set.matrix.iter().map(|cell| (cell.blue.clone(), cell.green.clone(), cell.rows)).collect(),
                found: set.found.iter().map(|found| (found.title(), found.damage() > 0, found.rows)).collect(),
            });
            let found = set.found.iter().map(|found| format!("{} {}", found.rows, found.title())).collect::<Vec<_>>();
            let found = if found.is_empty() { "every one means the same".to_owned() } else { found.join(", ") };
            cx.remark(format!("{}: {} on blue, {} on green: {found}", set.name, set.blue, set.green));
        }
        for job in &report.jobs {
            for (what, rows) in &job.would_delete {
                let rows = rows.map_or("not known".to_owned(), |rows| rows.to_string());
                cx.remark(format!("job {}: if it ran now it would delete {what}: {rows}", job.name));
            }
        }
        let findings = report.findings("repair them (kind `repair`), or mend their cause and copy again");
        match self.on_finding {
            OnFinding::Stop if !findings.is_empty() => Err(Stop::Divergence(findings).into()),
            _ => {
                for Finding { object, what, .. } in findings {
                    cx.remark(format!("{object}: {what}"));
                }
                Ok(())
            }
        }
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}
