//! REVOKE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "privileges-revoked",
    level: Level::Warning,
    title: "REVOKE",
    effect: "Whoever relied on the privilege fails from the commit on.",
    safe: "Look for the users of the privilege first; revoke in a release of its own",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-revoke", "pg-schema-diff AUTHZ_UPDATE"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "REVOKE SELECT ON accounts FROM PUBLIC;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "GRANT SELECT ON accounts TO PUBLIC;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if matches!(what, What::Revoke) {
            hits.at(at, "whoever uses this privilege fails from now on".to_owned());
        }
    }
}
