//! a statement that the server refuses inside a transaction.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Block;

pub(super) static RULE: Rule = Rule {
    id: "not-in-a-transaction",
    level: Level::Error,
    title: "a statement that the server refuses inside a transaction",
    effect: r#"CONCURRENTLY, VACUUM, CREATE DATABASE, ALTER SYSTEM and some more fail with "cannot run inside a transaction block" (25001), and the deployment stops there."#,
    safe: "Put the statement into a migration of its own and switch the tool's transaction off for it (sqlx: `-- no-transaction`; diesel: run_in_transaction = false; pop: .autocommit.up.sql)",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a server refuses the found form"),
    covers: &["squawk ban-concurrent-index-creation-in-transaction", "pgfence concurrent-in-transaction"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: true,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"-- no-transaction
CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: true,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    if scene.piece.block == Block::Outside && scene.in_transaction() {
        let by = match scene.transaction() {
            Some(running) if running.explicit => "after BEGIN",
            Some(_) => "in the transaction that the tool begins for the file",
            None => "in a body",
        };
        hits.at(&scene.piece.at, format!("{} fails {by}", scene.piece.kind));
    }
}
