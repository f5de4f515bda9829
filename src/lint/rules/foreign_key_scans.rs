//! ADD FOREIGN KEY without NOT VALID.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "foreign-key-scans",
    level: Level::Error,
    title: "ADD FOREIGN KEY without NOT VALID",
    effect: "Reads the whole table and looks every row up, with SHARE ROW EXCLUSIVE on both tables: nobody writes to either.",
    safe: "ADD CONSTRAINT ... NOT VALID (instant); VALIDATE CONSTRAINT in a later transaction (writes go on)",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk adding-foreign-key-constraint",
        "squawk constraint-missing-not-valid",
        "eugene E1",
        "strong_migrations add_foreign_key",
        "pgfence add-constraint-fk-no-not-valid",
        "pg-schema-diff ACQUIRES_SHARE_ROW_EXCLUSIVE_LOCK",
    ],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, account_id bigint);
CREATE INDEX orders_account_id ON orders (account_id);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE orders ADD CONSTRAINT orders_account FOREIGN KEY (account_id) REFERENCES accounts (id);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, account_id bigint);
CREATE INDEX orders_account_id ON orders (account_id);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE orders ADD CONSTRAINT orders_account FOREIGN KEY (account_id) REFERENCES accounts (id) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE orders VALIDATE CONSTRAINT orders_account;",
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
            && let Demands::ForeignKey { references, referenced } = &constraint.demands
        {
            hits.at(
                at,
                format!("every row of {} is looked up in {} while nobody can write to either", table.plain(), references.plain()),
            )
            .query(count::orphans(table, &constraint.columns, references, referenced, scene.state))
            .safe(format!(
                "{} NOT VALID; ALTER TABLE {} VALIDATE CONSTRAINT ... in a later transaction",
                scene.text(),
                table.plain()
            ));
        }
    }
}
