//! What the form of a statement tells, whatever it does: whether it may run twice, how its names are written.

use squawk_syntax::ast::{AstNode, Stmt};
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode, SyntaxToken};

use super::table::named;
use super::{Acts, Below};
use crate::lint::act::What;
use crate::sql::parser::words;

/// NAMEDATALEN - 1 (PostgreSQL manual 4.1.1).
const LONGEST_NAME: usize = 63;

pub(super) fn read(stmt: &Stmt, below: &Below<'_>, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    repeatable(stmt, below, acts);
    let names = Some(node)
        .filter(|_| below.contents.longest_name > LONGEST_NAME)
        .into_iter()
        .flat_map(SyntaxNode::descendants_with_tokens);
    let long = |token: &SyntaxToken| token.kind() == SyntaxKind::IDENT && token.text().len() > LONGEST_NAME;
    for token in names.filter_map(SyntaxElement::into_token).filter(long) {
        let name = token.text().trim_matches('"').replace("\"\"", "\"");
        if name.len() > LONGEST_NAME {
            acts.add(&token.parent().unwrap_or_else(|| node.clone()), What::LongName(name));
        }
    }
    let tables = match stmt {
        Stmt::CreateTable(create) if !temporary(acts) => vec![named(create.table_name())],
        Stmt::AlterTable(alter) => vec![named(alter.table_relation_name())],
        Stmt::DropTable(drop) => drop.table_name_refs().map(|table| named(Some(table))).collect(),
        Stmt::CreateIndex(create) => vec![named(create.table_relation_name())],
        _ => Vec::new(),
    };
    for table in tables.into_iter().flatten().filter(|table| table.schema().is_none()) {
        acts.add(node, What::Unqualified(table));
    }
}

fn temporary(acts: &Acts<'_>) -> bool {
    acts.found.iter().any(|act| matches!(&act.what, What::CreateTable { new, .. } if new.temporary))
}

fn repeatable(stmt: &Stmt, below: &Below<'_>, acts: &mut Acts<'_>) {
    let node = stmt.syntax();
    let kind = words(node.kind());
    let guards = [SyntaxKind::IF_EXISTS, SyntaxKind::IF_NOT_EXISTS, SyntaxKind::OR_REPLACE];
    let guarded = below.contents.any(&guards);
    let creates = kind.starts_with("CREATE ") || kind.starts_with("DROP ");
    let adds = acts.found.iter().any(|act| {
        matches!(
            act.what,
            What::AddColumn { .. }
                | What::DropColumn { .. }
                | What::AddConstraint { .. }
                | What::DropConstraint { .. }
                | What::AddEnumValue { .. }
                | What::Rename { .. }
                | What::RenameColumn { .. }
        )
    });
    if creates || adds {
        acts.add(node, if guarded { What::Repeatable } else { What::Once });
    }
}
