//! CONCURRENTLY under lock_timeout.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Block;

pub(super) static RULE: Rule = Rule {
    id: "concurrently-with-lock-timeout",
    level: Level::Warning,
    title: "CONCURRENTLY under lock_timeout",
    effect: "A concurrent build waits for old transactions between its phases. lock_timeout ends that wait with an error, and an INVALID index stays: it costs every write and serves no read.",
    safe: "SET lock_timeout = 0 before a concurrent build or drop; watch what it waits for instead",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = 0;
CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if scene.piece.block == Block::Outside
            && scene.gentle()
            && scene.limited("lock_timeout")
            && scene.piece.kind.contains("CONCURRENTLY")
        {
            hits.at(&scene.piece.at, format!("lock_timeout can end {} half-way and leave an INVALID index", scene.piece.kind));
            return;
        }
        if let What::Reindex { concurrently: true, .. } = what
            && scene.limited("lock_timeout")
        {
            hits.at(at, "lock_timeout can end REINDEX CONCURRENTLY half-way and leave an INVALID index".to_owned());
        }
    }
}
