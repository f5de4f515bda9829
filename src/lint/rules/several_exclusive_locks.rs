//! ACCESS EXCLUSIVE on several tables in one transaction.

use super::form::table_of;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;
use crate::sql::{LockMode, QualifiedName};

pub(super) static RULE: Rule = Rule {
    id: "several-exclusive-locks",
    level: Level::Warning,
    title: "ACCESS EXCLUSIVE on several tables in one transaction",
    effect: "While the transaction waits for the second table, everybody waits for the first; with two such transactions, a deadlock ends one of them.",
    safe: "One table per transaction",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["eugene E4", "pgfence multiple-access-exclusive"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
ALTER TABLE orders ADD COLUMN city text;",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
-- next file
SET lock_timeout = '2s';
ALTER TABLE orders ADD COLUMN city text;",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.end {
        return;
    }
    let held = scene
        .transaction()
        .into_iter()
        .flat_map(|t| t.held.iter().map(|h| (&h.relation, h.mode)))
        .filter(|(_, m)| *m == LockMode::AccessExclusive)
        .map(|(r, _)| r.clone())
        .collect::<Vec<_>>();
    let taken: Vec<QualifiedName> =
        scene.hot_touches().filter(|t| t.lock == LockMode::AccessExclusive).map(|t| key(&t.relation)).collect();
    let other = |relation: &QualifiedName| {
        held.iter().find(|h| *h != relation && table_of(scene, h) != table_of(scene, relation)).cloned()
    };
    if let Some((now, before)) = taken.iter().filter(|t| !held.contains(t)).find_map(|t| other(t).map(|o| (t, o))) {
        hits.at(&scene.piece.at, format!("{} is locked while {} is still locked", now.plain(), before.plain()));
    } else if held.is_empty() && taken.len() > 1 && table_of(scene, &taken[0]) != table_of(scene, &taken[1]) {
        hits.at(&scene.piece.at, format!("{} and {} are locked together", taken[0].plain(), taken[1].plain()));
    }
}
