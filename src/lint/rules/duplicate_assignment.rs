//! UPDATE that sets a column twice.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "duplicate-assignment",
    level: Level::Error,
    title: "UPDATE that sets a column twice",
    effect: "The server refuses it (42601).",
    safe: "One assignment per column",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a server refuses the found form"),
    covers: &["squawk ban-duplicate-column-assignments"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "UPDATE accounts SET name = 'a', name = 'b' WHERE id = 1;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "UPDATE accounts SET name = 'b' WHERE id = 1;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Update { table, columns, .. } = what {
            for (index, column) in columns.iter().enumerate() {
                if columns[..index].contains(column) {
                    hits.at(at, format!("{column} of {} is set twice", table.plain()));
                }
            }
        }
    }
}
