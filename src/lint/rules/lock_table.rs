//! LOCK TABLE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::LockMode;

pub(super) static RULE: Rule = Rule {
    id: "lock-table",
    level: Level::Warning,
    title: "LOCK TABLE",
    effect: "Stops reads or writes until the end of the transaction.",
    safe: "A weaker mode, or none: most statements take the lock they need",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence lock-table"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
LOCK TABLE accounts IN SHARE MODE;",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
LOCK TABLE accounts IN SHARE UPDATE EXCLUSIVE MODE;",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::LockTable { table, mode } = what
            && scene.hot(table)
            && mode.stops_traffic()
        {
            let hit = hits.at(at, format!("{mode} on {} stops {} until the transaction ends", table.plain(), mode.blocks()));
            if *mode == LockMode::AccessExclusive {
                hit.level(Level::Error);
            }
        }
    }
}
