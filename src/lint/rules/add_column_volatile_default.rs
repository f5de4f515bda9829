//! ADD COLUMN with a default that differs from row to row.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Volatility, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-volatile-default",
    level: Level::Error,
    title: "ADD COLUMN with a default that differs from row to row",
    effect: "Rewrites the table and all its indexes under ACCESS EXCLUSIVE: nobody reads or writes until every row is written.",
    safe: "ADD COLUMN without default; ALTER COLUMN SET DEFAULT (instant, for new rows); fill the old rows in batches",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk adding-field-with-default",
        "strong_migrations add_column_default_callable",
        "pgfence add-column-non-constant-default",
        "eugene E5",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN token uuid DEFAULT gen_random_uuid();",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN token uuid;
ALTER TABLE accounts ALTER COLUMN token SET DEFAULT gen_random_uuid();",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
            && let Some(default) = &column.default
        {
            let function = default.function.as_deref().unwrap_or("the default");
            match default.volatility {
                Volatility::Volatile => {
                    hits.at(at, format!("{function}() gives every row of {} its own value: the table is rewritten", table.plain()))
         .safe(format!("ALTER TABLE {t} ADD COLUMN {c} {ty}; ALTER TABLE {t} ALTER COLUMN {c} SET DEFAULT {d}; then UPDATE the old rows in batches", t = table.plain(), c = column.name, ty = column.ty.text, d = default.text));
                }
                Volatility::Unknown => {
                    hits.at(
                        at,
                        format!("if {function}() is volatile, {} is rewritten: look at pg_proc.provolatile", table.plain()),
                    )
                    .level(Level::Warning);
                }
                Volatility::Stable => {}
            }
        }
    }
}
