//! a domain with a constraint is created.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "domain-with-constraint",
    level: Level::Note,
    title: "a domain with a constraint is created",
    effect: "Changing the constraint later reads every table that uses the domain, at once.",
    safe: "A domain without constraint (or plain text), and CHECK constraints on the tables",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk ban-create-domain-with-constraint"],
    bad: Example { before: "", sql: "CREATE DOMAIN email AS text CHECK (VALUE ~ '@');", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE DOMAIN email AS text;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateDomain { name, constrained: true } = what {
            hits.at(at, format!("the constraint of {} can only be changed for all tables at once", name.plain()));
        }
    }
}
