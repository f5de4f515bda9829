//! DROP FUNCTION, PROCEDURE, AGGREGATE or ROUTINE.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-function",
    level: Level::Warning,
    title: "DROP FUNCTION, PROCEDURE, AGGREGATE or ROUTINE",
    effect: "Callers fail: code, defaults, triggers, other functions.",
    safe: "First a release that does not call it",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-function"],
    bad: Example {
        before: "CREATE FUNCTION half(a int) RETURNS int LANGUAGE sql AS 'SELECT a / 2';",
        sql: "DROP FUNCTION half(int);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE FUNCTION half(a int) RETURNS int LANGUAGE sql AS 'SELECT a / 2';",
        sql: "CREATE FUNCTION half_2(a int) RETURNS int LANGUAGE sql AS 'SELECT a / 2';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropObject { object, name } = what
            && matches!(object.as_str(), "function" | "procedure" | "aggregate" | "routine")
            && !scene.state.functions.contains_key(name.name().as_str())
        {
            hits.at(at, format!("callers of {} fail", name.plain()));
        }
    }
}
