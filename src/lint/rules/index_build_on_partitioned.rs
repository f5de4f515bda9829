//! CREATE INDEX on a partitioned table in use.

use super::form::partitioned;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-build-on-partitioned",
    level: Level::Error,
    title: "CREATE INDEX on a partitioned table in use",
    effect: "Builds the index on every partition in one transaction, each under SHARE until the end; CONCURRENTLY is not allowed there.",
    safe: "CREATE INDEX ON ONLY the parent (instant, INVALID), CREATE INDEX CONCURRENTLY on each partition, ALTER INDEX ... ATTACH PARTITION each",
    versions: "11 and later",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence create-index-not-concurrent"],
    bad: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');",
        sql: r"SET lock_timeout = '2s';
CREATE INDEX events_at ON events (at);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');",
        sql: r"SET lock_timeout = '2s';
CREATE INDEX events_at ON ONLY events (at);
RESET lock_timeout;
-- next file
CREATE INDEX CONCURRENTLY events_1_at_idx ON events_1 (at);
-- next file
ALTER INDEX events_at ATTACH PARTITION events_1_at_idx;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateIndex { table, .. } = what
            && scene.hot(table)
            && partitioned(scene, table)
            && !scene.piece.only
        {
            hits.at(at, format!("{} is partitioned: the index is built on all partitions under one lock", table.plain()));
        }
    }
}
