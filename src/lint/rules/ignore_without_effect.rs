//! an ignore comment that silences nothing.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "ignore-without-effect",
    level: Level::Note,
    title: "an ignore comment that silences nothing",
    effect: "It hides the next finding of that name, which nobody has looked at.",
    safe: "Remove the comment",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk unused-ignore"],
    bad: Example {
        before: "",
        sql: r"-- crossfade-lint: ignore drop-table: not needed
SELECT 1;",
        wrapped: false,
        pg: 14,
    },
    good: Example { before: "", sql: "SELECT 1;", wrapped: false, pg: 14 },
    check,
};

fn check(_: &Scene<'_>, _: &mut Hits) {
    // Reported after all rules have spoken.
}
