//! DISABLE TRIGGER or ENABLE TRIGGER.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "trigger-switched",
    level: Level::Warning,
    title: "DISABLE TRIGGER or ENABLE TRIGGER",
    effect: "Takes SHARE ROW EXCLUSIVE. While a trigger is off, what it does is not done, for everybody; DISABLE TRIGGER ALL switches foreign keys off as well.",
    safe: "SET LOCAL session_replication_role = replica in the one session that must not run triggers",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk ban-disable-trigger", "pgfence disable-trigger"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts DISABLE TRIGGER USER;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "SET LOCAL session_replication_role = replica;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DisableTrigger { table } | What::EnableTrigger { table } = what
            && scene.hot(table)
        {
            hits.at(at, format!("what triggers do on {} changes for everybody", table.plain()));
        }
    }
}
