//! a table without its schema.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "schema-not-named",
    level: Level::Off,
    title: "a table without its schema",
    effect: "The search_path of the session decides which table is meant.",
    safe: "schema.table",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk require-table-schema"],
    bad: Example { before: "", sql: "CREATE TABLE cities (name text PRIMARY KEY);", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE TABLE public.cities (name text PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Unqualified(table) = what {
            hits.at(at, format!("the search_path decides where {} is", table.plain()));
        }
    }
}
