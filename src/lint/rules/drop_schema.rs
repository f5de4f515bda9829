//! DROP SCHEMA.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-schema",
    level: Level::Error,
    title: "DROP SCHEMA",
    effect: "Everything in the schema goes with it (CASCADE), or the statement fails.",
    safe: "Drop the objects one by one, each looked at",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-schema", "pgfence drop-schema"],
    bad: Example { before: "CREATE SCHEMA archive;", sql: "DROP SCHEMA archive;", wrapped: false, pg: 14 },
    good: Example { before: "CREATE SCHEMA archive;", sql: "CREATE SCHEMA archive_2;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && object == "schema"
        {
            hits.at(at, format!("everything in {} is gone", name.plain()));
        }
    }
}
