//! ALTER EXTENSION UPDATE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "extension-upgrade",
    level: Level::Warning,
    title: "ALTER EXTENSION UPDATE",
    effect: "Runs the scripts of the extension's author in one transaction: they may lock or change anything that the extension owns or is used by.",
    safe: "Read the extension's upgrade notes and scripts; try it on a copy; name the version to go to",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["pg-schema-diff EXTENSION_VERSION_UPGRADE"],
    bad: Example { before: "", sql: "ALTER EXTENSION plpgsql UPDATE;", wrapped: false, pg: 14 },
    good: Example { before: "", sql: "CREATE SCHEMA extensions;", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::AlterExtensionUpdate { name } = what {
            hits.at(at, format!("the upgrade scripts of {name} run unseen"));
        }
    }
}
