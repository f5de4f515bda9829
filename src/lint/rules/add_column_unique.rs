//! ADD COLUMN with UNIQUE or PRIMARY KEY.

use super::form::keyed;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-unique",
    level: Level::Error,
    title: "ADD COLUMN with UNIQUE or PRIMARY KEY",
    effect: "Builds the index under ACCESS EXCLUSIVE.",
    safe: "ADD COLUMN; CREATE UNIQUE INDEX CONCURRENTLY; ADD CONSTRAINT ... UNIQUE USING INDEX",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk disallowed-unique-constraint", "pgfence add-column-unique", "strong_migrations add_unique_constraint"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN handle text UNIQUE;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN handle text;
-- next file
CREATE UNIQUE INDEX CONCURRENTLY accounts_handle_key ON accounts (handle);
-- next file
SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_handle_key UNIQUE USING INDEX accounts_handle_key;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
            && keyed(column)
        {
            hits.at(at, format!("the index on {} is built while nobody can use {}", column.name, table.plain()));
        }
    }
}
