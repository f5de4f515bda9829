//! varchar(n).

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "varchar-limit",
    level: Level::Off,
    title: "varchar(n)",
    effect: "Shortening the limit later reads the table under ACCESS EXCLUSIVE; a CHECK can be changed online.",
    safe: "text with CHECK (length(...) <= n)",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk prefer-text-field", "pgfence prefer-text"],
    bad: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY, name varchar(100));", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY, name text);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let columns: Vec<&Column> = match what {
            What::AddColumn { column, .. } => vec![column],
            What::CreateTable { new, .. } => new.columns.iter().collect(),
            _ => Vec::new(),
        };
        for column in columns.into_iter().filter(|c| c.ty.base == "varchar" && !c.ty.modifiers.is_empty()) {
            hits.at(at, format!("the limit of {} is part of its type", column.name)).safe("text");
        }
    }
}
