//! a concurrent index build without a name.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-without-name",
    level: Level::Note,
    title: "a concurrent index build without a name",
    effect: "The server makes a name up. When the build fails, the INVALID index has to be searched for, and a second try builds a second one.",
    safe: "CREATE INDEX CONCURRENTLY name ON ...",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email_idx ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateIndex { table, index } = what
            && index.concurrently
            && index.name.is_none()
        {
            hits.at(at, format!("the index on {} has no name: a failed build is hard to find", table.plain()));
        }
    }
}
