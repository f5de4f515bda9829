//! timestamp without time zone.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "timestamp-without-zone",
    level: Level::Note,
    title: "timestamp without time zone",
    effect: "Holds no moment: sessions in other time zones read the same value as another time.",
    safe: "timestamptz",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk prefer-timestamp-tz", "pgfence prefer-timestamptz"],
    bad: Example { before: "", sql: "CREATE TABLE cities (id bigint PRIMARY KEY, founded timestamp);", wrapped: false, pg: 14 },
    good: Example {
        before: "",
        sql: "CREATE TABLE cities (id bigint PRIMARY KEY, founded timestamptz);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let columns: Vec<&Column> = match what {
            What::AddColumn { column, .. } => vec![column],
            What::CreateTable { new, .. } => new.columns.iter().collect(),
            _ => Vec::new(),
        };
        for column in columns.into_iter().filter(|c| matches!(c.ty.base.as_str(), "timestamp" | "timetz")) {
            hits.at(at, format!("{} of type {} is no moment in time", column.name, column.ty.text)).safe("timestamptz");
        }
    }
}
