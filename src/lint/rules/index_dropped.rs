//! an index that queries may use is dropped.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "index-dropped",
    level: Level::Note,
    title: "an index that queries may use is dropped",
    effect: "Queries that used the index read the whole table from then on; building it again takes as long as it ever did.",
    safe: "Look at pg_stat_user_indexes.idx_scan first, on the standbys too; drop the index in a migration of its own",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-index", "pg-schema-diff INDEX_DROPPED"],
    bad: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE INDEX accounts_email ON accounts (email);",
        sql: "DROP INDEX CONCURRENTLY accounts_email;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: r"CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE INDEX accounts_email ON accounts (email);",
        sql: "CREATE INDEX CONCURRENTLY accounts_email_id ON accounts (email, id);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropIndex { index, .. } = what
            && scene.hot(index)
        {
            hits.at(at, format!("queries that use {} become slow", index.plain()));
        }
    }
}
