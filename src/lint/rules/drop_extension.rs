//! DROP EXTENSION.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-extension",
    level: Level::Warning,
    title: "DROP EXTENSION",
    effect: "Types, functions and operators of the extension go, and with CASCADE the columns and indexes that use them.",
    safe: "First make sure that nothing uses it (pg_depend)",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-extension"],
    bad: Example { before: "", sql: "DROP EXTENSION hstore;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE EXTENSION hstore_2;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && object == "extension"
        {
            hits.at(at, format!("everything that uses {} fails or goes with it", name.plain()));
        }
    }
}
