//! RENAME VALUE of an enum type.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "enum-value-renamed",
    level: Level::Error,
    title: "RENAME VALUE of an enum type",
    effect: "Old code that reads or writes the old label fails from the commit on.",
    safe: "Add the new label, switch the code, convert the rows in batches, and leave the old label unused",
    versions: "10 and later",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &[],
    bad: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: "ALTER TYPE mood RENAME VALUE 'glad' TO 'happy';",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TYPE mood AS ENUM ('glad');",
        sql: "ALTER TYPE mood ADD VALUE 'happy' AFTER 'glad';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::RenameEnumValue { name, from } = what
            && !scene.state.types.contains(&key(name))
        {
            hits.at(at, format!("code that knows '{from}' of {} fails", name.plain()));
        }
    }
}
