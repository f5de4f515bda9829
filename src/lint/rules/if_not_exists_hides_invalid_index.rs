//! CREATE INDEX CONCURRENTLY IF NOT EXISTS.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};
use crate::sql::Literal;

pub(super) static RULE: Rule = Rule {
    id: "if-not-exists-hides-invalid-index",
    level: Level::Warning,
    title: "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
    effect: "A failed concurrent build leaves an INVALID index under the same name. IF NOT EXISTS finds it, says nothing and builds nothing: the migration counts as applied without its index.",
    safe: "Without IF NOT EXISTS; when a build has failed, DROP INDEX CONCURRENTLY and build again. crossfade's create_index step asks pg_index.indisvalid",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Same,
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY IF NOT EXISTS accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::CreateIndex { table, index } = what
            && index.concurrently
            && index.if_not_exists
            && scene.hot(table)
        {
            let name = index.name.as_deref().unwrap_or("the index");
            let check = Literal::new(name);
            hits.at(at, format!("an INVALID {name} from a failed build would be taken for done")).query(format!("SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = {check} AND NOT i.indisvalid"));
        }
    }
}
