//! a new default for a column in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "set-default",
    level: Level::Off,
    title: "a new default for a column in use",
    effect: "Only rows inserted from now on get it; old rows keep their value, and old code that leaves the column out gets the new one.",
    safe: "Say in the migration what the old rows shall have; fill them in batches if they shall change",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["squawk ban-set-default", "strong_migrations change_column_default"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name SET DEFAULT 'none';",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN nick text DEFAULT 'none';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::SetDefault { table, column, .. } = what
            && scene.hot(table)
            && !scene.state.new_column(table, column)
            && scene.state.column_type(table, column).is_some()
        {
            hits.at(at, format!("old rows of {} keep what they have in {column}", table.plain()));
        }
    }
}
