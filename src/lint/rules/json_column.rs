//! a column of type json.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Column, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "json-column",
    level: Level::Warning,
    title: "a column of type json",
    effect: "json has no equality: SELECT DISTINCT, GROUP BY and UNION on rows with the column fail at run time (42883).",
    safe: "jsonb",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["eugene E3", "strong_migrations add_column_json", "pgfence add-column-json"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN settings json;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN settings jsonb;",
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
        for column in columns.into_iter().filter(|c| c.ty.base == "json") {
            hits.at(at, format!("{} of type json cannot be compared", column.name)).safe("jsonb");
        }
    }
}
