//! What the form of a statement tells, whatever it does: whether it may run twice, how its names are written.

use squawk_syntax::SyntaxKind;
use squawk_syntax::ast::{AstNode, Stmt};

use super::table::named;
use super::{Acts, Below};
use crate::lint::act::What;
use crate::sql::parser::words;

/// NAMEDATALEN - 1 (PostgreSQL manual 4.1.1).
const LONGEST_NAME: usize = 63;

pub(super) fn read(stmt: &Stmt, below: &Below, acts: &mut Acts) {
    let node = stmt.syntax();
    repeatable(stmt, below, acts);
    for token in below.idents.iter().filter(|token| token.text().len() > LONGEST_NAME) {
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

fn temporary(acts: &Acts) -> bool {
    acts.0.iter().any(|act| matches!(&act.what, What::CreateTable { new, .. } if new.temporary))
}

fn repeatable(stmt: &Stmt, below: &Below, acts: &mut Acts) {
    let node = stmt.syntax();
    let kind = words(node.kind());
    let guards = [SyntaxKind::IF_EXISTS, SyntaxKind::IF_NOT_EXISTS, SyntaxKind::OR_REPLACE];
    let guarded = below.nodes.iter().any(|node| guards.contains(&node.kind()));
    let creates = kind.starts_with("CREATE ") || kind.starts_with("DROP ");
    let adds = acts.0.iter().any(|act| {
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
