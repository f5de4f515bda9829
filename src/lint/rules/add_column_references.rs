//! ADD COLUMN with REFERENCES.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "add-column-references",
    level: Level::Warning,
    title: "ADD COLUMN with REFERENCES",
    effect: "Takes ACCESS EXCLUSIVE on the table and SHARE ROW EXCLUSIVE on the referenced one together; with a default, every row is checked under them.",
    safe: "ADD COLUMN; then ADD CONSTRAINT ... FOREIGN KEY ... NOT VALID; then VALIDATE CONSTRAINT, each in a transaction of its own",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk adding-foreign-key-constraint",
        "strong_migrations add_reference",
        "pgfence add-constraint-fk-no-not-valid",
    ],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE cities (id bigint PRIMARY KEY);",
        sql: r"SET lock_timeout = '2s';
-- crossfade-lint: ignore foreign-key-without-index: few rows
ALTER TABLE accounts ADD COLUMN city_id bigint REFERENCES cities (id);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE cities (id bigint PRIMARY KEY);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city_id bigint;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore foreign-key-without-index: few rows
ALTER TABLE accounts ADD CONSTRAINT accounts_city_id_fkey FOREIGN KEY (city_id) REFERENCES cities (id) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: new column, all NULL
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_city_id_fkey;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddColumn { table, column, .. } = what
            && scene.hot(table)
        {
            for constraint in &column.constraints {
                if let Demands::ForeignKey { references, .. } = &constraint.demands {
                    let hit = hits.at(at, format!("{} and {} are locked together", table.plain(), references.plain()));
                    if column.default.is_some() {
                        hit.level(Level::Error);
                    }
                }
            }
        }
    }
}
