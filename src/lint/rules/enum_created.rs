//! CREATE TYPE ... AS ENUM.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "enum-created",
    level: Level::Off,
    title: "CREATE TYPE ... AS ENUM",
    effect: "Values can be added and renamed, never removed; their order is fixed.",
    safe: "A text column with a CHECK, or a table of values with a foreign key",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["eugene E13", "pgfence create-enum"],
    bad: Example { before: "", sql: "CREATE TYPE mood AS ENUM ('glad');", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE moods (mood text PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateEnum { name } = what {
            hits.at(at, format!("values of {} can never be removed", name.plain()));
        }
    }
}
