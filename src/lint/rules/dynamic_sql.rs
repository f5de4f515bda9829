//! SQL that is put together when it runs.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "dynamic-sql",
    level: Level::Note,
    title: "SQL that is put together when it runs",
    effect: "What it does is not known here.",
    safe: "Plain statements; EXECUTE of a constant, or of format() with a constant, is read",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["strong_migrations execute"],
    bad: Example { before: "", sql: "DO $$ DECLARE q text := 'SELECT 1'; BEGIN EXECUTE q; END $$;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if matches!(what, What::Dynamic) {
            hits.at(at, "what this executes is not known".to_owned());
        }
    }
}
