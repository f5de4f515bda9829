//! DROP DATABASE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-database",
    level: Level::Error,
    title: "DROP DATABASE",
    effect: "Everything is gone, and the statement cannot run in a transaction.",
    safe: "Not in a migration",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-database", "pgfence drop-database"],
    bad: Example { before: "", sql: "DROP DATABASE old;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE SCHEMA old;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && object == "database"
        {
            hits.at(at, format!("{} is gone", name.plain()));
        }
    }
}
