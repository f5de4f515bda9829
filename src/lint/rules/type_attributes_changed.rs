//! ALTER TYPE ... ATTRIBUTE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "type-attributes-changed",
    level: Level::Warning,
    title: "ALTER TYPE ... ATTRIBUTE",
    effect: "Code that reads the composite type meets other fields; changing a field's type is refused while a table uses it.",
    safe: "A new type beside the old one",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &[],
    bad: Example {
        before: "CREATE TYPE pair AS (a int, b int);",
        sql: "ALTER TYPE pair ADD ATTRIBUTE c int;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TYPE pair AS (a int, b int);",
        sql: "CREATE TYPE pair_2 AS (a int, b int, c int);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AlterAttribute { name } = what {
            hits.at(at, format!("readers of {} meet other fields", name.plain()));
        }
    }
}
