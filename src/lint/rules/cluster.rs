//! CLUSTER.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::QualifiedName;

pub(super) static RULE: Rule = Rule {
    id: "cluster",
    level: Level::Error,
    title: "CLUSTER",
    effect: "Writes the whole table and its indexes anew, in order, under ACCESS EXCLUSIVE.",
    safe: "pg_repack with --order-by",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk prefer-repack", "pgfence cluster"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CLUSTER accounts USING accounts_pkey;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts CLUSTER ON accounts_pkey;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Cluster { table } = what {
            let of = table.as_ref().map_or_else(|| "every clustered table".to_owned(), QualifiedName::plain);
            hits.at(at, format!("{of} is written anew while nobody can use it"));
        }
    }
}
