//! a lock that stops traffic, without statement_timeout.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "statement-timeout-missing",
    level: Level::Off,
    title: "a lock that stops traffic, without statement_timeout",
    effect: "A statement that turns out slow holds its lock as long as it likes.",
    safe: "SET statement_timeout = '5min' at the beginning of the file",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-statement-timeout", "pgfence missing-statement-timeout", "strong_migrations statement_timeout"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
SET statement_timeout = '5min';
ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if !scene.end && scene.stops_traffic_without("statement_timeout") {
        hits.at(&scene.piece.at, "statement_timeout is not set before this statement".to_owned());
    }
}
