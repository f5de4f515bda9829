//! a key of type int or smallint, or a serial.

use super::form::keyed;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, Demands, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "narrow-key",
    level: Level::Note,
    title: "a key of type int or smallint, or a serial",
    effect: "2,147,483,647 numbers run out, and widening the column later rewrites the table.",
    safe: "bigint",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk prefer-bigint-over-int", "squawk prefer-bigint-over-smallint", "pgfence prefer-bigint"],
    bad: Example {
        before: "",
        sql: "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
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
            What::AddColumn { column, .. } => vec![column],
            What::CreateTable { new, .. } if !new.temporary => new.columns.iter().collect(),
            _ => Vec::new(),
        };
        for column in columns {
            let narrow = matches!(column.ty.base.as_str(), "int4" | "int2");
            let numbered = column.identity
                || keyed(column)
                || column.constraints.iter().any(|c| matches!(c.demands, Demands::ForeignKey { .. }));
            if matches!(column.ty.base.as_str(), "serial" | "smallserial") || narrow && numbered {
                hits.at(at, format!("{} of type {} runs out of numbers", column.name, column.ty.text)).safe("bigint");
            }
        }
    }
}
