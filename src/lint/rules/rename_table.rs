//! RENAME of a table.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "rename-table",
    level: Level::Error,
    title: "RENAME of a table",
    effect: "Old code fails on the new name and new code on the old one.",
    safe: "Rename, and in the same transaction create a view of the old name that old code can read and write; drop the view later",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk renaming-table", "strong_migrations rename_table", "pgfence rename-table"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts RENAME TO customers;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE VIEW customers AS SELECT id, email, name FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Rename { object, name, to } = what
            && object == "table"
            && scene.hot(name)
        {
            hits.at(at, format!("code that uses {} fails as soon as it is called {to}", name.plain())).safe(format!(
                "BEGIN; ALTER TABLE {n} RENAME TO {to}; CREATE VIEW {n} AS SELECT ... FROM {to}; COMMIT",
                n = name.plain()
            ));
        }
    }
}
