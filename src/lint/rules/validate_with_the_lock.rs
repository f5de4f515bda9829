//! VALIDATE CONSTRAINT in the transaction that added the constraint.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "validate-with-the-lock",
    level: Level::Warning,
    title: "VALIDATE CONSTRAINT in the transaction that added the constraint",
    effect: "The strong lock of ADD CONSTRAINT is held until the end of the transaction, so the scan runs under it: NOT VALID has saved nothing.",
    safe: "VALIDATE CONSTRAINT in a transaction of its own, after the one that added the constraint",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "pgfence not-valid-validate-same-tx",
        "strong_migrations validate_foreign_key",
        "strong_migrations validate_check_constraint",
        "squawk constraint-missing-not-valid",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '') NOT VALID;
-- crossfade-lint: ignore rows-may-break, work-under-lock: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email;",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '') NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email;",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::ValidateConstraint { table, name } = what
            && scene.hot(table)
            && let Some(running) = scene.transaction()
            && let Some((_, _, line)) = running.not_valid.iter().find(|(of, known, _)| *of == key(table) && known == name)
        {
            hits.at(
                at,
                format!("{name} was added on line {line} of the same transaction: its lock on {} is still held", table.plain()),
            );
        }
    }
}
