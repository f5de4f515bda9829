//! BEGIN without COMMIT.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "transaction-left-open",
    level: Level::Error,
    title: "BEGIN without COMMIT",
    effect: "The locks are held until the connection ends, and then everything is rolled back.",
    safe: "COMMIT at the end of the file",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what is left open is rolled back"),
    covers: &["squawk ban-uncommitted-transaction"],
    bad: Example {
        before: "",
        sql: r"BEGIN;
CREATE TABLE t (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "",
        sql: r"BEGIN;
CREATE TABLE t (id bigint PRIMARY KEY);
COMMIT;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.end && scene.state.transaction.as_ref().is_some_and(|t| t.explicit) {
        hits.at(&scene.piece.at, "the transaction that this file began is still open at its end".to_owned());
    }
}
