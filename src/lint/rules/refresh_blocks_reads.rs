//! REFRESH MATERIALIZED VIEW without CONCURRENTLY.

use super::form::with_concurrently;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "refresh-blocks-reads",
    level: Level::Error,
    title: "REFRESH MATERIALIZED VIEW without CONCURRENTLY",
    effect: "Takes ACCESS EXCLUSIVE on the view while its query runs: readers wait.",
    safe: "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index on the view",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence refresh-matview"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE MATERIALIZED VIEW totals AS SELECT id FROM accounts;
CREATE UNIQUE INDEX totals_id ON totals (id);",
        sql: r"SET lock_timeout = '2s';
REFRESH MATERIALIZED VIEW totals;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE MATERIALIZED VIEW totals AS SELECT id FROM accounts;
CREATE UNIQUE INDEX totals_id ON totals (id);",
        sql: r"SET lock_timeout = '2s';
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Refresh { view, concurrently: false } = what
            && scene.hot(view)
        {
            hits.at(at, format!("readers of {} wait until its query is done", view.plain())).safe(with_concurrently(scene, at));
        }
    }
}
