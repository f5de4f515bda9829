//! ALTER COLUMN TYPE that rewrites or checks the table.

use super::form::{Change, widening};
use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::What;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "change-column-type",
    level: Level::Error,
    title: "ALTER COLUMN TYPE that rewrites or checks the table",
    effect: "Most changes of type rewrite the table and its indexes under ACCESS EXCLUSIVE, and old code may not expect the new type.",
    safe: "A new column of the new type, kept in step by a trigger; fill in batches; switch the code; drop the old column",
    versions: "all",
    scales: true,
    irreversible: false,
    end: End::Other("a change like this has no form that old versions survive: it becomes something new beside the old"),
    covers: &["squawk changing-column-type", "eugene E5", "strong_migrations change_column", "pgfence alter-column-type"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, number int, city varchar(100));",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN number TYPE bigint;",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, number int, city varchar(100));",
        sql: r"SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN city TYPE varchar(200);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        if let What::SetType { table, column, ty, using } = what
            && scene.hot(table)
            && !scene.state.new_column(table, column)
        {
            match widening(scene.state.column_type(table, column), ty, using.is_some()) {
                Change::None => {}
                Change::Unknown => {
                    hits.at(
                        at,
                        format!(
                            "unless {column} is a shorter varchar now, changing it to {} rewrites {}",
                            ty.text,
                            table.plain()
                        ),
                    )
                    .level(Level::Warning);
                }
                Change::Rewrite => {
                    hits.at(at, format!("changing {column} to {} rewrites {} while nobody can use it", ty.text, table.plain()));
                }
            }
        }
    }
}
