//! SET SCHEMA.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "set-schema",
    level: Level::Warning,
    title: "SET SCHEMA",
    effect: "The object leaves the schema in which old code finds it.",
    safe: "Leave it, or create a view of the old name in the old schema in the same transaction",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk ban-set-schema", "strong_migrations rename_schema"],
    bad: Example {
        before: r"CREATE SCHEMA archive;
CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts SET SCHEMA archive;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE SCHEMA archive;
CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE VIEW archive.accounts AS SELECT id, email, name FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::SetSchema { object, name } = what
            && scene.hot(name)
        {
            hits.at(at, format!("code that finds {object} {} where it is now fails", name.plain()));
        }
    }
}
