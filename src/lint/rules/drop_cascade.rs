//! CASCADE.

use super::form::dropped_new;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-cascade",
    level: Level::Warning,
    title: "CASCADE",
    effect: "Also drops or empties what the statement does not name: views, foreign keys, columns, tables that refer to it.",
    safe: "Without CASCADE: name what shall go, so that the review sees it",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Same,
    covers: &["squawk ban-truncate-cascade", "pgfence drop-cascade", "pg-schema-diff HAS_UNTRACKABLE_DEPENDENCIES"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: r"SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-view: nobody uses it
DROP VIEW active CASCADE;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: r"SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-view: nobody uses it
DROP VIEW active;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Cascade { object } = what
            && !dropped_new(scene)
        {
            hits.at(at, format!("{object} ... CASCADE takes more with it than it names"));
        }
    }
}
