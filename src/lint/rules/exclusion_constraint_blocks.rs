//! ADD EXCLUDE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "exclusion-constraint-blocks",
    level: Level::Error,
    title: "ADD EXCLUDE",
    effect: "Builds an index under ACCESS EXCLUSIVE; there is no form that does it online.",
    safe: "A new table with the constraint, filled in batches and swapped in; or the check in a trigger",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["eugene E8", "strong_migrations add_exclusion_constraint", "pgfence add-constraint-exclude"],
    bad: Example {
        before: "CREATE TABLE bookings (id bigint PRIMARY KEY, during tstzrange);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE bookings ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE bookings (id bigint PRIMARY KEY, during tstzrange);",
        sql: "CREATE TABLE bookings_2 (id bigint PRIMARY KEY, during tstzrange, EXCLUDE USING gist (during WITH &&));",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddConstraint { table, constraint } = what
            && scene.hot(table)
            && constraint.demands == Demands::Exclude
        {
            hits.at(at, format!("the index of the constraint is built while nobody can use {}", table.plain()));
        }
    }
}
