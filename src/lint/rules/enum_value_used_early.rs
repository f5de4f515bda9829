//! an enum value used in the transaction that adds it.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "enum-value-used-early",
    level: Level::Error,
    title: "an enum value used in the transaction that adds it",
    effect: r#"Fails with "unsafe use of new value" (55P04): a new value may be used after its transaction has ended."#,
    safe: "Add the value in a migration of its own",
    versions: "12 and later; before, ADD VALUE fails in any transaction",
    scales: false,
    irreversible: false,
    end: End::Other("a server refuses the found form"),
    covers: &[],
    bad: Example {
        before: r"CREATE TYPE mood AS ENUM ('glad');
CREATE TABLE moods (mood mood);",
        sql: r"ALTER TYPE mood ADD VALUE 'calm';
INSERT INTO moods (mood) VALUES ('calm');",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TYPE mood AS ENUM ('glad');
CREATE TABLE moods (mood mood);",
        sql: r"ALTER TYPE mood ADD VALUE 'calm';
-- next file
INSERT INTO moods (mood) VALUES ('calm');",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Constants(values) = what
            && let Some(running) = scene.transaction()
        {
            for (name, value) in &running.enum_values {
                if values.contains(value) {
                    hits.at(at, format!("'{value}' was added to {} in the same transaction", name.plain()));
                }
            }
        }
    }
}
