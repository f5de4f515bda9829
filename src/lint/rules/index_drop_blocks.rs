//! DROP INDEX without CONCURRENTLY.

use super::form::with_concurrently;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-drop-blocks",
    level: Level::Error,
    title: "DROP INDEX without CONCURRENTLY",
    effect: "Takes ACCESS EXCLUSIVE on the index and its table: everybody waits for it, and it waits for every running transaction on the table.",
    safe: "DROP INDEX CONCURRENTLY, outside a transaction",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-concurrent-index-deletion", "strong_migrations remove_index", "pgfence drop-index-not-concurrent"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE INDEX accounts_email ON accounts (email);",
        sql: r"SET lock_timeout = '2s';
-- crossfade-lint: ignore index-dropped: nothing reads by it
DROP INDEX accounts_email;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE INDEX accounts_email ON accounts (email);",
        sql: r"-- crossfade-lint: ignore index-dropped: nothing reads by it
DROP INDEX CONCURRENTLY accounts_email;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropIndex { index, concurrently: false } = what
            && scene.hot(index)
        {
            hits.at(at, format!("dropping {} stops reads and writes of its table", index.plain()))
                .safe(with_concurrently(scene, at));
        }
    }
}
