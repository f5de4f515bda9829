//! CREATE TRIGGER on a table in use.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "create-trigger",
    level: Level::Warning,
    title: "CREATE TRIGGER on a table in use",
    effect: "Takes SHARE ROW EXCLUSIVE: writers wait until the transaction ends. From then on every write runs the trigger, those of old code too.",
    safe: "A short transaction with lock_timeout; a trigger function that is cheap and cannot fail",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("nothing else does the same: it waits for a quiet moment, with a lock_timeout"),
    covers: &["pgfence create-trigger"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;",
        sql: r"SET lock_timeout = '2s';
CREATE TRIGGER touch BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch();",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;",
        sql: "CREATE FUNCTION touch_2() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateTrigger { table } = what
            && scene.hot(table)
        {
            hits.at(at, format!("writers of {} wait, and then run the trigger", table.plain()));
        }
    }
}
