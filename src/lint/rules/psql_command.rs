//! psql commands and variables.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "psql-command",
    level: Level::Warning,
    title: "psql commands and variables",
    effect: "Only psql knows them: other tools send them to the server, which refuses them. What they bring in is not looked at.",
    safe: "Plain SQL",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the found text is not SQL"),
    covers: &[],
    bad: Example {
        before: "",
        sql: r"\set ON_ERROR_STOP on
SELECT 1;",
        wrapped: false,
        pg: 14,
    },
    good: Example { before: "", sql: "SELECT 1;", wrapped: false, pg: 14 },
    check,
};

fn check(_: &Scene<'_>, _: &mut Hits) {
    // Reported where the file is read.
}
