//! SET EXPRESSION of a generated column.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "set-expression",
    level: Level::Error,
    title: "SET EXPRESSION of a generated column",
    effect: "Computes every row anew: the table is rewritten under ACCESS EXCLUSIVE.",
    safe: "A new column beside the old one, filled in batches",
    versions: "17 and later",
    scales: true,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk ban-alter-generated-expression"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text, lower_name text GENERATED ALWAYS AS (lower(name)) STORED);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN lower_name SET EXPRESSION AS (upper(name));",
        wrapped: false,
        pg: 17,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text, lower_name text GENERATED ALWAYS AS (lower(name)) STORED);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN upper_name text;",
        wrapped: false,
        pg: 17,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::SetExpression { table, column } = what
            && scene.hot(table)
        {
            hits.at(at, format!("{}.{column} is computed anew for every row", table.plain()));
        }
    }
}
