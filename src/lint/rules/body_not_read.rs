//! a body that could not be read.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "body-not-read",
    level: Level::Warning,
    title: "a body that could not be read",
    effect: "What it does is not known here.",
    safe: "PL/pgSQL or SQL",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &[],
    bad: Example { before: "", sql: "DO LANGUAGE plperl $$ 1; $$;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "DO $$ BEGIN PERFORM 1; END $$;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Unread { why } = what {
            hits.at(at, why.clone());
        }
    }
}
