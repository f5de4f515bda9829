//! Questions that several rules ask.

use std::ops::Range;

use crate::lint::act::{Column, Constraint, Demands, Ty, What};
use crate::lint::scene::Scene;
use crate::lint::script::Piece;
use crate::lint::state::{State, key, proves};
use crate::sql::QualifiedName;
use crate::sql::words::words;

/// The statement with CONCURRENTLY where the grammar wants it.
pub(super) fn with_concurrently(scene: &Scene<'_>, at: &Range<usize>) -> String {
    let text = scene.script.text.get(at.clone()).unwrap_or_default();
    put_behind(text, "CONCURRENTLY", &["INDEX", "TABLE", "VIEW", "SCHEMA", "DATABASE", "SYSTEM"])
}

/// A statement with a word put behind the first of the words `behind`, outside comments; the statement itself where it has none of them.
pub(in crate::lint) fn put_behind(text: &str, word: &str, behind: &[&str]) -> String {
    // A comment, a string or a quoted name is never the word alone.
    let place = words(text).map(|(_, at)| at).find(|at| behind.iter().any(|word| text[at.clone()].eq_ignore_ascii_case(word)));
    match place.map(|at| at.end) {
        Some(at) => format!("{} {word}{}", &text[..at], &text[at..]),
        None => text.to_owned(),
    }
}

/// Whether the table is known to be partitioned.
pub(super) fn partitioned(scene: &Scene<'_>, table: &QualifiedName) -> bool {
    scene.state.table(table).is_some_and(|table| table.partitioned)
}

/// Whether a valid CHECK shows the column not to be NULL, and still stands when the statement comes to look: what it drops is gone by then
/// (`ALTER TABLE` drops before it changes columns, `tablecmds.c` of the server).
pub(in crate::lint) fn proven(piece: &Piece, state: &State, table: &QualifiedName, column: &str) -> bool {
    let Some(known) = state.table(table) else { return false };
    let shows = |constraint: &Constraint| !constraint.not_valid && proves(constraint).as_deref() == Some(column);
    let dropped = |constraint: &Constraint| {
        piece.acts.iter().any(|act| match &act.what {
            What::DropConstraint { table: of, name } => key(of) == key(table) && constraint.name.as_ref() == Some(name),
            _ => false,
        })
    };
    let mut showing = known.constraints.iter().filter(|constraint| shows(constraint)).peekable();
    let none = showing.peek().is_none();
    known.proven.iter().any(|proven| proven == column) && (none || showing.any(|constraint| !dropped(constraint)))
}

/// Whether a valid CHECK of the table may show that its rows belong into a partition.
pub(in crate::lint) fn bounded(state: &State, table: &QualifiedName) -> bool {
    let check = |constraint: &Constraint| matches!(constraint.demands, Demands::Check(_)) && !constraint.not_valid;
    state.table(table).is_some_and(|known| known.constraints.iter().any(check))
}

/// The columns of a primary key by an existing index that may be NULL, as far as is known.
pub(in crate::lint) fn nullable_keys(state: &State, table: &QualifiedName, constraint: &Constraint) -> Vec<String> {
    let index = constraint.using_index.as_ref().filter(|_| constraint.demands == Demands::PrimaryKey);
    let index = index.and_then(|index| state.indexes.get(&key(&table.sibling(index.as_str()))));
    let (Some(index), Some(known)) = (index, state.table(table)) else { return Vec::new() };
    let nullable =
        |column: &&String| known.columns.get(*column).is_some_and(|facts| !facts.not_null) && !known.proven.contains(*column);
    index.columns.iter().filter(nullable).cloned().collect()
}

/// Whether a column has a key of its own.
pub(super) fn keyed(column: &Column) -> bool {
    column.constraints.iter().any(|constraint| matches!(constraint.demands, Demands::PrimaryKey | Demands::Unique))
}

/// What a change of type costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) enum Change {
    /// Nothing: the values stay as they are on disk.
    None,
    /// It depends on the type of now, which is not known.
    Unknown,
    /// The table is rewritten, or every row is checked.
    Rewrite,
}

/// What changing a column from `from` to `to` costs (ALTER TABLE, "Notes": binary coercible types without a new check).
pub(in crate::lint) fn widening(from: Option<&Ty>, to: &Ty, using: bool) -> Change {
    let text = |ty: &Ty| matches!(ty.base.as_str(), "text" | "varchar") && !ty.array;
    let Some(from) = from.filter(|from| !from.base.is_empty()) else {
        return if text(to) && !using { Change::Unknown } else { Change::Rewrite };
    };
    if using {
        return Change::Rewrite;
    }
    if from == to || from.base == to.base && from.modifiers == to.modifiers && from.array == to.array {
        return Change::None;
    }
    let wider = |index: usize| match (from.modifiers.get(index), to.modifiers.get(index)) {
        (_, None) => true,
        (Some(old), Some(new)) => new >= old,
        (None, Some(_)) => false,
    };
    match (from.base.as_str(), to.base.as_str()) {
        ("varchar" | "text", "text") if text(to) && !from.array => Change::None,
        ("varchar", "varchar") | ("varbit", "varbit") if wider(0) && from.array == to.array => Change::None,
        ("text", "varchar") if to.modifiers.is_empty() => Change::None,
        // A scale that stays and a precision that grows.
        ("numeric", "numeric") if to.modifiers.is_empty() => Change::None,
        ("numeric", "numeric") if from.modifiers.get(1) == to.modifiers.get(1) && wider(0) && !from.modifiers.is_empty() => {
            Change::None
        }
        ("timestamp" | "timestamptz" | "time" | "timetz", _) if from.base == to.base && wider(0) => Change::None,
        ("cidr", "inet") => Change::None,
        _ => Change::Rewrite,
    }
}

/// The table of an index that is known; otherwise the name itself.
pub(super) fn table_of(scene: &Scene<'_>, relation: &QualifiedName) -> QualifiedName {
    scene.state.indexes.get(&key(relation)).map_or_else(|| key(relation), |index| index.table.clone())
}

/// Whether the statement alters this table by actions that could stand in one statement with others.
pub(super) fn joinable(scene: &Scene<'_>, table: &QualifiedName) -> bool {
    scene.piece.acts.iter().any(|act| match &act.what {
        What::AddColumn { table: of, .. }
        | What::DropColumn { table: of, .. }
        | What::SetNotNull { table: of, .. }
        | What::DropNotNull { table: of, .. }
        | What::SetDefault { table: of, .. }
        | What::DropDefault { table: of, .. }
        | What::SetType { table: of, .. }
        | What::DropConstraint { table: of, .. } => key(of) == *table,
        _ => false,
    }) && scene.hot(table)
}

/// Whether everything that the statement drops was created by this set.
pub(super) fn dropped_new(scene: &Scene<'_>) -> bool {
    let mut dropped = scene.piece.acts.iter().filter_map(|act| match &act.what {
        What::DropTable { table, .. } | What::Truncate { table } => Some(!scene.hot(table)),
        What::DropObject { object, name } if object == "view" => Some(!scene.hot(name)),
        What::DropObject { object, name } if object == "type" => Some(scene.state.types.contains(&key(name))),
        What::DropIndex { index, .. } => Some(!scene.hot(index)),
        What::DropColumn { table, .. } => Some(!scene.hot(table)),
        What::DropConstraint { table, .. } => Some(!scene.hot(table)),
        _ => None,
    });
    let first = dropped.next();
    first == Some(true) && dropped.all(|new| new)
}

/// Kinds of statements of which [`crate::sql::Statement::touches`] says nothing and that need no word about it: they lock
/// nothing that traffic waits for, or a rule of their own says what they do.
pub(super) fn harmless(kind: &str) -> bool {
    const KINDS: &[&str] = &[
        "ALTER DOMAIN",
        "ALTER EXTENSION",
        "DROP EXTENSION",
        "DROP SCHEMA",
        "ALTER AGGREGATE",
        "ALTER COLLATION",
        "ALTER CONVERSION",
        "ALTER DATABASE",
        "ALTER DEFAULT PRIVILEGES",
        "ALTER FUNCTION",
        "ALTER GROUP",
        "ALTER LANGUAGE",
        "ALTER LARGE OBJECT",
        "ALTER OPERATOR",
        "ALTER OPERATOR CLASS",
        "ALTER OPERATOR FAMILY",
        "ALTER PROCEDURE",
        "ALTER ROLE",
        "ALTER ROUTINE",
        "ALTER SCHEMA",
        "ALTER SEQUENCE",
        "ALTER SERVER",
        "ALTER STATISTICS",
        "ALTER SYSTEM",
        "ALTER TABLESPACE",
        "ALTER TYPE",
        "ALTER USER",
        "ALTER USER MAPPING",
        "BEGIN",
        "CHECKPOINT",
        "CLOSE",
        "COMMENT ON",
        "COMMIT",
        "COMMIT TRANSACTION",
        "COMMIT PREPARED",
        "CREATE ACCESS METHOD",
        "CREATE AGGREGATE",
        "CREATE CAST",
        "CREATE COLLATION",
        "CREATE CONVERSION",
        "CREATE DATABASE",
        "CREATE EVENT TRIGGER",
        "CREATE EXTENSION",
        "CREATE FOREIGN DATA WRAPPER",
        "CREATE FOREIGN TABLE",
        "CREATE GROUP",
        "CREATE LANGUAGE",
        "CREATE OPERATOR",
        "CREATE OPERATOR CLASS",
        "CREATE OPERATOR FAMILY",
        "CREATE ROLE",
        "CREATE SERVER",
        "CREATE TABLESPACE",
        "CREATE TEXT SEARCH CONFIGURATION",
        "CREATE TEXT SEARCH DICTIONARY",
        "CREATE TEXT SEARCH PARSER",
        "CREATE TEXT SEARCH TEMPLATE",
        "CREATE TRANSFORM",
        "CREATE USER",
        "CREATE USER MAPPING",
        "DEALLOCATE",
        "DECLARE",
        "DISCARD",
        "DROP ACCESS METHOD",
        "DROP AGGREGATE",
        "DROP CAST",
        "DROP COLLATION",
        "DROP CONVERSION",
        "DROP DATABASE",
        "DROP DOMAIN",
        "DROP EVENT TRIGGER",
        "DROP FOREIGN DATA WRAPPER",
        "DROP GROUP",
        "DROP LANGUAGE",
        "DROP OPERATOR",
        "DROP ROLE",
        "DROP ROUTINE",
        "DROP SERVER",
        "DROP TABLESPACE",
        "DROP TYPE",
        "DROP USER",
        "DROP USER MAPPING",
        "FETCH",
        "GRANT",
        "LISTEN",
        "LOAD",
        "MOVE",
        "NOTIFY",
        "PREPARE",
        "PREPARE TRANSACTION",
        "RELEASE SAVEPOINT",
        "RESET",
        "RESET ROLE",
        "RESET SESSION AUTH",
        "REVOKE",
        "ROLLBACK",
        "ROLLBACK TRANSACTION",
        "ROLLBACK TO SAVEPOINT",
        "SAVEPOINT CREATE",
        "SET CONSTRAINTS",
        "SET ROLE",
        "SET SESSION AUTH",
        "SET TRANSACTION",
        "SHOW",
        "UNLISTEN",
        "VACUUM",
        "ANALYZE",
        "CLUSTER",
        "CREATE STATISTICS",
        "ROLLBACK PREPARED",
        "REINDEX",
        "REINDEX CONCURRENTLY",
    ];
    KINDS.contains(&kind)
}

/// Whether a place (`file:line`) lies in this file.
pub(super) fn same_file(place: &str, file: &str) -> bool {
    place.rsplit_once(':').is_some_and(|(name, _)| name == file)
}

#[cfg(test)]
mod tests {
    use super::put_behind;

    #[test]
    fn words_are_put_where_the_grammar_wants_them() {
        for (text, with) in [
            ("CREATE UNIQUE INDEX i ON t (a)", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)"),
            ("create /* an index */ index\n  i ON t (a)", "create /* an index */ index CONCURRENTLY\n  i ON t (a)"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(put_behind(text, "CONCURRENTLY", &["INDEX"]), with);
        }
    }
}
