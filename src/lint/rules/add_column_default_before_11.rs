//! ADD COLUMN with a default on PostgreSQL 10 or older.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Volatility, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-default-before-11",
    level: Level::Error,
    title: "ADD COLUMN with a default on PostgreSQL 10 or older",
    effect: "Before PostgreSQL 11 any default rewrites the table under ACCESS EXCLUSIVE.",
    safe: "ADD COLUMN without default; SET DEFAULT; fill the old rows in batches",
    versions: "10 and older",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk adding-field-with-default", "pgfence add-column-default-pre-pg11", "strong_migrations add_column_default"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN active boolean DEFAULT true;",
        wrapped: false,
        pg: 10,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN active boolean;
ALTER TABLE accounts ALTER COLUMN active SET DEFAULT true;",
        wrapped: false,
        pg: 10,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.pg < 11
            && scene.hot(table)
            && column.default.as_ref().is_some_and(|d| d.volatility == Volatility::Stable)
        {
            hits.at(at, format!("PostgreSQL {} rewrites {} for a default", scene.pg, table.plain()));
        }
    }
}
