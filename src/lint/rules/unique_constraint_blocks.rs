//! ADD UNIQUE without USING INDEX.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "unique-constraint-blocks",
    level: Level::Error,
    title: "ADD UNIQUE without USING INDEX",
    effect: "Builds the index under ACCESS EXCLUSIVE.",
    safe: "CREATE UNIQUE INDEX CONCURRENTLY; ADD CONSTRAINT ... UNIQUE USING INDEX (instant)",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &[
        "squawk disallowed-unique-constraint",
        "eugene E7",
        "strong_migrations add_unique_constraint",
        "pgfence add-constraint-unique-no-using-index",
    ],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email_key UNIQUE (email);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"-- crossfade-lint: ignore rows-may-break: counted, none
CREATE UNIQUE INDEX CONCURRENTLY accounts_email_key ON accounts (email);
SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email_key UNIQUE USING INDEX accounts_email_key;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddConstraint { table, constraint } = what
            && scene.hot(table)
            && constraint.demands == Demands::Unique
            && constraint.using_index.is_none()
        {
            let columns = constraint.columns.join(", ");
            let name = constraint
                .name
                .clone()
                .unwrap_or_else(|| format!("{}_{}_key", table.name().as_str(), constraint.columns.join("_")));
            hits.at(at, format!("the index on {} ({columns}) is built while nobody can use the table", table.plain()))
     .query(count::duplicates(table, &constraint.columns))
     .safe(format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {t} ({columns}); ALTER TABLE {t} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}", t = table.plain()));
        }
    }
}
