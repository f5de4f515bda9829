//! a lock that stops traffic, without lock_timeout.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;
use crate::sql::QualifiedName;

pub(super) static RULE: Rule = Rule {
    id: "lock-timeout-missing",
    level: Level::Warning,
    title: "a lock that stops traffic, without lock_timeout",
    effect: "The statement waits for every transaction on the table, and everybody else waits behind it: one long report stops the service.",
    safe: "SET lock_timeout = '2s' before it, and try again when it fails",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk require-lock-timeout",
        "eugene E9",
        "strong_migrations lock_timeout",
        "pgfence missing-lock-timeout",
        "pg-schema-diff ACQUIRES_ACCESS_EXCLUSIVE_LOCK",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.end || scene.limited("lock_timeout") {
        return;
    }
    let covered = |relation: &QualifiedName| {
        scene.transaction().is_some_and(|t| t.held.iter().any(|h| h.relation == key(relation) && h.mode.stops_traffic()))
    };
    if let Some(touch) = scene.stopping_touches().find(|t| !covered(&t.relation)) {
        hits.at(
            &scene.piece.at,
            format!("{} on {} is waited for without limit, and others wait behind it", touch.lock, touch.relation.plain()),
        );
    }
}
