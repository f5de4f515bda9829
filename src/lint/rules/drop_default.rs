//! DROP DEFAULT of a column in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-default",
    level: Level::Warning,
    title: "DROP DEFAULT of a column in use",
    effect: "Old code that leaves the column out inserts NULL from then on, or fails when the column refuses NULL.",
    safe: "First a release that always gives a value; then drop the default",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-default"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text DEFAULT 'x');",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name DROP DEFAULT;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text DEFAULT 'x');",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name SET DEFAULT '';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropDefault { table, column } = what
            && scene.hot(table)
            && !scene.state.new_column(table, column)
        {
            hits.at(at, format!("inserts that leave {}.{column} out get NULL or fail", table.plain()));
        }
    }
}
