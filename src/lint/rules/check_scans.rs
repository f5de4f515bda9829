//! ADD CHECK without NOT VALID.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "check-scans",
    level: Level::Error,
    title: "ADD CHECK without NOT VALID",
    effect: "Reads the whole table under ACCESS EXCLUSIVE.",
    safe: "ADD CONSTRAINT ... NOT VALID (instant); VALIDATE CONSTRAINT in a later transaction (reads and writes go on)",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk constraint-missing-not-valid",
        "eugene E1",
        "strong_migrations add_check_constraint",
        "pgfence add-constraint-check-no-not-valid",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '');",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '') NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddConstraint { table, constraint } = what
            && scene.hot(table)
            && !constraint.not_valid
            && let Demands::Check(expr) = &constraint.demands
        {
            hits.at(at, format!("every row of {} is checked while nobody can use the table", table.plain()))
                .query(count::failing(table, expr))
                .safe(format!(
                    "{} NOT VALID; ALTER TABLE {} VALIDATE CONSTRAINT ... in a later transaction",
                    scene.text(),
                    table.plain()
                ));
        }
    }
}
