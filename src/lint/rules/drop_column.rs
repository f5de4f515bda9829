//! DROP COLUMN while the old version of the code may run.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "drop-column",
    level: Level::Warning,
    title: "DROP COLUMN while the old version of the code may run",
    effect: "Code that still names the column, or that reads * into fields, fails from the moment of the drop. The data is gone.",
    safe: "First a release that does not use the column; drop it in a later migration, once the old version cannot come back",
    versions: "all",
    scales: false,
    irreversible: true,
    end: End::Other("what it takes away is the point: it goes when nobody uses it any more"),
    covers: &["squawk ban-drop-column", "strong_migrations remove_column", "pgfence drop-column", "pg-schema-diff DELETES_DATA"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts DROP COLUMN name;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name SET DEFAULT '';",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::DropColumn { table, column, .. } = what
            && scene.hot(table)
            && !scene.state.new_column(table, column)
        {
            hits.at(at, format!("code that still uses {}.{column} fails, and its values are gone", table.plain()));
        }
    }
}
