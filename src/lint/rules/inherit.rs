//! INHERIT or NO INHERIT.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "inherit",
    level: Level::Warning,
    title: "INHERIT or NO INHERIT",
    effect: "Takes ACCESS EXCLUSIVE on the table and locks the parent; queries on the parent see other rows from then on.",
    safe: "Declarative partitioning: ATTACH and DETACH PARTITION",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["pgfence inherit", "pgfence no-inherit"],
    bad: Example {
        before: r"CREATE TABLE parent (id bigint);
CREATE TABLE child (id bigint);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE child INHERIT parent;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE parent (id bigint);
CREATE TABLE child (id bigint);",
        sql: r"SET lock_timeout = '2s';
CREATE TABLE child_2 () INHERITS (parent);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Inherit { table, parent, on } = what
            && scene.hot(table)
        {
            hits.at(
                at,
                format!(
                    "queries on {} see the rows of {} {}",
                    parent.plain(),
                    table.plain(),
                    if *on { "too" } else { "no more" }
                ),
            );
        }
    }
}
