//! several ALTER TABLE statements where one will do.

use super::form::joinable;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "alter-table-split",
    level: Level::Note,
    title: "several ALTER TABLE statements where one will do",
    effect: "Each one queues for its lock, and scans or rewrites that one statement would share happen once for each.",
    safe: "One ALTER TABLE with several actions",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["eugene E12"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
ALTER TABLE accounts ADD COLUMN street text;",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text, ADD COLUMN street text;",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    let Some(running) = scene.transaction() else { return };
    if scene.end || !scene.piece.kind.starts_with("ALTER TABLE") {
        return;
    }
    if let Some((table, line)) = &running.last_altered
        && joinable(scene, table)
    {
        hits.at(&scene.piece.at, format!("{} was altered on line {line} already: both can be one statement", table.plain()));
    }
}
