//! row level security switched.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "row-security",
    level: Level::Warning,
    title: "row level security switched",
    effect: "ENABLE without a policy hides every row from everybody but the owner; DISABLE shows every row to everybody.",
    safe: "Create the policies first, in the same transaction; test with the application's role",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["pgfence enable-row-level-security", "pg-schema-diff AUTHZ_UPDATE"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE TABLE mine (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::RowSecurity { table, how } = what
            && scene.hot(table)
        {
            hits.at(at, format!("{how} ROW LEVEL SECURITY changes who sees which rows of {}", table.plain()));
        }
    }
}
