//! an index of more than three columns that is not unique.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-too-wide",
    level: Level::Note,
    title: "an index of more than three columns that is not unique",
    effect: "Wide indexes are large, slow every write and rarely help more than their first columns do.",
    safe: "Index the columns that select best, in the order in which queries give them; INCLUDE what only is returned",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["strong_migrations add_index_columns"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text, city text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_wide ON accounts (id, email, name, city);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text, city text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email_name ON accounts (email, name);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateIndex { table, index } = what
            && !index.unique
            && index.keys.len() > 3
        {
            hits.at(at, format!("{} columns in an index on {}", index.keys.len(), table.plain()));
        }
    }
}
