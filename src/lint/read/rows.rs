//! Statements on rows.

use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::table::named;
use super::{Acts, Below, child, columns, expression};
use crate::lint::act::What;
use crate::sql::LockMode;
use crate::sql::QualifiedName;
use crate::sql::parser::name_in;

pub(super) fn read(stmt: &Stmt, all: &Below<'_>, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    // Also those inside WITH.
    for below in &all.nodes {
        match below.kind() {
            SyntaxKind::UPDATE => acts.some(below, ast::Update::cast(below.clone()).and_then(|update| self::update(&update))),
            SyntaxKind::DELETE => acts.some(below, ast::Delete::cast(below.clone()).and_then(|delete| self::delete(&delete))),
            SyntaxKind::INSERT => {
                let insert = ast::Insert::cast(below.clone());
                let from_query =
                    child(below, SyntaxKind::SELECT).is_some() || child(below, SyntaxKind::COMPOUND_SELECT).is_some();
                let table = insert.and_then(|insert| named(insert.relation_name_ref()));
                acts.some(below, table.map(|table| What::Insert { table, from_query }));
            }
            SyntaxKind::MERGE => {
                acts.some(below, name_in(below).map(|table| What::Merge { table }));
                acts.add(below, What::Needs { what: "MERGE", since: 15 });
            }
            _ => {}
        }
    }
    match stmt {
        Stmt::Truncate(truncate) => {
            let tables = truncate.table_list().into_iter().flat_map(|list| list.table_relation_names());
            tables.for_each(|table| acts.some(node, named(Some(table)).map(|table| What::Truncate { table })));
            if matches!(truncate.drop_behavior(), Some(ast::DropBehavior::Cascade(_))) {
                acts.add(node, What::Cascade { object: "TRUNCATE".to_owned() });
            }
        }
        Stmt::Lock(lock) => {
            let mode = lock.lock_mode_clause().map_or(LockMode::AccessExclusive, |clause| mode(clause.syntax()));
            let tables = lock.relation_list().into_iter().flat_map(|list| list.relation_names());
            tables.for_each(|table| acts.some(node, named(Some(table)).map(|table| What::LockTable { table, mode })));
        }
        Stmt::Vacuum(vacuum) => {
            let tables = vacuum.table_and_columns_list().into_iter().flat_map(|list| list.table_and_columnss());
            let tables = tables.filter_map(|table| named(table.table_relation_name())).collect();
            acts.add(node, What::Vacuum { tables, full: vacuum.is_full() });
        }
        Stmt::Cluster(_) | Stmt::Repack(_) => acts.add(node, What::Cluster { table: name_in(node) }),
        _ => {}
    }
    if !matches!(stmt, Stmt::CreateFunction(_) | Stmt::CreateProcedure(_) | Stmt::CreateTrigger(_)) {
        let calls = expression::calls_of(all.of_kind(SyntaxKind::CALL_EXPR)).into_iter();
        let calls: Vec<QualifiedName> = calls.map(|(name, _)| QualifiedName::bare(name)).collect();
        acts.some(node, (!calls.is_empty()).then_some(What::Calls(calls)));
    }
    if let Stmt::Call(call) = stmt {
        acts.some(node, named(call.procedure_name_ref()).map(|name| What::Calls(vec![name])));
    }
    if !matches!(stmt, Stmt::AlterType(_) | Stmt::Do(_) | Stmt::CommentOn(_)) {
        let constants: Vec<String> = all.of_kind(SyntaxKind::LITERAL).filter_map(expression::constant).collect();
        acts.some(node, (!constants.is_empty()).then_some(What::Constants(constants)));
    }
}

fn update(update: &ast::Update) -> Option<What> {
    let table = named(update.relation_name())?;
    let set = update.set_clause()?;
    let targets = set.syntax().descendants().filter(|below| below.kind() == SyntaxKind::COLUMN_TARGET);
    let columns = targets.filter_map(|target| columns(&target).into_iter().next()).collect();
    let filtered = update.where_clause_or_current_of().is_some_and(|clause| filters(clause.syntax()));
    Some(What::Update { table, filtered, columns })
}

fn delete(delete: &ast::Delete) -> Option<What> {
    let filtered = delete.where_clause_or_current_of().is_some_and(|clause| filters(clause.syntax()));
    Some(What::Delete { table: named(delete.relation_name())?, filtered })
}

/// Whether a WHERE says anything.
fn filters(clause: &SyntaxNode) -> bool {
    let words: Vec<String> = super::text(clause).split_whitespace().skip(1).map(str::to_lowercase).collect();
    !matches!(words.join("").as_str(), "true" | "(true)" | "1=1" | "(1=1)")
}

fn mode(clause: &SyntaxNode) -> LockMode {
    let words = super::text(clause).to_uppercase();
    let words = words.split_whitespace().filter(|word| !matches!(*word, "IN" | "MODE")).collect::<Vec<_>>().join(" ");
    match words.as_str() {
        "ACCESS SHARE" => LockMode::AccessShare,
        "ROW SHARE" => LockMode::RowShare,
        "ROW EXCLUSIVE" => LockMode::RowExclusive,
        "SHARE UPDATE EXCLUSIVE" => LockMode::ShareUpdateExclusive,
        "SHARE" => LockMode::Share,
        "SHARE ROW EXCLUSIVE" => LockMode::ShareRowExclusive,
        "EXCLUSIVE" => LockMode::Exclusive,
        _ => LockMode::AccessExclusive,
    }
}
