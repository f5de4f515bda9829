//! a template directive.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "template-directive",
    level: Level::Warning,
    title: "a template directive",
    effect: "What the tool puts in its place is not known: the statements around it are looked at as if it were a name, or not there.",
    safe: "Render the file, and look at the result",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the found text is not SQL"),
    covers: &[],
    bad: Example { before: "", sql: "CREATE TABLE {{ .Name }} (id bigint PRIMARY KEY);", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(_: &Scene<'_>, _: &mut Hits) {
    // Reported where the file is read.
}
