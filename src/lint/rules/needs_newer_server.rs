//! a form that the server does not know yet.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "needs-newer-server",
    level: Level::Error,
    title: "a form that the server does not know yet",
    effect: "The server refuses the statement.",
    safe: "Another form, or a newer server (--pg-version says which one it is)",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (100);",
        sql: "ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY;",
        wrapped: false,
        pg: 13,
    },
    good: Example {
        before: r"CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (100);",
        sql: "ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Needs { what: form, since } = what
            && scene.pg < *since
        {
            hits.at(at, format!("{form} needs PostgreSQL {since}, this is {}", scene.pg));
        }
    }
}
