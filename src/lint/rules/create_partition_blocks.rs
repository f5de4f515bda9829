//! CREATE TABLE ... PARTITION OF a table in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "create-partition-blocks",
    level: Level::Warning,
    title: "CREATE TABLE ... PARTITION OF a table in use",
    effect: "Takes ACCESS EXCLUSIVE on the partitioned table; when there is a default partition, all of it is read under that.",
    safe: "CREATE TABLE (LIKE parent INCLUDING ALL) with a CHECK of its bounds, then ATTACH PARTITION (SHARE UPDATE EXCLUSIVE)",
    versions: "10 and later",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);",
        sql: r"SET lock_timeout = '2s';
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (200);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);",
        sql: r"SET lock_timeout = '2s';
CREATE TABLE events_2 (LIKE events INCLUDING ALL, CHECK (id >= 100 AND id < 200));
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (100) TO (200);
ALTER TABLE events_2 DROP CONSTRAINT events_2_id_check;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateTable { new, .. } = what
            && let Some(parent) = &new.partition_of
            && scene.hot(parent)
        {
            hits.at(at, format!("everybody on {} waits", parent.plain()));
        }
    }
}
