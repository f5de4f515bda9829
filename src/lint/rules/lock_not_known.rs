//! a statement whose locks are not known.

use super::form::harmless;
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "lock-not-known",
    level: Level::Note,
    title: "a statement whose locks are not known",
    effect: "It may lock relations that the report does not name.",
    safe: "Try it with crossfade trace, or look it up in PostgreSQL's manual",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "REASSIGN OWNED BY old_owner TO new_owner;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts OWNER TO CURRENT_USER;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.piece.touches.is_none() && !scene.end && !harmless(&scene.piece.kind) && !scene.piece.kind.is_empty() {
        hits.at(&scene.piece.at, format!("the locks of {} are not known", scene.piece.kind));
    }
}
