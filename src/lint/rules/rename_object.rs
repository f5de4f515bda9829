//! RENAME of a view, type, function, sequence or schema.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::lint::state::key;

pub(super) static RULE: Rule = Rule {
    id: "rename-object",
    level: Level::Warning,
    title: "RENAME of a view, type, function, sequence or schema",
    effect: "Everything that uses the old name fails from that moment on.",
    safe: "Create the object under the new name beside the old one, switch the code, drop the old one",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk renaming-object", "strong_migrations rename_schema"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: r"SET lock_timeout = '2s';
ALTER VIEW active RENAME TO active_accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;",
        sql: "CREATE VIEW active_accounts AS SELECT id FROM accounts;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::Rename { object, name, to } = what
            && !matches!(object.as_str(), "table" | "index" | "trigger" | "policy" | "role" | "user" | "tablespace")
            && !scene.state.types.contains(&key(name))
            && scene.hot(name)
        {
            hits.at(at, format!("what uses {object} {} fails as soon as it is called {to}", name.plain()));
        }
    }
}
