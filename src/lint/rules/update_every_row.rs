//! UPDATE without WHERE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "update-every-row",
    level: Level::Error,
    title: "UPDATE without WHERE",
    effect: "Writes every row anew in one transaction: all rows stay locked for writers until it ends, the table doubles, replicas lag.",
    safe: "In batches by key, each in a transaction of its own: crossfade's backfill step",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["strong_migrations backfill", "pgfence bulk-update"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "UPDATE accounts SET name = lower(name);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "UPDATE accounts SET name = lower(name) WHERE id BETWEEN 1 AND 1000;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Update { table, filtered: false, .. } = what
            && scene.hot(table)
        {
            hits.at(at, format!("every row of {} is written and locked in one transaction", table.plain()));
        }
    }
}
