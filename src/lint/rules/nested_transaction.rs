//! BEGIN or COMMIT inside the transaction that the tool begins.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "nested-transaction",
    level: Level::Error,
    title: "BEGIN or COMMIT inside the transaction that the tool begins",
    effect: "BEGIN only warns there, and COMMIT ends the tool's transaction: what follows is not undone with the rest, and the tool's version row may be lost.",
    safe: "Leave transactions to the tool, or switch its transaction off for the file",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["squawk transaction-nesting"],
    bad: Example {
        before: "",
        sql: r"BEGIN;
-- crossfade-lint: ignore nested-transaction: shown above
COMMIT;",
        wrapped: true,
        pg: 14,
    },
    good: Example { before: "", sql: "SELECT 1;", wrapped: true, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        match what {
            What::Begin if scene.state.transaction.is_some() => {
                hits.at(at, "a transaction is running already".to_owned());
            }
            What::End if scene.script.wrapped && scene.state.transaction.as_ref().is_none_or(|t| !t.explicit) => {
                hits.at(at, "this ends the transaction that the tool began for the file".to_owned());
            }
            _ => {}
        }
    }
}
