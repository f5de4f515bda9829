//! SECURITY DEFINER without a search_path.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "definer-search-path",
    level: Level::Warning,
    title: "SECURITY DEFINER without a search_path",
    effect: "The caller's search_path decides what the function's names mean, while it runs with its owner's rights.",
    safe: "SET search_path = pg_catalog, ... as part of the function",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the fixed search_path is the advice"),
    covers: &[],
    bad: Example {
        before: "",
        sql: "CREATE FUNCTION half(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT a / 2';",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "",
        sql: "CREATE FUNCTION half(a int) RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT a / 2';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateFunction { name, definer: true, search_path: false, .. } = what {
            hits.at(at, format!("callers of {} can put their own objects before yours", name.plain()));
        }
    }
}
