//! ADD PRIMARY KEY without USING INDEX.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "primary-key-blocks",
    level: Level::Error,
    title: "ADD PRIMARY KEY without USING INDEX",
    effect: "Builds the index and checks for NULL under ACCESS EXCLUSIVE.",
    safe: "CREATE UNIQUE INDEX CONCURRENTLY on columns that are NOT NULL already; ADD CONSTRAINT ... PRIMARY KEY USING INDEX (instant)",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["squawk adding-serial-primary-key-field", "pgfence add-constraint-pk", "eugene E7"],
    bad: Example {
        before: "CREATE TABLE logs (id bigint NOT NULL, what text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE logs ADD CONSTRAINT logs_pkey PRIMARY KEY (id);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE logs (id bigint NOT NULL, what text);",
        sql: r"-- crossfade-lint: ignore rows-may-break: counted, none
CREATE UNIQUE INDEX CONCURRENTLY logs_pkey ON logs (id);
SET lock_timeout = '2s';
ALTER TABLE logs ADD CONSTRAINT logs_pkey PRIMARY KEY USING INDEX logs_pkey;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddConstraint { table, constraint } = what
            && scene.hot(table)
            && constraint.demands == Demands::PrimaryKey
            && constraint.using_index.is_none()
        {
            let columns = constraint.columns.join(", ");
            hits.at(at, format!("the index on {} ({columns}) is built while nobody can use the table", table.plain()))
                .query(count::duplicates(table, &constraint.columns));
        }
    }
}
