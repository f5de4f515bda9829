//! DROP VIEW, also of a materialized one.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-view",
    level: Level::Warning,
    title: "DROP VIEW, also of a materialized one",
    effect: "Queries that use the view fail.",
    safe: "First a release that does not use it",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-view"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: r"SET lock_timeout = '2s';
DROP VIEW active;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: "CREATE VIEW active_2 AS SELECT id FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && matches!(object.as_str(), "view" | "materialized view")
            && scene.hot(name)
        {
            hits.at(at, format!("queries that use {} fail", name.plain()));
        }
    }
}
