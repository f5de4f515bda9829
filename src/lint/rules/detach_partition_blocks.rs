//! DETACH PARTITION without CONCURRENTLY.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "detach-partition-blocks",
    level: Level::Error,
    title: "DETACH PARTITION without CONCURRENTLY",
    effect: "Takes ACCESS EXCLUSIVE on the partitioned table and the partition: everybody on any partition waits.",
    safe: "DETACH PARTITION ... CONCURRENTLY (PostgreSQL 14 and later), outside a transaction",
    versions: "CONCURRENTLY: 14 and later",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-concurrent-partition-detach", "pgfence detach-partition"],
    bad: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (100);",
        sql: r"SET lock_timeout = '2s';
-- crossfade-lint: ignore several-exclusive-locks: both are needed
ALTER TABLE events DETACH PARTITION events_1;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (100);",
        sql: r"ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: DETACH leaves it in place of the bound
ALTER TABLE events_1 DROP CONSTRAINT events_1_id_check;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DetachPartition { table, partition, concurrently: false } = what
            && scene.hot(table)
        {
            hits.at(at, format!("everybody on {} waits while {} is taken off", table.plain(), partition.plain())).safe(format!(
                "ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY",
                table.plain(),
                partition.plain()
            ));
        }
    }
}
