//! CREATE OR REPLACE of a view or function in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "view-replaced",
    level: Level::Off,
    title: "CREATE OR REPLACE of a view or function in use",
    effect: "Old code meets the new definition from the commit on; a view is locked with ACCESS EXCLUSIVE for it.",
    safe: "Create it under a new name, switch the code, drop the old one",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk ban-replace-view-function"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: r"SET lock_timeout = '2s';
CREATE OR REPLACE VIEW active AS SELECT id, email FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: "CREATE VIEW active_2 AS SELECT id, email FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        match what {
            What::CreateView { view, or_replace: true } if scene.hot(view) && scene.state.table(view).is_some() => {
                hits.at(at, format!("old code meets the new {}", view.plain()));
            }
            What::CreateFunction { name, or_replace: true, .. } if !scene.state.functions.contains_key(name.name().as_str()) => {
                hits.at(at, format!("old callers meet the new {}", name.plain()));
            }
            _ => {}
        }
    }
}
