//! DROP EXPRESSION of a generated column.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-expression",
    level: Level::Warning,
    title: "DROP EXPRESSION of a generated column",
    effect: "The column keeps its values and is computed no more: it grows stale unless all code fills it.",
    safe: "First a trigger or a release that fills the column, then drop the expression",
    versions: "13 and later",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-generated-expression"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text, lower_name text GENERATED ALWAYS AS (lower(name)) STORED);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN lower_name DROP EXPRESSION;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text, lower_name text GENERATED ALWAYS AS (lower(name)) STORED);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN plain_name text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropExpression { table, column } = what
            && scene.hot(table)
        {
            hits.at(at, format!("nobody computes {}.{column} any more", table.plain()));
        }
    }
}
