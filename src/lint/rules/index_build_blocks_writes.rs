//! CREATE INDEX without CONCURRENTLY on a table in use.

use super::form::{partitioned, with_concurrently};
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-build-blocks-writes",
    level: Level::Error,
    title: "CREATE INDEX without CONCURRENTLY on a table in use",
    effect: "Takes SHARE on the table for the whole build: every INSERT, UPDATE and DELETE waits, and what comes after them waits too.",
    safe: "CREATE INDEX CONCURRENTLY, outside a transaction and without lock_timeout; drop an INVALID index that a failed build leaves",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk require-concurrent-index-creation",
        "eugene E6",
        "strong_migrations add_index",
        "pgfence create-index-not-concurrent",
        "pg-schema-diff ACQUIRES_SHARE_LOCK",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CREATE INDEX accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateIndex { table, index } = what
            && !index.concurrently
            && scene.hot(table)
            && !partitioned(scene, table)
        {
            let name = index.name.as_deref().unwrap_or("the index");
            hits.at(at, format!("building {name} keeps everybody from writing to {} until it is done", table.plain()))
                .safe(with_concurrently(scene, at));
        }
    }
}
