//! `crossfade window`: when a migration disturbs least.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::databases::DatabaseArgs;
use super::{Format, print_json, text};
use crate::cutover::request::Request;
use crate::report::thousands;
use crate::step::Stop;
use crate::terms::{Exit, Side};
use crate::window::{
    Clients, Declared, Lifetime, Profile, SLOT, Series, Span, Unfit, Week, Window, at, heat, quietest, read_access_log,
    read_blue, read_prometheus, solve,
};

#[derive(Debug, Args)]
pub(super) struct WindowArgs {
    #[command(flatten)]
    databases: DatabaseArgs,
    /// A column of blue that says when a row was written, TABLE.COLUMN; may be given several times
    #[arg(long, value_name = "TABLE.COLUMN")]
    column: Vec<Declared>,
    /// An access log in the common or combined form; may be given several times
    #[arg(long, value_name = "FILE")]
    access_log: Vec<PathBuf>,
    /// The answer to a Prometheus range query of rates per second: a file, or the URL of /api/v1/query_range with its parameters
    #[arg(long, value_name = "FILE|URL")]
    prometheus: Vec<String>,
    /// The environment variable with a bearer token for that URL
    #[arg(long, value_name = "NAME")]
    prometheus_token_env: Option<String>,
    /// How long the migration is predicted to take, from the copy's snapshot to the switch
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// The time zone (IANA name) of the map; the machine's own if it is not given
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// How far back rows are counted
    #[arg(long, value_name = "TIME", default_value = "28d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// How many windows to print
    #[arg(long, default_value_t = 3)]
    count: usize,
    /// Say what a window that begins at this time would cost (2026-03-01T02:00:00Z), instead of looking for quiet ones
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The lifetime of access tokens now: also say which one keeps clients from refreshing inside the window
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    token_lifetime: Option<Duration>,
    /// The longest lifetime that may be set
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "token_lifetime")]
    longest_lifetime: Option<Duration>,
    /// The share of a lifetime that clients refresh before its end, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, requires = "token_lifetime")]
    refresh_early: f64,
    /// Room at both ends of the window in which no client should refresh either
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration, requires = "token_lifetime")]
    margin: Duration,
}

/// How the estimate comes about, as it is printed.
const METHOD: &str = "For each kind the mean number of events at this time of the week, over the weeks that were observed, and the most in \
one of them. Rows of blue count where they are declared, requests that write otherwise. Rows that were deleted or overwritten since are \
not in the tables any more and do not count.";

/// What the sources hold.
struct Observed {
    profiles: Vec<Profile>,
    weeks: f64,
    remarks: Vec<String>,
}

pub(super) async fn window(args: &WindowArgs, format: Format) -> anyhow::Result<Exit> {
    let usage = |what: String| Stop::Usage(what);
    if args.duration.is_zero() || args.duration > Duration::from_secs(604_800) {
        return Err(usage("--duration: longer than nothing and at most a week is expected".to_owned()).into());
    }
    let zone = match &args.time_zone {
        Some(name) => {
            TimeZone::get(name).map_err(|_| usage(format!("`{name}` is no time zone: an IANA name such as Europe/Berlin")))?
        }
        None => TimeZone::system(),
    };
    let Observed { profiles, weeks, remarks } = observed(args, &zone).await?;
    let windows = match args.at {
        Some(begins) => at(&profiles, begins, args.duration, &zone).into_iter().collect(),
        None => quietest(&profiles, args.duration, args.count, Timestamp::now(), &zone),
    };
    let clients =
        args.token_lifetime.map(|lifetime| Clients { lifetime, early: args.refresh_early / 100.0, margin: args.margin });
    let lifetime = match (clients, windows.first()) {
        (Some(clients), Some(first)) => Some(solve(clients, first.begins.parse()?, args.duration, args.longest_lifetime)),
        _ => None,
    };
    let name = zone.iana_name().unwrap_or("the machine's own").to_owned();
    if format == Format::Json {
        let kinds = profiles.iter().map(|profile| {
            json!({"kind": profile.kind, "writes": profile.writes, "requests": profile.requests, "total": profile.total, "per_hour_of_week": profile.hours()})
        });
        let (solved, unsolved) = match &lifetime {
            Some(Ok(lifetime)) => (Some(lifetime), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        print_json(&json!({
            "time_zone": name, "weeks": weeks, "seconds": args.duration.as_secs_f64(), "method": METHOD,
            "kinds": kinds.collect::<Vec<_>>(), "windows": windows, "token_lifetime": solved, "no_token_lifetime": unsolved,
            "remarks": remarks,
        }))?;
    } else {
        let mut out = maps(&profiles, &name, weeks);
        remarks.iter().for_each(|remark| out += &format!("note: {remark}\n"));
        out += &told(&windows, args, &zone);
        out += &lifetime.map_or(String::new(), |lifetime| advice(lifetime, args, &zone));
        text::print(&out)?;
    }
    Ok(if windows.is_empty() { Exit::Findings } else { Exit::Done })
}

/// Reads every source. Each source tells what it was observed over.
async fn observed(args: &WindowArgs, zone: &TimeZone) -> anyhow::Result<Observed> {
    let mut sources: Vec<Vec<Series>> = Vec::new();
    let mut remarks = Vec::new();
    if !args.column.is_empty() {
        let databases = args.databases.given()?;
        let blue = databases.get(&Side::Blue).ok_or_else(|| Stop::Usage("--column needs --blue".to_owned()))?;
        let series = read_blue(&mut blue.connect("crossfade/window").await?, &args.column, args.since).await;
        let mut series = series.map_err(|error| match error.downcast::<Unfit>() {
            Ok(unfit) => Stop::Usage(unfit.to_string()).into(),
            Err(other) => other,
        })?;
        if let Some(at) = args.at {
            // Of a window of the past: what was known before.
            series.iter_mut().for_each(|series| series.slots.retain(|slot, _| *slot < at.as_second().div_euclid(SLOT)));
        }
        for empty in series.iter().filter(|series| series.slots.is_empty()) {
            remarks.push(format!("{} says of no row that it was written in that time", empty.kind));
        }
        sources.push(series);
    }
    let mut requests = Vec::new();
    for path in &args.access_log {
        let cannot = || format!("cannot read {}", path.display());
        let (series, odd) =
            read_access_log(BufReader::new(std::fs::File::open(path).with_context(cannot)?)).with_context(cannot)?;
        if odd > 0 {
            remarks.push(format!("{odd} lines of {} are no requests in the common log form", path.display()));
        }
        requests.extend(series);
    }
    // Logs follow one another: together they are one source.
    sources.extend(Some(together(requests)).filter(|series| !series.is_empty()));
    for source in &args.prometheus {
        let text = if source.starts_with("http://") || source.starts_with("https://") {
            let request = Request::get(source).with_token(args.prometheus_token_env.clone());
            request.check().map_err(Stop::Usage)?;
            request.must(Duration::from_secs(60)).await?.body
        } else {
            std::fs::read_to_string(source).with_context(|| format!("cannot read {source}"))?
        };
        let shown = source.split('?').next().unwrap_or_default();
        sources.push(read_prometheus(&text).map_err(|why| Stop::Usage(format!("{shown} {why}")))?);
    }
    let (mut profiles, mut weeks) = (Vec::new(), f64::INFINITY);
    for source in &sources {
        let Some(span) = Span::of(source) else { continue };
        weeks = weeks.min(span.weeks());
        let week = Week::of(span, zone);
        profiles.extend(source.iter().map(|series| Profile::of(series, &week)));
    }
    if profiles.is_empty() {
        let what = "nothing to look at: name columns (--column with --blue), an access log, or a Prometheus range query that hold events";
        return Err(Stop::Usage(what.to_owned()).into());
    }
    if weeks < 2.0 {
        remarks.push(format!("only {weeks:.1} weeks were observed: what is quiet in one week may not be in the next"));
    }
    Ok(Observed { profiles, weeks, remarks })
}

/// Series of the same kind as one.
fn together(series: Vec<Series>) -> Vec<Series> {
    let mut kinds: BTreeMap<String, Series> = BTreeMap::new();
    for one in series {
        let sum = kinds.entry(one.kind.clone()).or_insert_with(|| Series { slots: BTreeMap::new(), ..one.clone() });
        one.slots.into_iter().for_each(|(slot, events)| *sum.slots.entry(slot).or_insert(0.0) += events);
    }
    kinds.into_values().collect()
}

/// A heat map of requests and one of writes, where there are any.
fn maps(profiles: &[Profile], zone: &str, weeks: f64) -> String {
    let mut out = String::new();
    let rows = profiles.iter().any(|profile| !profile.requests);
    let requests = |profile: &Profile| profile.requests;
    let writes = |profile: &Profile| profile.writes && profile.requests != rows;
    for (what, chosen) in [("Requests", &requests as &dyn Fn(&Profile) -> bool), ("Writes", &writes)] {
        let mut hours: Vec<Option<f64>> = Vec::new();
        for profile in profiles.iter().filter(|profile| chosen(profile)) {
            match hours.is_empty() {
                true => hours = profile.hours(),
                false => hours.iter_mut().zip(profile.hours()).for_each(|(sum, more)| *sum = sum.zip(more).map(|(a, b)| a + b)),
            }
        }
        if !hours.is_empty() {
            out += &format!("{what} per hour of the week, {zone}, over {weeks:.1} weeks\n{}\n", heat(&hours, text::width()));
        }
    }
    out
}

fn local(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => time.to_owned(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "numbers of events")]
fn count(events: f64) -> String {
    thousands(events.round() as i64)
}

fn told(windows: &[Window], args: &WindowArgs, zone: &TimeZone) -> String {
    let length = humantime::format_duration(args.duration);
    if windows.is_empty() {
        return format!(
            "No time of the week was observed for {length} without a gap: give more of the past (--since, more logs).\n"
        );
    }
    let mut out = match args.at {
        Some(_) => format!("A window of {length}:\n"),
        None => format!("The quietest windows of {length}, and what would be lost if nothing followed blue meanwhile:\n"),
    };
    for (number, window) in windows.iter().enumerate() {
        let requests = window.requests.map_or(String::new(), |requests| format!("; {} requests", count(requests)));
        out += &format!(
            "{}. {} to {}: {} writes, {} in the worst week{requests}\n",
            number + 1,
            local(&window.begins, zone),
            local(&window.ends, zone),
            count(window.mean()),
            count(window.worst())
        );
        let mut kinds: Vec<_> = window.writes.iter().collect();
        kinds.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        kinds
            .iter()
            .for_each(|kind| out += &format!("     {}: {}, at most {}\n", kind.kind, count(kind.mean), count(kind.worst)));
    }
    out + &format!("{METHOD}\n")
}

fn advice(lifetime: Result<Lifetime, String>, args: &WindowArgs, zone: &TimeZone) -> String {
    let Lifetime { seconds, raise_at, restore_at, gone_by } = match lifetime {
        Ok(lifetime) => lifetime,
        Err(why) => return format!("No token lifetime keeps clients from refreshing inside the window: {why}\n"),
    };
    format!(
        "Token lifetime: with {} no client refreshes inside the first of them, or within {} of it. Set it by {}, set {} again from {} on; \
         the last token of the longer lifetime has expired by {}. New logins write all the same.\n",
        humantime::format_duration(Duration::from_secs(seconds)),
        humantime::format_duration(args.margin),
        local(&raise_at, zone),
        args.token_lifetime.map_or(String::new(), |lifetime| humantime::format_duration(lifetime).to_string()),
        local(&restore_at, zone),
        local(&gone_by, zone),
    )
}
