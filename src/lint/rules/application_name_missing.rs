//! a lock that stops traffic, without application_name.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "application-name-missing",
    level: Level::Off,
    title: "a lock that stops traffic, without application_name",
    effect: "Nobody sees in pg_stat_activity who holds the lock.",
    safe: "SET application_name = 'migration' at the beginning of the file",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence missing-application-name"],
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
SET application_name = 'migration';
ALTER TABLE accounts ADD COLUMN city text;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if !scene.end && scene.stops_traffic_without("application_name") {
        hits.at(&scene.piece.at, "application_name is not set before this statement".to_owned());
    }
}
