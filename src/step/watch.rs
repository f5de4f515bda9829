//! `watch`: measures for a while; named in another `watch` step's `baseline`, that one compares with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Stop, Summary, Touched, from_table};
use crate::cutover::participant::page_of_router;
use crate::cutover::prometheus::{Sample, buckets, parse as samples, quantile, sum};
use crate::cutover::request::Request;
use crate::cutover::watch::{Limit, Reading, Row, Verdict, change, judge, shown};
use crate::journal::{Measured, Record};
use crate::limits::Span;
use crate::pg::explain;
use crate::terms::{Before, Extent, Finding, Severity, Side, StepId};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "watch", about: "measure rates, and compare them with those before the switch", parse, keys: keys_of::<Watch> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Watch {
    /// How long it measures.
    #[serde(rename = "for")]
    during: Span,
    /// The step that measured before.
    baseline: Option<String>,
    /// The pages that measures are read from.
    metrics: Option<Request>,
    /// Or the admin socket of a `crossfade route`.
    socket: Option<PathBuf>,
    #[serde(default)]
    measure: Vec<Measure>,
}

/// One measure.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Measure {
    name: String,
    /// A counter: how much it grew. With `per` as a share of that, else per second.
    count: Option<Metric>,
    /// What a share is of.
    per: Option<Metric>,
    /// A histogram, with the quantile that is asked for.
    histogram: Option<Metric>,
    quantile: Option<f64>,
    /// A value as it is at the end.
    gauge: Option<Metric>,
    /// A query that gives one number at the end.
    sql: Option<String>,
    /// Where it is asked.
    side: Option<Side>,
    #[serde(default)]
    degraded: Limit,
    #[serde(default)]
    roll_back: Limit,
}

/// Lines of a metrics page.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Metric {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let mut step: Watch = from_table(table)?;
    step.socket = step.socket.map(|socket| around.base.join(socket));
    let mut faults = Vec::new();
    if step.during.0.is_zero() {
        faults.push(Fault::key("for", "`for` must be longer than nothing"));
    }
    if step.measure.is_empty() {
        faults.push(Fault::key("measure", "give at least one [[step.measure]]: nothing would be watched"));
    }
    if step.metrics.is_some() && step.socket.is_some() {
        faults.push(Fault::key("socket", "give `metrics` or `socket`: there is one page"));
    }
    if let Some(what) = step.metrics.as_ref().and_then(|request| request.check().err()) {
        faults.push(Fault::key("metrics", format!("`metrics`: {what}")));
    }
    if let Some(baseline) = &step.baseline
        && let Err(what) = StepId::new(baseline)
    {
        faults.push(Fault::key("baseline", what));
    }
    for measure in &step.measure {
        let name = &measure.name;
        let mut fault = |what: &str| faults.push(Fault::key("measure", format!("measure {name}: {what}")));
        let of_page = [&measure.count, &measure.histogram, &measure.gauge].into_iter().flatten().count();
        match (of_page, &measure.sql) {
            (1, None) if step.metrics.is_none() && step.socket.is_none() => {
                fault("is read from a page, and the step names none: give `metrics` or `socket`")
            }
            (1, None) | (0, Some(_)) => {}
            _ => fault("give `count`, `histogram`, `gauge` or `sql`, one of them"),
        }
        if measure.sql.is_some() != measure.side.is_some() {
            fault("`sql` and `side` belong together");
        }
        if measure.per.is_some() && measure.count.is_none() {
            fault("`per` belongs to `count`");
        }
        match (measure.quantile, &measure.histogram) {
            (Some(share), Some(_)) if share > 0.0 && share < 1.0 => {}
            (None, None) => {}
            _ => fault("`histogram` and a `quantile` between 0 and 1 belong together"),
        }
        if step.baseline.is_none() && (measure.degraded.needs_before() || measure.roll_back.needs_before()) {
            fault("`times` and `plus` compare with a `baseline`, and the step names none");
        }
    }
    if faults.is_empty() { Ok((Box::new(step), Vec::new())) } else { Err(faults) }
}

impl Watch {
    async fn page(&self) -> anyhow::Result<Vec<Sample>> {
        match (&self.metrics, &self.socket) {
            (None, None) => Ok(Vec::new()),
            (_, Some(socket)) => Ok(samples(&page_of_router(socket).await?)),
            (Some(request), None) => Ok(samples(&request.must(Duration::from_secs(10)).await?.body)),
        }
    }

    async fn measured(&self, cx: &Cx) -> anyhow::Result<Vec<(String, Result<f64, String>)>> {
        let (began, first) = (Instant::now(), self.page().await.map_err(|error| explain(&error)));
        let soft = cx.interrupt.soft.clone();
        let whole = self.during.0.as_secs();
        while began.elapsed() < self.during.0 {
            let rest = self.during.0.saturating_sub(began.elapsed()).min(Duration::from_secs(1));
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = soft.cancelled() => return Err(Stop::Interrupted.into()),
            }
            cx.progress(began.elapsed().as_secs(), whole, "seconds");
        }
        let (seconds, last) = (began.elapsed().as_secs_f64(), self.page().await.map_err(|error| explain(&error)));
        let mut measured = Vec::new();
        for measure in &self.measure {
            let value = match (&measure.sql, measure.side) {
                (Some(sql), Some(side)) => number(cx, side, sql).await.map_err(|error| explain(&error)),
                _ => match (&first, &last) {
                    (Ok(first), Ok(last)) => measure.of_pages(first, last, seconds),
                    (Err(why), _) | (_, Err(why)) => Err(why.clone()),
                },
            };
            measured.push((measure.name.clone(), value));
        }
        Ok(measured)
    }
}

impl Measure {
    /// What two pages say, taken so many seconds apart.
    fn of_pages(&self, first: &[Sample], last: &[Sample], seconds: f64) -> Result<f64, String> {
        let missing = |metric: &Metric| format!("the page has no {} with these labels", metric.name);
        // A counter that nothing has counted yet is not on the page; one that is smaller began anew with its process.
        let grown = |metric: &Metric| {
            let value = |page: &[Sample]| sum(page, &metric.name, &metric.labels);
            match (value(first), value(last)) {
                (Some(then), Some(now)) if now >= then => now - then,
                (_, Some(now)) => now,
                (_, None) => 0.0,
            }
        };
        let known = |metric: &Metric| match last.iter().any(|sample| sample.name.starts_with(&metric.name)) {
            true => Ok(()),
            false => Err(missing(metric)),
        };
        if let Some(count) = &self.count {
            return match &self.per {
                None => known(count).map(|()| grown(count) / seconds),
                Some(per) => {
                    known(per)?;
                    let of = grown(per);
                    if of > 0.0 { Ok(grown(count) / of) } else { Err("nothing was counted".to_owned()) }
                }
            };
        }
        if let (Some(histogram), Some(share)) = (&self.histogram, self.quantile) {
            known(histogram)?;
            let then = buckets(first, &histogram.name, &histogram.labels);
            let grown: Vec<(f64, f64)> = buckets(last, &histogram.name, &histogram.labels)
                .into_iter()
                .map(|(bound, now)| {
                    let before = then.iter().find(|(known, _)| known.total_cmp(&bound).is_eq()).map_or(0.0, |(_, count)| *count);
                    (bound, if now >= before { now - before } else { now })
                })
                .collect();
            return quantile(&grown, share).ok_or_else(|| "nothing was counted".to_owned());
        }
        let gauge = self.gauge.as_ref().ok_or("nothing to measure")?;
        sum(last, &gauge.name, &gauge.labels).ok_or_else(|| missing(gauge))
    }
}

async fn number(cx: &Cx, side: Side, sql: &str) -> anyhow::Result<f64> {
    let mut session = cx.connect(side).await?;
    let transaction = session.build_transaction().read_only(true).start().await?;
    let row =
        transaction.query_one(&format!("SELECT (SELECT ({sql}))::float8"), &[]).await.context("the query cannot be asked")?;
    row.get::<_, Option<f64>>(0).context("the query gives NULL")
}

async fn before(cx: &Cx, step: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let sql = "SELECT measured FROM crossfade.baseline WHERE run = $1 AND step = $2";
    match cx.connect(Side::Blue).await?.query_opt(sql, &[&cx.run.as_str(), &step]).await? {
        Some(row) => Ok(serde_json::from_value(row.get(0))?),
        None => Ok(BTreeMap::new()),
    }
}

/// A line for the record.
fn kept(row: &Row) -> Measured {
    let verdict = match row.verdict {
        Verdict::Healthy => "healthy",
        Verdict::Degraded => "degraded",
        Verdict::RollBack => "roll back",
    };
    Measured { name: row.name.clone(), before: row.before, after: row.after, verdict: verdict.to_owned(), why: row.why.clone() }
}

/// The table before / after / change, one line per measure.
fn table(rows: &[Row]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["measure", "before", "after", "change", "verdict"]);
    for row in rows {
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), shown);
        let verdict = match row.verdict {
            Verdict::Healthy => "healthy".to_owned(),
            Verdict::Degraded => format!("degraded: {}", row.why),
            Verdict::RollBack => format!("roll back: {}", row.why),
        };
        table.add_row([row.name.clone(), value(row.before), value(row.after), change(row.before, row.after), verdict]);
    }
    table.to_string()
}

#[async_trait]
impl Step for Watch {
    fn describe(&self) -> Summary {
        let (count, during) = (self.measure.len(), humantime::format_duration(self.during.0));
        let compared = self.baseline.as_ref().map_or_else(String::new, |step| format!(" and compare with what {step} measured"));
        let measures = if count == 1 { "measure" } else { "measures" };
        Summary { effect: format!("watch {count} {measures} for {during}{compared}"), lock: "none".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        [Side::Blue].into_iter().chain(self.measure.iter().filter_map(|measure| measure.side)).collect()
    }

    fn notes(&self) -> Vec<Side> {
        vec![Side::Blue]
    }

    fn touches(&self) -> Vec<Touched> {
        let asked = self.measure.iter().filter_map(|measure| measure.side.zip(measure.sql.as_ref()));
        asked.flat_map(|(side, sql)| Touched::by_text(side, sql)).collect()
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("watching changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, _: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let what = format!("watched for {}", humantime::format_duration(self.during.0));
        let line =
            |measure: &Measure| Forecast { object: measure.name.clone(), what: what.clone(), rows: None, lock: String::new() };
        Ok(self.measure.iter().map(line).collect())
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let then = match &self.baseline {
            Some(step) => before(cx, step).await?,
            None => BTreeMap::new(),
        };
        let measured = self.measured(cx).await?;
        let known: BTreeMap<&String, f64> =
            measured.iter().filter_map(|(name, value)| value.as_ref().ok().map(|value| (name, *value))).collect();
        cx.connect(Side::Blue)
            .await?
            .execute(
                "INSERT INTO crossfade.baseline (run, step, measured) VALUES ($1, $2, $3) \
                 ON CONFLICT (run, step) DO UPDATE SET measured = excluded.measured, taken_at = clock_timestamp()",
                &[&cx.run.as_str(), &cx.step.as_str(), &serde_json::to_value(&known)?],
            )
            .await?;
        cx.crash_point("measured");
        let readings: Vec<Reading> = measured
            .into_iter()
            .zip(&self.measure)
            .map(|((name, after), measure)| Reading {
                before: then.get(&name).copied(),
                name,
                after,
                degraded: measure.degraded,
                roll_back: measure.roll_back,
            })
            .collect();
        let (verdict, rows) = judge(&readings);
        cx.record(Record::Measured { measures: rows.iter().map(kept).collect() });
        for line in table(&rows).lines() {
            cx.remark(line.trim_end());
        }
        let next = match verdict {
            Verdict::Healthy => return Ok(()),
            Verdict::Degraded => "find out why; then run again to watch once more, or `crossfade rollback`",
            Verdict::RollBack => "`crossfade rollback PLAN --execute` sends the traffic back",
        };
        let bad = rows.into_iter().filter(|row| row.verdict != Verdict::Healthy);
        let finding = |row: Row| Finding {
            severity: Severity::Blocks,
            object: format!("measure {}", row.name),
            what: format!(
                "{}: {} after, {} before; {}",
                if row.verdict == Verdict::RollBack { "roll back" } else { "degraded" },
                row.after.map_or_else(|| "not known".to_owned(), shown),
                row.before.map_or_else(|| "not known".to_owned(), shown),
                row.why
            ),
            next: next.to_owned(),
        };
        Err(Stop::Divergence(bad.map(finding).collect()).into())
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}
