//! CREATE POLICY or CREATE RULE on a table in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "create-policy",
    level: Level::Warning,
    title: "CREATE POLICY or CREATE RULE on a table in use",
    effect: "Takes ACCESS EXCLUSIVE; from then on queries see other rows or do other things.",
    safe: "A short transaction with lock_timeout, after the application was tested with it",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["pg-schema-diff AUTHZ_UPDATE"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CREATE POLICY mine ON accounts USING (true);",
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
        if let What::CreatePolicy { table } | What::CreateRule { table } = what
            && scene.hot(table)
        {
            hits.at(at, format!("queries on {} change their meaning", table.plain()));
        }
    }
}
