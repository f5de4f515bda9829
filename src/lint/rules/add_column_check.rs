//! ADD COLUMN with CHECK.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-check",
    level: Level::Error,
    title: "ADD COLUMN with CHECK",
    effect: "Reads the whole table under ACCESS EXCLUSIVE to check the rows that are there.",
    safe: "ADD COLUMN; ADD CONSTRAINT ... CHECK (...) NOT VALID; VALIDATE CONSTRAINT in a later transaction",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk constraint-missing-not-valid", "strong_migrations add_check_constraint"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN age int CHECK (age >= 0);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN age int;
ALTER TABLE accounts ADD CONSTRAINT accounts_age_check CHECK (age >= 0) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: new column, all NULL
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_age_check;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
            && column.constraints.iter().any(|c| matches!(c.demands, Demands::Check(_)))
        {
            hits.at(at, format!("the CHECK on {} is evaluated for every row of {}", column.name, table.plain()));
        }
    }
}
