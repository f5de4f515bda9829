//! a statement that fails when it runs again.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Effect;

pub(super) static RULE: Rule = Rule {
    id: "fails-when-repeated",
    level: Level::Off,
    title: "a statement that fails when it runs again",
    effect: "Outside a transaction a file that fails half-way runs again from its beginning, and stops at what is there already.",
    safe: "IF NOT EXISTS, IF EXISTS, OR REPLACE",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk prefer-robust-stmts", "pgfence prefer-robust-ddl"],
    bad: Example { before: "", sql: "CREATE TABLE cities (name text PRIMARY KEY);", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE IF NOT EXISTS cities (name text PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if matches!(what, What::Once) && !scene.in_transaction() && !(matches!(scene.piece.effect, Effect::BuildIndex { .. })) {
            hits.at(at, format!("{} fails when it runs again", scene.piece.kind));
        }
    }
}
