//! two migrations lock the same tables in opposite order.

use super::form::same_file;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;
use crate::sql::LockMode;

pub(super) static RULE: Rule = Rule {
    id: "lock-order",
    level: Level::Warning,
    title: "two migrations lock the same tables in opposite order",
    effect: "Where both run at once (two deployments, a retry beside a running one), each waits for the other until one is ended as a deadlock.",
    safe: "Lock tables in one order everywhere, or one table per transaction",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY);",
        sql: r"ALTER TABLE accounts SET (fillfactor = 80);
ALTER TABLE orders SET (fillfactor = 80);
-- next file
ALTER TABLE orders SET (fillfactor = 90);
ALTER TABLE accounts SET (fillfactor = 90);",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY);",
        sql: r"ALTER TABLE accounts SET (fillfactor = 80);
ALTER TABLE orders SET (fillfactor = 80);
-- next file
ALTER TABLE accounts SET (fillfactor = 90);
ALTER TABLE orders SET (fillfactor = 90);",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.end {
        return;
    }
    let Some(running) = scene.transaction() else { return };
    for touch in scene.hot_touches().filter(|t| t.lock >= LockMode::ShareUpdateExclusive) {
        let now = key(&touch.relation);
        let strong = running.held.iter().filter(|h| h.mode >= LockMode::ShareUpdateExclusive && h.relation != now);
        for held in strong {
            if running.held.iter().any(|h| h.relation == now && h.mode >= touch.lock) {
                continue;
            }
            if let Some(order) = scene
                .state
                .orders
                .iter()
                .find(|o| o.first == now && o.then == held.relation && !same_file(&o.place, &scene.script.name))
            {
                hits.at(
                    &scene.piece.at,
                    format!("{} is locked before {} here, and after it at {}", held.relation.plain(), now.plain(), order.place),
                );
                return;
            }
        }
    }
}
