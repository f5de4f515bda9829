//! existing rows may break the constraint.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Demands, What};
use crate::lint::count;
use crate::lint::scene::{Hits, Scene};

pub(super) static RULE: Rule = Rule {
    id: "rows-may-break",
    level: Level::Note,
    title: "existing rows may break the constraint",
    effect: "VALIDATE CONSTRAINT and CREATE UNIQUE INDEX fail on the first row that does not fit: after the long scan, in the middle of a deployment. A failed concurrent build leaves an INVALID index.",
    safe: "Count the rows in the way first, with the query of the finding; crossfade preflight does it for a plan",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the rows decide whether the unique index can be"),
    covers: &[],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: "CREATE UNIQUE INDEX CONCURRENTLY accounts_email ON accounts (email);",
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
        match what {
            What::ValidateConstraint { table, name } if scene.hot(table) => {
                let known = scene.state.table(table).and_then(|t| t.constraints.iter().find(|c| c.name.as_ref() == Some(name)));
                let query = known.and_then(|constraint| match &constraint.demands {
                    Demands::Check(expr) => Some(count::failing(table, expr)),
                    Demands::ForeignKey { references, referenced } => {
                        Some(count::orphans(table, &constraint.columns, references, referenced, scene.state))
                    }
                    Demands::NotNull => constraint.columns.first().map(|column| count::nulls(table, column)),
                    _ => None,
                });
                let hit = hits.at(at, format!("rows of {} may break {name}", table.plain()));
                if let Some(query) = query {
                    hit.query(query);
                }
            }
            What::CreateIndex { table, index }
                if index.unique && scene.hot(table) && !index.keys.iter().any(|k| scene.state.new_column(table, k)) =>
            {
                let mut query = count::duplicates(table, &index.keys);
                if let Some(predicate) = &index.predicate {
                    query = query.replace(" GROUP BY", &format!(" WHERE {predicate} GROUP BY"));
                }
                hits.at(at, format!("rows of {} may have the same {}", table.plain(), index.keys.join(", "))).query(query);
            }
            _ => {}
        }
    }
}
