//! ADD VALUE without BEFORE or AFTER.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "enum-value-order",
    level: Level::Off,
    title: "ADD VALUE without BEFORE or AFTER",
    effect: "The value comes last in the order of the type, which ORDER BY and comparisons use.",
    safe: "ALTER TYPE ... ADD VALUE ... AFTER ...",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-enum-value-ordering"],
    bad: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: "ALTER TYPE mood ADD VALUE 'calm';",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: "ALTER TYPE mood ADD VALUE 'calm' AFTER 'glad';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddEnumValue { name, value, placed: false } = what {
            hits.at(at, format!("'{value}' sorts after all other values of {}", name.plain()));
        }
    }
}
