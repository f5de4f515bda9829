//! DROP CONSTRAINT.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-constraint",
    level: Level::Warning,
    title: "DROP CONSTRAINT",
    effect: "Rows that broke the constraint may come in from then on; adding it again needs a scan. Dropping a unique or primary key drops its index.",
    safe: "Drop it only when a better one is in place; note why",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-constraint", "pg-schema-diff CORRECTNESS"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text CONSTRAINT accounts_name CHECK (name <> ''));",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts DROP CONSTRAINT accounts_name;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, name text CONSTRAINT accounts_name CHECK (name <> ''));",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts RENAME CONSTRAINT accounts_name TO accounts_name_given;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropConstraint { table, name } = what
            && scene.hot(table)
        {
            hits.at(at, format!("{} is no longer protected by {name}", table.plain()));
        }
    }
}
