//! a lock that stops traffic, without idle_in_transaction_session_timeout.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "idle-timeout-missing",
    level: Level::Off,
    title: "a lock that stops traffic, without idle_in_transaction_session_timeout",
    effect: "A tool that hangs within its transaction holds the locks for ever.",
    safe: "SET idle_in_transaction_session_timeout = '30s' at the beginning of the file",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence missing-idle-timeout"],
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
SET idle_in_transaction_session_timeout = '30s';
ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if !scene.end && scene.stops_traffic_without("idle_in_transaction_session_timeout") {
        hits.at(&scene.piece.at, "idle_in_transaction_session_timeout is not set before this statement".to_owned());
    }
}
