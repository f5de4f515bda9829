//! Tables that are not ordinary ones: unlogged, foreign, partitioned, inherited, views.

use async_trait::async_trait;

use super::Topic;
use super::ground::{Ground, Table};
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// The form of every table of the plan.
pub(super) struct Form;

#[async_trait]
impl Topic for Form {
    fn name(&self) -> &'static str {
        "forms of tables"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let tables = ground.tables().await?;
        let found = tables.iter().filter_map(|table| {
            let (severity, what, next) = judge(table)?;
            Some(ground.finding(severity, &table.label(), what, next))
        });
        Ok(found.collect())
    }
}

fn judge(table: &Table) -> Option<(Severity, &'static str, &'static str)> {
    const ROWS: &[Use] = &[Use::Carries, Use::Fills, Use::Walks];
    let rows = table.is_used(ROWS);
    let captured = table.is_used(&[Use::Captures]);
    match (table.kind.as_str(), table.persistence.as_str()) {
        (kind, persistence) if captured && (kind != "r" || persistence != "p" || table.related) => Some((
            Severity::Blocks,
            "is no ordinary, permanent table without children: triggers would not see all its changes",
            "leave it out of `start_capture`, or make it an ordinary table",
        )),
        ("f", _) if rows => Some((
            Severity::Blocks,
            "is a foreign table: its rows are on another server, without this one's snapshots and locks",
            "name the table on the server that holds it, or leave it out of the plan",
        )),
        ("v" | "m", _) if rows => Some((
            Severity::Warning,
            "is a view: it can be read beside a table, not be cut into parts, filled or cleaned",
            "name the tables it reads",
        )),
        ("p", _) if rows => Some((
            Severity::Warning,
            "is partitioned: parts of a copy are block ranges of ordinary tables, so copy and verify refuse it as what drives them or is filled",
            "name each partition, on both sides",
        )),
        ("p", _) if table.is_used(&[Use::Alters]) => Some((
            Severity::Warning,
            "is partitioned: the server builds no index on it concurrently",
            "build the index on each partition concurrently, then CREATE INDEX ON ONLY the parent and attach them",
        )),
        (_, _) if table.related && rows => Some((
            Severity::Warning,
            "is a partition or takes part in inheritance: a query of a parent also reads its children",
            "make sure no row is carried twice: name the children, or the parent, not both",
        )),
        (_, "u") => Some((
            if rows { Severity::Warning } else { Severity::Note },
            "is unlogged: standbys do not have it, and after a crash of the server it is empty",
            "ALTER TABLE ... SET LOGGED when its rows matter (it rewrites the table), or leave it out of the plan",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::QualifiedName;

    fn table(kind: &str, persistence: &str, related: bool, how: Use) -> Table {
        let (kind, persistence) = (kind.to_owned(), persistence.to_owned());
        Table { oid: 1, name: QualifiedName::bare("t"), kind, persistence, related, bytes: 0, uses: vec![how] }
    }

    #[test]
    fn what_a_form_means_depends_on_the_use() {
        let severity = |table: Table| judge(&table).map(|judged| judged.0);
        assert_eq!(severity(table("r", "p", false, Use::Carries)), None);
        assert_eq!(severity(table("r", "p", false, Use::Captures)), None);
        assert_eq!(severity(table("r", "p", true, Use::Captures)), Some(Severity::Blocks));
        assert_eq!(severity(table("f", "p", false, Use::Carries)), Some(Severity::Blocks));
        assert_eq!(severity(table("f", "p", false, Use::Reads)), None);
        assert_eq!(severity(table("r", "u", false, Use::Alters)), Some(Severity::Note));
        assert_eq!(severity(table("r", "u", false, Use::Fills)), Some(Severity::Warning));
        assert_eq!(severity(table("r", "p", true, Use::Walks)), Some(Severity::Warning));
        assert_eq!(severity(table("p", "p", true, Use::Alters)), Some(Severity::Warning));
    }
}
