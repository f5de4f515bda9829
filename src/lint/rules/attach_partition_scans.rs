//! ATTACH PARTITION without a CHECK that proves its bounds.

use super::form::bounded;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "attach-partition-scans",
    level: Level::Warning,
    title: "ATTACH PARTITION without a CHECK that proves its bounds",
    effect: "Reads the whole partition under ACCESS EXCLUSIVE on it; when there is a default partition, that one too.",
    safe: "ADD CONSTRAINT ... CHECK (bounds) NOT VALID on the table, VALIDATE CONSTRAINT, then ATTACH (no scan), then drop the CHECK",
    versions: "12 and later; before, also ACCESS EXCLUSIVE on the parent",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence attach-partition"],
    bad: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 (id bigint NOT NULL);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (100);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 (id bigint NOT NULL);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE events_1 ADD CONSTRAINT events_1_bound CHECK (id >= 1 AND id < 100) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE events_1 VALIDATE CONSTRAINT events_1_bound;
-- next file
SET lock_timeout = '2s';
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (100);
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: the bound takes its place
ALTER TABLE events_1 DROP CONSTRAINT events_1_bound;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AttachPartition { table, partition, .. } = what
            && scene.hot(partition)
            && !bounded(scene.state, partition)
        {
            hits.at(at, format!("every row of {} is looked at to see that it belongs into {}", partition.plain(), table.plain()));
        }
    }
}
