//! Go or NoGo, from measurements. What could not be measured is a NoGo. Pure.

use std::time::Duration;

use crate::cutover::participant::Standing;
use crate::terms::{Finding, Severity, Side};

/// A measurement, or why there is none.
pub type Measured<T> = Result<T, String>;

/// What was measured.
#[derive(Debug, Clone)]
pub struct Measurements {
    /// The side that is to serve.
    pub to: Side,
    /// Changes of the side that serves that are not on the other one.
    pub changes_left: Measured<u64>,
    /// Age of the oldest of them.
    pub lag: Measured<Duration>,
    /// Keys that a full comparison found to differ; `None` where the plan asks for none.
    pub differing: Measured<Option<u64>>,
    /// Revocations that were not proved effective on the new side; `None` where none are recorded.
    pub revocations_unproved: Measured<Option<u64>>,
    /// Tables of the new side that were never analyzed.
    pub unanalyzed: Measured<Vec<String>>,
    /// Standbys of the new side with their lag.
    pub standbys: Measured<Vec<(String, Duration)>>,
    /// Each participant and where it stands.
    pub participants: Vec<(String, Measured<Standing>)>,
    /// What the fence would wait for in vain.
    pub obstacles: Measured<Vec<Finding>>,
}

/// What is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Changes that may be left. Before the hold they are still coming: then the lag alone counts.
    pub changes_left: Option<u64>,
    /// The oldest change that may be left.
    pub lag: Duration,
    /// How far a standby of the new side may be behind.
    pub standby_lag: Duration,
    /// Whether the participants have switched: else they stand on the side that serves.
    pub switched: bool,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Go, with what was measured, one line each.
    Go(Vec<String>),
    /// What blocks; every one of them.
    NoGo(Vec<Finding>),
}

/// Judges.
pub fn judge(measured: &Measurements, allowed: &Allowed) -> Readiness {
    let (mut lines, mut blockers) = (Vec::new(), Vec::new());
    let mut block = |object: &str, what: String, next: &str| {
        blockers.push(Finding { severity: Severity::Blocks, object: object.to_owned(), what, next: next.to_owned() });
    };
    const UNKNOWN: &str = "find out why; what is not known is a no";
    match (&measured.changes_left, allowed.changes_left) {
        (Err(why), _) => block("changes left to carry", format!("not known: {why}"), UNKNOWN),
        (Ok(left), Some(most)) if *left > most => {
            block(
                "changes left to carry",
                format!("{left}, at most {most} are allowed"),
                "look at what the last batch left, and run again",
            );
        }
        (Ok(left), _) => lines.push(format!("changes left to carry: {left}")),
    }
    match &measured.lag {
        Err(why) => block("lag", format!("not known: {why}"), UNKNOWN),
        Ok(lag) if *lag > allowed.lag => {
            let (lag, most) = (humantime::format_duration(rounded(*lag)), humantime::format_duration(allowed.lag));
            block(
                "lag",
                format!("{lag}, at most {most} is allowed (max_lag)"),
                "let `crossfade follow` catch up, then run again",
            );
        }
        Ok(lag) => lines.push(format!("lag: {}", humantime::format_duration(rounded(*lag)))),
    }
    match &measured.differing {
        Err(why) => block("comparison", format!("not known: {why}"), UNKNOWN),
        Ok(Some(keys)) if *keys > 0 => {
            block(
                "comparison",
                format!("{keys} keys differ between both sides"),
                "`crossfade verify` shows them; mend their cause, then run again",
            );
        }
        Ok(Some(_)) => lines.push("comparison: every row equal".to_owned()),
        Ok(None) => {}
    }
    match &measured.revocations_unproved {
        Err(why) => block("revocations", format!("not known: {why}"), UNKNOWN),
        Ok(Some(count)) if *count > 0 => {
            block("revocations", format!("{count} are not proved effective on {}", measured.to), "replay them, then run again");
        }
        Ok(Some(_)) => lines.push(format!("revocations: all effective on {}", measured.to)),
        Ok(None) => {}
    }
    match &measured.unanalyzed {
        Err(why) => block("statistics", format!("not known: {why}"), UNKNOWN),
        Ok(tables) if !tables.is_empty() => {
            let what = format!("{} of {} were never analyzed: queries would be slow", tables.join(", "), measured.to);
            block("statistics", what, "ANALYZE them, then run again");
        }
        Ok(_) => lines.push(format!("statistics of {}: there", measured.to)),
    }
    match &measured.standbys {
        Err(why) => block("standbys", format!("not known: {why}"), UNKNOWN),
        Ok(standbys) => {
            for (name, lag) in standbys.iter().filter(|(_, lag)| *lag > allowed.standby_lag) {
                let what = format!("is {} behind {}", humantime::format_duration(rounded(*lag)), measured.to);
                block(&format!("standby {name}"), what, "let it catch up, then run again");
            }
            lines.push(format!("standbys of {}: {}", measured.to, standbys.len()));
        }
    }
    let from = if measured.to == Side::Green { Side::Blue } else { Side::Green };
    for (name, standing) in &measured.participants {
        let wanted = if allowed.switched { measured.to } else { from };
        let object = format!("participant {name}");
        match standing {
            Err(why) => block(&object, format!("not known where it stands: {why}"), UNKNOWN),
            Ok(standing) if standing.side.is_some_and(|side| side != wanted) => {
                block(&object, format!("stands on {standing}, not on {wanted}"), "bring it there, or take it out of the plan");
            }
            Ok(standing) if standing.side.is_none() && !standing.held => {
                block(&object, format!("stands on neither side: {standing}"), "bring it to one side");
            }
            Ok(standing) => lines.push(format!("{object}: {standing}")),
        }
    }
    match &measured.obstacles {
        Err(why) => block("fence", format!("not known: {why}"), UNKNOWN),
        Ok(found) => blockers.extend(found.iter().filter(|finding| finding.severity == Severity::Blocks).cloned()),
    }
    if blockers.is_empty() { Readiness::Go(lines) } else { Readiness::NoGo(blockers) }
}

/// To the millisecond, as people read it.
fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measurements {
        Measurements {
            to: Side::Green,
            changes_left: Ok(0),
            lag: Ok(Duration::ZERO),
            differing: Ok(None),
            revocations_unproved: Ok(None),
            unanalyzed: Ok(Vec::new()),
            standbys: Ok(vec![("s".to_owned(), Duration::ZERO)]),
            participants: vec![("app".to_owned(), Ok(Standing::on(Side::Blue)))],
            obstacles: Ok(Vec::new()),
        }
    }

    const ALLOWED: Allowed =
        Allowed { changes_left: Some(0), lag: Duration::from_secs(1), standby_lag: Duration::from_secs(10), switched: false };

    /// The objects of the blockers.
    fn blocked(measured: &Measurements) -> Vec<String> {
        match judge(measured, &ALLOWED) {
            Readiness::Go(_) => Vec::new(),
            Readiness::NoGo(blockers) => blockers.into_iter().map(|blocker| blocker.object).collect(),
        }
    }

    #[test]
    fn everything_measured_and_good_is_a_go() {
        assert_eq!(blocked(&good()), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_known_is_a_no() {
        let why = || "gone".to_owned();
        let unknown = Measurements {
            changes_left: Err(why()),
            lag: Err(why()),
            differing: Err(why()),
            revocations_unproved: Err(why()),
            unanalyzed: Err(why()),
            standbys: Err(why()),
            participants: vec![("app".to_owned(), Err(why()))],
            obstacles: Err(why()),
            ..good()
        };
        assert_eq!(blocked(&unknown).len(), 8);
    }

    #[test]
    fn every_limit_blocks_by_itself() {
        assert_eq!(blocked(&Measurements { changes_left: Ok(1), ..good() }), ["changes left to carry"]);
        assert_eq!(blocked(&Measurements { lag: Ok(Duration::from_secs(2)), ..good() }), ["lag"]);
        assert_eq!(blocked(&Measurements { differing: Ok(Some(3)), ..good() }), ["comparison"]);
        assert_eq!(blocked(&Measurements { revocations_unproved: Ok(Some(1)), ..good() }), ["revocations"]);
        assert_eq!(blocked(&Measurements { unanalyzed: Ok(vec!["t".to_owned()]), ..good() }), ["statistics"]);
        let far = vec![("s".to_owned(), Duration::from_secs(60))];
        assert_eq!(blocked(&Measurements { standbys: Ok(far), ..good() }), ["standby s"]);
        for standing in [Standing::on(Side::Green), Standing { side: None, held: false, says: "?".to_owned() }] {
            let participants = vec![("app".to_owned(), Ok(standing))];
            assert_eq!(blocked(&Measurements { participants, ..good() }), ["participant app"]);
        }
    }
}
