//! DROP TABLE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-table",
    level: Level::Error,
    title: "DROP TABLE",
    effect: "The rows are gone, code that still uses the table fails, and the drop waits for (and then stops) everybody on it.",
    safe: "First a release that does not use the table; rename it away and drop it weeks later; keep a dump",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &[
        "squawk ban-drop-table",
        "strong_migrations create_table (force)",
        "pgfence drop-table",
        "pg-schema-diff DELETES_DATA",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
DROP TABLE accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE TABLE accounts_next (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropTable { table, .. } = what
            && scene.hot(table)
        {
            hits.at(at, format!("the rows of {} are gone", table.plain()));
        }
    }
}
