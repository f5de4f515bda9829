//! ALTER TYPE ... ADD VALUE in a transaction on PostgreSQL 11 or older.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "enum-value-in-transaction",
    level: Level::Error,
    title: "ALTER TYPE ... ADD VALUE in a transaction on PostgreSQL 11 or older",
    effect: "The server refuses it inside a transaction block.",
    safe: "A migration of its own outside a transaction",
    versions: "11 and older",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &["pgfence alter-enum-add-value"],
    bad: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: "ALTER TYPE mood ADD VALUE 'calm';",
        wrapped: true,
        pg: 11,
    },
    good: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: r"-- no-transaction
ALTER TYPE mood ADD VALUE 'calm';",
        wrapped: true,
        pg: 11,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AddEnumValue { name, .. } = what
            && scene.pg < 12
            && scene.in_transaction()
            && !scene.state.types.contains(&key(name))
        {
            hits.at(at, format!("PostgreSQL {} refuses to add values to {} in a transaction", scene.pg, name.plain()));
        }
    }
}
