//! a table without a primary key.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "table-without-key",
    level: Level::Note,
    title: "a table without a primary key",
    effect: "Its rows cannot be told apart: logical replication refuses their UPDATE and DELETE, and batches have no key to walk by.",
    safe: "A primary key",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &[],
    bad: Example { before: "", sql: "CREATE TABLE cities (name text);", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE cities (name text PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateTable { table, new } = what
            && !new.temporary
            && !new.derived
            && new.partition_of.is_none()
            && !new.partitioned
            && !new.columns.iter().flat_map(|c| &c.constraints).chain(&new.constraints).any(|c| c.demands == Demands::PrimaryKey)
        {
            hits.at(at, format!("{} has no primary key", table.plain()));
        }
    }
}
