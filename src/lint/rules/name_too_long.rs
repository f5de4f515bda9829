//! a name of more than 63 bytes.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "name-too-long",
    level: Level::Warning,
    title: "a name of more than 63 bytes",
    effect: "The server cuts it off: two names become one, and code that asks the catalog for it finds nothing.",
    safe: "A shorter name",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the other form means something else, which is the advice"),
    covers: &["squawk identifier-too-long"],
    bad: Example {
        before: "",
        sql: "CREATE TABLE a_name_that_goes_on_and_on_and_on_until_nobody_can_remember_how_it_began (id bigint PRIMARY KEY);",
        wrapped: false,
        pg: 14,
    },
    good: Example { before: "", sql: "CREATE TABLE a_name (id bigint PRIMARY KEY);", wrapped: false, pg: 14 },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::LongName(name) = what {
            hits.at(at, format!("{name} has {} bytes: the server keeps 63", name.len()));
        }
    }
}
