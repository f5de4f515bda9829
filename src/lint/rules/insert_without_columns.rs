//! INSERT or COPY without a column list.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::changes::Later;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Reads;

pub(super) static RULE: Rule = Rule {
    id: "insert-without-columns",
    level: Level::Note,
    title: "INSERT or COPY without a column list",
    effect: "Fails or puts values into the wrong columns when a column is added, dropped or in another order (as after a restore).",
    safe: "INSERT INTO table (columns) ...",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "INSERT INTO accounts VALUES (1, 'a', 'b');",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "INSERT INTO accounts (id, email, name) VALUES (1, 'a', 'b');",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Stars(found) = what {
            for star in found.iter().filter(|star| matches!(star.how, Reads::InsertWithoutColumns | Reads::CopyWithoutColumns)) {
                hits.at(at, format!("{} on {} depends on the order of its columns", star.how, star.table.plain()))
                    .later(Later::LevelWhereColumnsChange(star.table.clone(), Level::Warning));
            }
        }
    }
}
