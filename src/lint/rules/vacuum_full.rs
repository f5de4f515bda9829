//! VACUUM FULL.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::QualifiedName;

pub(super) static RULE: Rule = Rule {
    id: "vacuum-full",
    level: Level::Error,
    title: "VACUUM FULL",
    effect: "Writes the whole table and its indexes anew under ACCESS EXCLUSIVE, and needs room for both copies.",
    safe: "VACUUM; pg_repack where a table really must shrink",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk prefer-repack", "pgfence vacuum-full"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
VACUUM FULL accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "VACUUM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Vacuum { tables, full: true } = what {
            let names: Vec<String> = tables.iter().map(QualifiedName::plain).collect();
            let of = if names.is_empty() { "every table".to_owned() } else { names.join(", ") };
            hits.at(at, format!("{of} is written anew while nobody can use it"));
        }
    }
}
