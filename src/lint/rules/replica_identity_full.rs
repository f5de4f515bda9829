//! REPLICA IDENTITY FULL.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "replica-identity-full",
    level: Level::Warning,
    title: "REPLICA IDENTITY FULL",
    effect: "Every UPDATE and DELETE writes the whole old row to the WAL, and subscribers search for it without an index.",
    safe: "A primary key, or REPLICA IDENTITY USING INDEX on a unique index without NULL",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk ban-replica-identity", "pgfence replica-identity-full"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts REPLICA IDENTITY FULL;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts REPLICA IDENTITY DEFAULT;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::ReplicaIdentityFull { table } = what
            && scene.hot(table)
        {
            hits.at(at, format!("changes to {} write the whole old row to the WAL", table.plain()));
        }
    }
}
