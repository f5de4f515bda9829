//! ADD COLUMN ... GENERATED ALWAYS AS (...) STORED.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-stored",
    level: Level::Error,
    title: "ADD COLUMN ... GENERATED ALWAYS AS (...) STORED",
    effect: "Computes the value of every row now: the table and its indexes are rewritten under ACCESS EXCLUSIVE.",
    safe: "An ordinary column that a trigger fills, old rows filled in batches; or a view; or (PostgreSQL 18) a VIRTUAL column",
    versions: "12 and later",
    scales: true,
    irreversible: false,
    end: End::Other("the value is computed when it is read"),
    covers: &[
        "squawk adding-field-with-default",
        "eugene E11",
        "strong_migrations add_column_generated_stored",
        "pgfence add-column-stored-generated",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN email_lower text GENERATED ALWAYS AS (lower(email)) STORED;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE VIEW accounts_lower AS SELECT id, lower(email) AS email_lower FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
            && column.stored
        {
            hits.at(at, format!("computing {} for every row rewrites {}", column.name, table.plain()));
        }
    }
}
