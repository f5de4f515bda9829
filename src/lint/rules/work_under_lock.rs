//! long work while a lock that stops traffic is held.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::LockMode;

pub(super) static RULE: Rule = Rule {
    id: "work-under-lock",
    level: Level::Warning,
    title: "long work while a lock that stops traffic is held",
    effect: "A lock is held until the transaction ends: while this statement reads or writes rows, everybody waits for the lock that an earlier one took.",
    safe: "End the transaction after the statement that takes the lock; change rows in a migration of their own",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["eugene E4", "strong_migrations backfill", "pgfence statement-after-access-exclusive"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
UPDATE accounts SET city = 'none' WHERE id < 100;",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
-- next file
UPDATE accounts SET city = 'none' WHERE id < 100;",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    let Some(running) = scene.transaction() else { return };
    if !scene.end {
        let works =
            scene.piece.acts.iter().any(|act| {
                matches!(
                    &act.what,
                    What::Update { .. }
                        | What::Delete { .. }
                        | What::Merge { .. }
                        | What::ValidateConstraint { .. }
                        | What::Insert { from_query: true, .. }
                )
            }) || scene.piece.touches.iter().flatten().any(|t| t.scans && t.lock > LockMode::RowShare && scene.hot(&t.relation));
        if works && let Some(held) = running.held.iter().find(|held| held.mode.stops_traffic()) {
            hits.at(
                &scene.piece.at,
                format!(
                    "{} on {} has been held since line {}: {} wait for this statement too",
                    held.mode,
                    held.relation.plain(),
                    held.line,
                    held.mode.blocks()
                ),
            );
        }
    }
}
