//! RENAME COLUMN.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "rename-column",
    level: Level::Error,
    title: "RENAME COLUMN",
    effect: "Old code fails on the new name and new code on the old one: there is no moment at which both versions run.",
    safe: "A new column, kept in step by a trigger; fill it in batches; switch the code; drop the old column later",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk renaming-column", "strong_migrations rename_column", "pgfence rename-column"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts RENAME COLUMN name TO full_name;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN full_name text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::RenameColumn { table, from, to } = what
            && scene.hot(table)
            && !scene.state.new_column(table, from)
        {
            hits.at(at, format!("code that uses {}.{from} fails as soon as it is called {to}", table.plain()));
        }
    }
}
