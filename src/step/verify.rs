//! `verify`: compares what the projections give on blue with what green holds, down to the differing keys.

use async_trait::async_trait;

use super::follow::{as_stop, open};
use super::projected::{Keys, Projected};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::capture::installed;
use crate::follow::{Follower, uncovered};
use crate::journal::{Record, Verified};
use crate::pg::{Session, Snapshot};
use crate::projection::Bound;
use crate::sql::Literal;
use crate::step::Stop;
use crate::terms::{Account, Before, Extent, Finding, Severity, Side};
use crate::verify::{Class, Comparison, accounts, compare};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "verify",
    about: "compare projections on blue with tables on green, down to the key",
    parse,
    keys: keys_of::<Keys>,
};

struct Verify {
    projected: Projected,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let (projected, files) = from_table::<Keys>(table)?.read(around)?;
    Ok((Box::new(Verify { projected }), files))
}

#[async_trait]
impl Step for Verify {
    fn describe(&self) -> Summary {
        let count = self.projected.len();
        let tables = if count == 1 { "table" } else { "tables" };
        Summary {
            effect: format!("compare {count} {tables} of green with their projections on blue, down to the differing keys"),
            lock: "ACCESS SHARE on both sides while it runs: no reader or writer waits".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn notes(&self) -> Vec<Side> {
        vec![Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        self.projected.touches(Use::Carries)
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("a comparison changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let blue = cx.connect(Side::Blue).await?;
        self.projected.forecast(&blue, cx.limits.jobs, "compared").await
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let mut findings = self.projected.bind(&blue, &green, true).await?.findings;
        let encoding = "SELECT current_setting('server_encoding')";
        let [on_blue, on_green]: [String; 2] =
            [blue.query_one(encoding, &[]).await?.get(0), green.query_one(encoding, &[]).await?.get(0)];
        if on_blue != on_green {
            findings.push(Finding {
                severity: Severity::Blocks,
                object: "encoding of the databases".to_owned(),
                what: format!("blue is {on_blue}, green is {on_green}: the same text has other hashes"),
                next: format!("create green with ENCODING '{on_blue}'"),
            });
        }
        Ok(findings)
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        let forget = "DELETE FROM crossfade.divergence WHERE run = $1 AND step = $2";
        green.execute(forget, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
        let (compared, accounts) = compare_now(cx, &self.projected).await?;
        cx.crash_point("compared");
        let mut findings: Vec<Finding> = accounts.iter().flat_map(Account::contradictions).map(contradiction).collect();
        cx.account(accounts);
        let verified = compared.iter().map(|comparison| Verified {
            table: comparison.table.plain(),
            rows: comparison.rows,
            differing: comparison.differences.total(),
        });
        cx.record(Record::Verified { tables: verified.collect() });
        for comparison in &compared {
            if comparison.differences.total() == 0 {
                cx.remark(format!("{}: {} rows equal", comparison.table.plain(), comparison.rows));
                continue;
            }
            comparison.store(&green, &cx.run, &cx.step).await?;
            findings.extend(Class::ALL.into_iter().filter_map(|class| finding(cx, comparison, class)));
        }
        if findings.is_empty() { Ok(()) } else { Err(Stop::Divergence(findings).into()) }
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Compares green with what the projections give, and counts where every row is. Where the run captures changes green is first
/// brought to blue's snapshot, so that the answer is exact under traffic; otherwise both sides are compared as they are.
///
/// # Errors
/// [`Stop::Findings`] when the projections do not fit the databases; otherwise when a session is gone or a row cannot be derived.
pub async fn compare_now(cx: &Cx, projected: &Projected) -> anyhow::Result<(Vec<Comparison>, Vec<Account>)> {
    let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
    let binding = projected.bind(&blue, &green, true).await?;
    if !binding.findings.is_empty() {
        return Err(Stop::Findings(binding.findings).into());
    }
    let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
    let (of_blue, _follower) = match follower(cx, &green, projected, &bound).await? {
        Some(mut follower) => (follower.batch().await.map_err(as_stop)?.at, Some(follower)),
        None => (Snapshot::export(cx.opener(Side::Blue)?).await?, None),
    };
    let of_green = Snapshot::export(cx.opener(Side::Green)?).await?;
    cx.crash_point("snapshots");
    let (told, jobs) = (cx.clone(), cx.limits.jobs);
    let told = move |done, total| told.progress(done, total, "parts");
    let compared = compare(&bound, &of_blue, &of_green, jobs, &cx.run, told).await?;
    let accounts = accounts(&bound, &compared, &of_blue, &of_green, jobs, &cx.run).await?;
    Ok((compared, accounts))
}

/// Green brought to a snapshot of blue, where the run captures changes, by a follower that keeps others away while it lives.
///
/// # Errors
/// [`Stop::Findings`] when the projections do not fit the databases or green cannot follow; otherwise when a session is gone.
pub(super) async fn at_one_snapshot(cx: &Cx, projected: &Projected) -> anyhow::Result<Option<(Snapshot, Follower)>> {
    let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
    let binding = projected.bind(&blue, &green, true).await?;
    if !binding.findings.is_empty() {
        return Err(Stop::Findings(binding.findings).into());
    }
    let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
    match follower(cx, &green, projected, &bound).await? {
        Some(mut follower) => Ok(Some((follower.batch().await.map_err(as_stop)?.at, follower))),
        None => Ok(None),
    }
}

/// The follower that brings green to blue's snapshot first, when the run captures changes. While it lives no other one moves green.
async fn follower(cx: &Cx, green: &Session, projected: &Projected, bound: &[Bound]) -> anyhow::Result<Option<Follower>> {
    if installed(&cx.connect(Side::Blue).await?, &cx.run).await?.is_empty() {
        return Ok(None);
    }
    let begun = "SELECT EXISTS (SELECT FROM crossfade.watermark WHERE run = $1)";
    if !green.query_one(begun, &[&cx.run.as_str()]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let left_out = uncovered(green, &cx.run, bound).await?;
    if !left_out.is_empty() {
        cx.remark(format!(
            "compares as things are: the run copied {} too, so these tables alone cannot be brought to one snapshot",
            left_out.join(", ")
        ));
        return Ok(None);
    }
    Ok(Some(open(cx, &[projected], Side::Green).await?.0))
}

fn contradiction((object, what): (String, String)) -> Finding {
    Finding {
        severity: Severity::Blocks,
        object,
        what: format!("rows are not accounted for: {what}"),
        next: "see the keys that differ, if any; otherwise REINDEX the table and look for writes during the comparison"
            .to_owned(),
    }
}

fn finding(cx: &Cx, comparison: &Comparison, class: Class) -> Option<Finding> {
    let count = comparison.differences.count(class);
    let meaning = match class {
        Class::Missing => "missing: the projection gives them, green does not hold them",
        Class::Extra => "extra: green holds them, the projection does not give them",
        Class::Different => "different: both have them, with other values",
    };
    let rows = comparison.rows;
    (count > 0).then(|| Finding {
        severity: Severity::Blocks,
        object: format!("table {} on green", comparison.table.plain()),
        what: format!(
            "{count} key{} of {rows} {meaning} (key digests {})",
            if count == 1 { "" } else { "s" },
            comparison.digests(class).join(", ")
        ),
        next: format!(
            "on green: SELECT row_key FROM crossfade.divergence WHERE run = {} AND step = {} AND table_name = {} AND kind = {}",
            Literal::new(cx.run.as_str()),
            Literal::new(cx.step.as_str()),
            Literal::new(comparison.table.plain()),
            Literal::new(class.as_str())
        ),
    })
}
