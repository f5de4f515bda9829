//! REINDEX without CONCURRENTLY.

use super::form::with_concurrently;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "reindex-blocks",
    level: Level::Error,
    title: "REINDEX without CONCURRENTLY",
    effect: "REINDEX TABLE takes SHARE (writes wait), REINDEX INDEX takes ACCESS EXCLUSIVE on the index (plans that would use it wait), for the whole build.",
    safe: "REINDEX (CONCURRENTLY) ..., outside a transaction",
    versions: "CONCURRENTLY: 12 and later",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-concurrent-reindex", "pgfence reindex-not-concurrent"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
REINDEX TABLE accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "REINDEX TABLE CONCURRENTLY accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Reindex { target, concurrently: false } = what
            && scene.piece.touches.as_ref().is_none_or(|t| t.iter().any(|t| scene.hot(&t.relation)))
        {
            let safe = if scene.pg >= 12 {
                with_concurrently(scene, at)
            } else {
                "CREATE INDEX CONCURRENTLY under a new name, then DROP INDEX CONCURRENTLY the old one".to_owned()
            };
            hits.at(at, format!("REINDEX {target} keeps writers (and for an index, readers) waiting until it is done"))
                .safe(safe);
        }
    }
}
