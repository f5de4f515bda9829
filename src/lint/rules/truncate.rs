//! TRUNCATE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "truncate",
    level: Level::Error,
    title: "TRUNCATE",
    effect: "All rows are gone at once, for other transactions' snapshots too, under ACCESS EXCLUSIVE.",
    safe: "DELETE in batches; or a new table beside the old one",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Same,
    covers: &["squawk ban-truncate-cascade", "pgfence truncate", "pg-schema-diff DELETES_DATA"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
TRUNCATE accounts;",
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
        if let What::Truncate { table } = what
            && scene.hot(table)
        {
            hits.at(at, format!("all rows of {} are gone", table.plain()));
        }
    }
}
