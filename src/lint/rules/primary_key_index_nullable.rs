//! PRIMARY KEY USING INDEX on columns that may be NULL.

use super::form::nullable_keys;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "primary-key-index-nullable",
    level: Level::Warning,
    title: "PRIMARY KEY USING INDEX on columns that may be NULL",
    effect: "The server sets NOT NULL itself, and reads the whole table under ACCESS EXCLUSIVE for it.",
    safe: "SET NOT NULL first, through a validated CHECK",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["eugene E14"],
    bad: Example {
        before: r"CREATE TABLE logs (id bigint, what text);
CREATE UNIQUE INDEX logs_id ON logs (id);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE logs ADD CONSTRAINT logs_pkey PRIMARY KEY USING INDEX logs_id;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE logs (id bigint NOT NULL, what text);
CREATE UNIQUE INDEX logs_id ON logs (id);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE logs ADD CONSTRAINT logs_pkey PRIMARY KEY USING INDEX logs_id;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddConstraint { table, constraint } = what
            && scene.hot(table)
        {
            let nullable = nullable_keys(scene.state, table, constraint);
            if !nullable.is_empty() {
                hits.at(
                    at,
                    format!(
                        "{} of {} may be NULL: every row is looked at while nobody can use the table",
                        nullable.join(", "),
                        table.plain()
                    ),
                )
                .query(count::nulls(table, &nullable[0]));
            }
        }
    }
}
