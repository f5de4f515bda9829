//! serial instead of identity.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "prefer-identity",
    level: Level::Note,
    title: "serial instead of identity",
    effect: "The sequence has privileges of its own, does not follow DROP and LIKE, and anybody can set its column.",
    safe: "bigint GENERATED ALWAYS AS IDENTITY",
    versions: "10 and later",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk prefer-identity", "pgfence prefer-identity"],
    bad: Example { before: "", sql: "CREATE TABLE orders (id bigserial PRIMARY KEY);", wrapped: false, pg: 14 },
    good: Example {
        before: "",
        sql: "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let columns: Vec<&Column> = match what {
            What::CreateTable { new, .. } => new.columns.iter().collect(),
            _ => Vec::new(),
        };
        for column in columns.into_iter().filter(|c| c.serial()) {
            hits.at(at, format!("{} is a serial", column.name)).safe("bigint GENERATED ALWAYS AS IDENTITY");
        }
    }
}
