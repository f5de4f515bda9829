//! a foreign key whose columns have no index.

use super::{End, Example, Rule};
use crate::lint::Level;
use crate::lint::act::{Constraint, Demands, What};
use crate::lint::changes::{Later, leads};
use crate::lint::scene::{Hits, Scene};
use crate::sql::QualifiedName;

pub(super) static RULE: Rule = Rule {
    id: "foreign-key-without-index",
    level: Level::Warning,
    title: "a foreign key whose columns have no index",
    effect: "Every DELETE and every key change in the referenced table reads the whole referencing table, under a lock on the row.",
    safe: "CREATE INDEX CONCURRENTLY on the referencing columns, before the constraint",
    versions: "all",
    scales: false,
    irreversible: false,
    end: End::Other("the index is what is missing"),
    covers: &["eugene E15", "strong_migrations add_reference"],
    bad: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CREATE TABLE orders (id bigint PRIMARY KEY, account_id bigint REFERENCES accounts (id));",
        wrapped: false,
        pg: 14,
    },
    good: Example {
        before: "CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);",
        sql: r"SET lock_timeout = '2s';
CREATE TABLE orders (id bigint PRIMARY KEY, account_id bigint REFERENCES accounts (id));
CREATE INDEX orders_account ON orders (account_id);",
        wrapped: false,
        pg: 14,
    },
    check,
};

fn check(scene: &Scene<'_>, hits: &mut Hits) {
    for (what, at) in scene.acts() {
        let keys: Vec<(&QualifiedName, &Constraint)> = match what {
            What::AddConstraint { table, constraint } => vec![(table, constraint)],
            What::AddColumn { table, column, .. } => column.constraints.iter().map(|c| (table, c)).collect(),
            What::CreateTable { table, new } if !new.temporary => {
                new.columns.iter().flat_map(|c| &c.constraints).chain(&new.constraints).map(|c| (table, c)).collect()
            }
            _ => Vec::new(),
        };
        for (table, constraint) in keys {
            if !matches!(constraint.demands, Demands::ForeignKey { .. }) || constraint.columns.is_empty() {
                continue;
            }
            let leads = |index: &Vec<String>| leads(index, &constraint.columns);
            let own = match what {
                What::CreateTable { new, .. } => new
                    .columns
                    .iter()
                    .flat_map(|c| &c.constraints)
                    .chain(&new.constraints)
                    .any(|c| matches!(c.demands, Demands::PrimaryKey | Demands::Unique) && leads(&c.columns)),
                _ => false,
            };
            let known = scene.state.table(table).is_some_and(|t| t.indexed.iter().any(leads));
            // Of a table that only its name is known of, nothing can be said.
            let knowable = matches!(what, What::CreateTable { .. } | What::AddColumn { .. })
                || scene.state.table(table).is_some_and(|t| !t.columns.is_empty());
            if knowable && !own && !known {
                let columns = constraint.columns.join(", ");
                hits.at(at, format!("no index of {} begins with {columns}", table.plain()))
                    .safe(format!("CREATE INDEX CONCURRENTLY ON {} ({columns})", table.plain()))
                    .later(Later::UnlessIndexed(table.clone(), constraint.columns.clone()));
            }
        }
    }
}
