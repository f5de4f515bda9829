//! DROP TYPE or DROP DOMAIN.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "drop-type",
    level: Level::Warning,
    title: "DROP TYPE or DROP DOMAIN",
    effect: "Code and functions that name the type fail.",
    safe: "First a release that does not use it",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-type", "squawk ban-drop-domain"],
    bad: Example { before: "CREATE TYPE mood AS (a int);", sql: "DROP TYPE mood;", wrapped: false, pg: 14 },
    good: Example { before: "CREATE TYPE mood AS (a int);", sql: "CREATE TYPE mood_2 AS (a int);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && matches!(object.as_str(), "type" | "domain")
            && !scene.state.types.contains(&key(name))
        {
            hits.at(at, format!("what names {} fails", name.plain()));
        }
    }
}
