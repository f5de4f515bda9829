//! Columns and constraints.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::{child, columns, expression, holds, text};
use crate::lint::act::{Column, Constraint, Demands};
use crate::sql::parser::name_in;

/// A column from its name, its type and the nodes of its constraints.
pub(super) fn column(name: String, ty: Option<ast::Type>, parts: impl Iterator<Item = SyntaxNode>) -> Column {
    let mut column = Column { name, ty: ty.map(|ty| expression::ty(ty.syntax())).unwrap_or_default(), ..Column::default() };
    for part in parts {
        match part.kind() {
            SyntaxKind::NOT_NULL_CONSTRAINT => column.not_null = true,
            SyntaxKind::DEFAULT_CONSTRAINT => {
                let expr = ast::DefaultConstraint::cast(part).and_then(|default| default.expr());
                column.default = expr.and_then(|expr| expression::expression(expr.syntax()));
            }
            SyntaxKind::GENERATED_CONSTRAINT => {
                column.identity = holds(&part, SyntaxKind::GENERATED_IDENTITY);
                column.stored = holds(&part, SyntaxKind::STORED);
                // Without a word for it the kind is VIRTUAL (PostgreSQL 18).
                column.virtual_column = !column.identity && !column.stored;
            }
            _ => {
                if let Some(mut constraint) = constraint(&part) {
                    column.not_null |= constraint.demands == Demands::PrimaryKey;
                    constraint.columns = vec![column.name.clone()];
                    column.constraints.push(constraint);
                }
            }
        }
    }
    column
}

/// A constraint of a table or a column; `None` for NULL, DEFAULT and GENERATED.
pub(in crate::lint) fn constraint(node: &SyntaxNode) -> Option<Constraint> {
    let lists: Vec<SyntaxNode> = node.children().filter(|child| child.kind() == SyntaxKind::FOREIGN_KEY_COLUMN_LIST).collect();
    let (demands, of) = match node.kind() {
        SyntaxKind::CHECK_CONSTRAINT => {
            let expr = ast::CheckConstraint::cast(node.clone())?.expr();
            (Demands::Check(expr.map(|expr| text(expr.syntax())).unwrap_or_default()), Vec::new())
        }
        SyntaxKind::FOREIGN_KEY_CONSTRAINT => {
            let references = name_in(ast::ForeignKeyConstraint::cast(node.clone())?.table_name_ref()?.syntax())?;
            let referenced = lists.get(1).map(columns).unwrap_or_default();
            (Demands::ForeignKey { references, referenced }, lists.first().map(columns).unwrap_or_default())
        }
        SyntaxKind::REFERENCES_CONSTRAINT => {
            let key = ast::ReferencesConstraint::cast(node.clone())?;
            let referenced = key.column().map(|column| ast::normalize_name_node(column.syntax()));
            let references = name_in(key.table()?.syntax())?;
            (Demands::ForeignKey { references, referenced: referenced.into_iter().collect() }, Vec::new())
        }
        SyntaxKind::UNIQUE_CONSTRAINT => (Demands::Unique, key_columns(node)),
        SyntaxKind::PRIMARY_KEY_CONSTRAINT => (Demands::PrimaryKey, key_columns(node)),
        SyntaxKind::EXCLUDE_CONSTRAINT => (Demands::Exclude, Vec::new()),
        SyntaxKind::NOT_NULL_CONSTRAINT => (Demands::NotNull, columns(node)),
        _ => return None,
    };
    let name = child(node, SyntaxKind::CONSTRAINT_NAME_CLAUSE)
        .and_then(|clause| child(&clause, SyntaxKind::CONSTRAINT_NAME))
        .map(|name| ast::normalize_name_node(&name));
    let using_index = child(node, SyntaxKind::USING_INDEX_NAME).and_then(|using| name_in(&using));
    Some(Constraint {
        demands,
        name,
        columns: of,
        not_valid: holds(node, SyntaxKind::NOT_VALID),
        using_index: using_index.map(|index| index.name().as_str().to_owned()),
    })
}

fn key_columns(node: &SyntaxNode) -> Vec<String> {
    node.descendants().find(|below| below.kind() == SyntaxKind::CONSTRAINT_COLUMN_REF_LIST).map_or_else(Vec::new, |l| columns(&l))
}
