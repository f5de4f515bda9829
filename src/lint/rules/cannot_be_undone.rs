//! a statement that no other statement takes back.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "cannot-be-undone",
    level: Level::Off,
    title: "a statement that no other statement takes back",
    effect: "A down migration cannot restore what was there: enum values cannot be removed, old values and sequence positions are overwritten.",
    safe: "Keep what is overwritten (a copy of the rows, the sequence's last_value) before; plan the way back without it",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &[],
    bad: Example { before: "CREATE SEQUENCE numbers;", sql: "ALTER SEQUENCE numbers RESTART;", wrapped: false, pg: 14 },
    good: Example { before: "CREATE SEQUENCE numbers;", sql: "ALTER SEQUENCE numbers CACHE 10;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        match what {
            What::AddEnumValue { name, value, .. } if !scene.state.types.contains(&key(name)) => {
                hits.at(at, format!("'{value}' can never be removed from {}", name.plain()));
            }
            What::AlterSequence { name, restart: true } => {
                hits.at(at, format!("the position of {} is overwritten", name.plain()));
            }
            What::Update { table, .. } if scene.hot(table) => {
                hits.at(at, format!("the old values of {} are overwritten", table.plain()));
            }
            What::Delete { table, .. } if scene.hot(table) => {
                hits.at(at, format!("the deleted rows of {} do not come back", table.plain()));
            }
            _ => {}
        }
    }
}
