//! DROP SEQUENCE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-sequence",
    level: Level::Warning,
    title: "DROP SEQUENCE",
    effect: "Inserts that take numbers from it fail; its position is gone.",
    safe: "First a release that does not use it",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-sequence"],
    bad: Example {
        before: "CREATE SEQUENCE numbers;",
        sql: r"SET lock_timeout = '2s';
DROP SEQUENCE numbers;",
        wrapped: false,
        pg: 14,
    },
    good: Example { before: "CREATE SEQUENCE numbers;", sql: "CREATE SEQUENCE numbers_2;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && object == "sequence"
        {
            hits.at(at, format!("nobody gets numbers from {} any more", name.plain()));
        }
    }
}
