//! DROP NOT NULL.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-not-null",
    level: Level::Warning,
    title: "DROP NOT NULL",
    effect: "Code that was written for a column without NULL meets NULL.",
    safe: "First a release that copes with NULL; then drop NOT NULL",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["squawk ban-drop-not-null"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text NOT NULL);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name DROP NOT NULL;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text NOT NULL);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name SET DEFAULT '';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropNotNull { table, column } = what
            && scene.hot(table)
            && !scene.state.new_column(table, column)
        {
            hits.at(at, format!("readers of {}.{column} meet NULL", table.plain()));
        }
    }
}
