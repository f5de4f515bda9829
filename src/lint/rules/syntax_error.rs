//! text that is not SQL as PostgreSQL writes it.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "syntax-error",
    level: Level::Error,
    title: "text that is not SQL as PostgreSQL writes it",
    effect: "The statement is not looked at, and the server will probably refuse it.",
    safe: "Correct it, or split what is not SQL off",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the found text is not SQL"),
    covers: &[],
    bad: Example { before: "", sql: "ALTER TABLE accounts ADD COLUM city text;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "SELECT 1;", wrapped: false, pg: 14 },
    check,
};

fn check(_: &Scene<'_>, _: &mut Hits) {
    // Reported where the file is read.
}
