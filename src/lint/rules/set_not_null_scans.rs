//! SET NOT NULL without a CHECK that proves it.

use super::form::proven;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "set-not-null-scans",
    level: Level::Error,
    title: "SET NOT NULL without a CHECK that proves it",
    effect: "Reads the whole table under ACCESS EXCLUSIVE.",
    safe: "ADD CONSTRAINT c CHECK (column IS NOT NULL) NOT VALID; VALIDATE CONSTRAINT c in a later transaction; SET NOT NULL (no scan from PostgreSQL 12 on); DROP CONSTRAINT c in another statement: ALTER TABLE drops first",
    versions: "all; the way through CHECK saves the scan from 12 on",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk adding-not-nullable-field",
        "eugene E2",
        "strong_migrations change_column_null",
        "pgfence alter-column-set-not-null",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN email SET NOT NULL;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email_not_null CHECK (email IS NOT NULL) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email_not_null;
-- next file
SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN email SET NOT NULL;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: NOT NULL takes its place
ALTER TABLE accounts DROP CONSTRAINT accounts_email_not_null;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let (table, column) = match what {
            What::SetNotNull { table, column } => (table, column),
            What::AddConstraint { table, constraint } if constraint.demands == Demands::NotNull && !constraint.not_valid => {
                match constraint.columns.first() {
                    Some(column) => (table, column),
                    None => continue,
                }
            }
            _ => continue,
        };
        let known = scene.state.table(table);
        let spared = scene.pg >= 12 && proven(scene.piece, scene.state, table, column)
            || known.and_then(|t| t.columns.get(column)).is_some_and(|c| c.not_null);
        if scene.hot(table) && !spared {
            hits.at(at, format!("every row of {} is looked at for {column} while nobody can use the table", table.plain()))
     .query(count::nulls(table, column))
     .safe(format!("ALTER TABLE {t} ADD CONSTRAINT {n} CHECK ({column} IS NOT NULL) NOT VALID; ALTER TABLE {t} VALIDATE CONSTRAINT {n}; ALTER TABLE {t} ALTER COLUMN {column} SET NOT NULL; ALTER TABLE {t} DROP CONSTRAINT {n}", t = table.plain(), n = format_args!("{}_{column}_not_null", table.name().as_str())));
        }
    }
}
