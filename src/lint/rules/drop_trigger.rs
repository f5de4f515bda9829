//! DROP TRIGGER or DROP RULE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-trigger",
    level: Level::Warning,
    title: "DROP TRIGGER or DROP RULE",
    effect: "What the trigger kept in order is kept no more, and the drop takes ACCESS EXCLUSIVE on the table.",
    safe: "First make sure that nothing relies on it; a short lock_timeout",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-trigger", "pgfence drop-trigger"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch();",
        sql: r"SET lock_timeout = '2s';
DROP TRIGGER touch ON accounts;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch();",
        sql: "CREATE TABLE touches (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && matches!(object.as_str(), "trigger" | "rule" | "event trigger")
            && scene.hot(name)
        {
            hits.at(at, format!("what a trigger or rule did on {} is done no more", name.plain()));
        }
    }
}
