//! DROP POLICY.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-policy",
    level: Level::Warning,
    title: "DROP POLICY",
    effect: "Rows that the policy let through disappear for its roles; or, when it restricted, appear.",
    safe: "Create the new policy first, in the same transaction",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-policy", "pg-schema-diff AUTHZ_UPDATE"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE POLICY mine ON accounts USING (true);",
        sql: r"SET lock_timeout = '2s';
DROP POLICY mine ON accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE POLICY mine ON accounts USING (true);",
        sql: "CREATE TABLE accounts_2 (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && object == "policy"
            && scene.hot(name)
        {
            hits.at(at, format!("who sees which rows of {} changes", name.plain()));
        }
    }
}
