//! SET LOGGED, SET UNLOGGED, SET TABLESPACE or SET ACCESS METHOD.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "table-rewrite",
    level: Level::Error,
    title: "SET LOGGED, SET UNLOGGED, SET TABLESPACE or SET ACCESS METHOD",
    effect: "Writes the whole table anew under ACCESS EXCLUSIVE. An UNLOGGED table is empty after a crash, and not there on standbys.",
    safe: "A new table of the wanted kind, filled in batches and swapped in",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["eugene E10", "pgfence set-logged-unlogged", "pg-schema-diff ACQUIRES_ACCESS_EXCLUSIVE_LOCK"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts SET UNLOGGED;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE UNLOGGED TABLE scratch (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Rewrite { table, how } = what
            && scene.hot(table)
        {
            hits.at(at, format!("{how} writes all of {} anew while nobody can use it", table.plain()));
        }
    }
}
