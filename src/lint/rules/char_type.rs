//! char(n).

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "char-type",
    level: Level::Note,
    title: "char(n)",
    effect: "Values are padded with spaces, which some comparisons see and others do not.",
    safe: "text, with a CHECK on its length where that matters",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk ban-char-field"],
    bad: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY, code char(3));", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY, code text);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let columns: Vec<&Column> = match what {
            What::AddColumn { column, .. } => vec![column],
            What::CreateTable { new, .. } => new.columns.iter().collect(),
            _ => Vec::new(),
        };
        for column in columns.into_iter().filter(|c| c.ty.base == "bpchar") {
            hits.at(at, format!("{} of type {} is padded with spaces", column.name, column.ty.text)).safe("text");
        }
    }
}
