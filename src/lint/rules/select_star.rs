//! SELECT * from a table whose columns may change.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::changes::Later;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Reads;

pub(super) static RULE: Rule = Rule {
    id: "select-star",
    level: Level::Note,
    title: "SELECT * from a table whose columns may change",
    effect: "Takes whatever columns there are: a view keeps those of today, an INSERT ... SELECT * fails or shifts values when a column is added.",
    safe: "Name the columns",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE VIEW all_accounts AS SELECT * FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE VIEW all_accounts AS SELECT id, email, name FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Stars(found) = what {
            for star in found.iter().filter(|star| matches!(star.how, Reads::SelectStar | Reads::ReturningStar)) {
                hits.at(at, format!("{} takes every column of {}", star.how, star.table.plain()))
                    .later(Later::LevelWhereColumnsChange(star.table.clone(), Level::Warning));
            }
        }
    }
}
