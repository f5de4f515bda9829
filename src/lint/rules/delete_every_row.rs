//! DELETE without WHERE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "delete-every-row",
    level: Level::Error,
    title: "DELETE without WHERE",
    effect: "Every row is gone, in one transaction that holds a lock on each until it ends.",
    safe: "In batches by key, each in a transaction of its own; keep a copy",
    versions: "all",
    scales: true,
    irreversible: true,
    end: End::Same,
    covers: &["pgfence bulk-delete"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "DELETE FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "DELETE FROM accounts WHERE id BETWEEN 1 AND 1000;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Delete { table, filtered: false } = what
            && scene.hot(table)
        {
            hits.at(at, format!("every row of {} is gone", table.plain()));
        }
    }
}
