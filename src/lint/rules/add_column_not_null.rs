//! ADD COLUMN ... NOT NULL without a default.

use super::form::keyed;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-not-null",
    level: Level::Error,
    title: "ADD COLUMN ... NOT NULL without a default",
    effect: "Fails as soon as the table has a row (23502), and code of the old version, which does not know the column, cannot insert any more.",
    safe: "ADD COLUMN with a constant DEFAULT; or without NOT NULL, fill the rows, then NOT NULL through a validated CHECK",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the default stays, so that old versions can insert"),
    covers: &[
        "squawk adding-required-field",
        "squawk adding-not-nullable-field",
        "strong_migrations add_column_null",
        "pgfence add-column-not-null-no-default",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text NOT NULL;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text NOT NULL DEFAULT '';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
            && column.not_null
            && column.default.is_none()
            && !column.stored
            && !column.virtual_column
            && !column.identity
            && !column.serial()
            && !keyed(column)
        {
            hits.at(at, format!("rows of {} have no value for {}, and old code gives none", table.plain(), column.name))
                .query(format!("SELECT count(*) FROM {table}"));
        }
    }
}
