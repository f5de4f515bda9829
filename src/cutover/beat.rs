//! The beats of a switch and which one is next. Pure.
//!
//! Up to [`Beat::Release`] every failure and every crash takes everything back, last beat first; from its begin on nothing is
//! taken back, only finished: [`Beat::Release`] is the point of no return.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One beat, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beat {
    /// Everything that costs users nothing: participants are asked whether they could, what is left to carry is carried.
    Prepare,
    /// New requests are parked where a participant can.
    Hold,
    /// Requests under way end.
    Drain,
    /// The side that served takes no more writes.
    Fence,
    /// What it took last is carried to the other side.
    LastBatch,
    /// Sequences go on where they stood.
    Sequences,
    /// Measurements say Go or NoGo.
    Readiness,
    /// The other side takes no writes before it is released either: some participants cannot hold their traffic.
    Guard,
    /// Every participant switches.
    Commit,
    /// The other side is asked.
    Smoke,
    /// Traffic flows to the other side. The point of no return.
    Release,
    /// What only the switch needed goes.
    Tidy,
}

/// The order.
pub const BEATS: [Beat; 12] = [
    Beat::Prepare,
    Beat::Hold,
    Beat::Drain,
    Beat::Fence,
    Beat::LastBatch,
    Beat::Sequences,
    Beat::Readiness,
    Beat::Guard,
    Beat::Commit,
    Beat::Smoke,
    Beat::Release,
    Beat::Tidy,
];

/// The first beat that is not taken back.
pub const NO_RETURN: Beat = Beat::Release;

impl Beat {
    /// Its name, as in the notes.
    pub fn name(self) -> &'static str {
        match self {
            Beat::Prepare => "prepare",
            Beat::Hold => "hold",
            Beat::Drain => "drain",
            Beat::Fence => "fence",
            Beat::LastBatch => "last-batch",
            Beat::Sequences => "sequences",
            Beat::Readiness => "readiness",
            Beat::Guard => "guard",
            Beat::Commit => "commit",
            Beat::Smoke => "smoke",
            Beat::Release => "release",
            Beat::Tidy => "tidy",
        }
    }

    /// The beat of this name.
    pub fn named(name: &str) -> Option<Self> {
        BEATS.into_iter().find(|beat| beat.name() == name)
    }

    /// Whether something is there to be taken back after it has begun.
    fn has_effect(self) -> bool {
        matches!(self, Beat::Prepare | Beat::Hold | Beat::Fence | Beat::Guard | Beat::Commit)
    }
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a switch stands, as its notes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last beat that has begun.
    pub begun: Option<Beat>,
    /// Whether that one is known to have ended well.
    pub ended: bool,
    /// Whether it is to be taken back: a beat failed, or the process that made it is gone.
    pub back: bool,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Do this beat.
    Do(Beat),
    /// Take this beat back; then [`Next::Forget`] comes when it was the first.
    Undo(Beat),
    /// Everything is taken back: the notes go.
    Forget,
    /// All is done.
    Over,
}

/// What comes next, after `undone` (the beat taken back last, if any).
pub fn next(progress: Progress, undone: Option<Beat>) -> Next {
    let Some(begun) = progress.begun else { return Next::Do(BEATS[0]) };
    if progress.back && begun < NO_RETURN {
        let before = undone.unwrap_or(NO_RETURN);
        let undo = BEATS.into_iter().rev().find(|beat| *beat <= begun && *beat < before && beat.has_effect());
        return undo.map_or(Next::Forget, Next::Undo);
    }
    if !progress.ended {
        return Next::Do(begun);
    }
    BEATS.into_iter().find(|beat| *beat > begun).map_or(Next::Over, Next::Do)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: Beat, ended: bool, back: bool) -> Progress {
        Progress { begun: Some(begun), ended, back }
    }

    #[test]
    fn forward_is_every_beat_in_order() {
        let (mut progress, mut seen) = (Progress::default(), Vec::new());
        while let Next::Do(beat) = next(progress, None) {
            seen.push(beat);
            progress = at(beat, true, false);
        }
        assert_eq!(seen, BEATS);
        assert_eq!(next(progress, None), Next::Over);
    }

    #[test]
    fn a_failure_before_the_point_of_no_return_takes_all_effects_back_last_first() {
        for begun in BEATS.into_iter().filter(|beat| *beat < NO_RETURN) {
            let (mut undone, mut seen) = (None, Vec::new());
            while let Next::Undo(beat) = next(at(begun, false, true), undone) {
                seen.push(beat);
                undone = Some(beat);
            }
            let wanted: Vec<Beat> = BEATS.into_iter().rev().filter(|beat| *beat <= begun && beat.has_effect()).collect();
            assert_eq!(seen, wanted, "{begun}");
            assert_eq!(next(at(begun, false, true), undone), Next::Forget);
        }
    }

    #[test]
    fn from_the_point_of_no_return_on_it_is_only_finished() {
        assert_eq!(next(at(Beat::Release, false, true), None), Next::Do(Beat::Release));
        assert_eq!(next(at(Beat::Release, true, true), None), Next::Do(Beat::Tidy));
        assert_eq!(next(at(Beat::Tidy, false, true), None), Next::Do(Beat::Tidy));
    }

    #[test]
    fn names_go_there_and_back() {
        assert!(BEATS.into_iter().all(|beat| Beat::named(beat.name()) == Some(beat)));
        assert!(BEATS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
