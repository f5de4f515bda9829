//! From the syntax tree to acts.

mod body;
mod column;
mod expression;
mod object;
mod rows;
mod table;
mod words;

pub(super) use body::{Bodies, bodies};
pub(super) use column::constraint;
pub(super) use expression::volatility;

use std::ops::Range;

use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode};

use super::act::{Act, What};
use crate::sql::parser::ident_in;

/// Collects the acts of one statement. Ranges are those of the parsed text.
#[derive(Default)]
pub(super) struct Acts(Vec<Act>);

impl Acts {
    fn add(&mut self, node: &SyntaxNode, what: What) {
        self.0.push(Act { what, at: extent(node) });
    }

    fn some(&mut self, node: &SyntaxNode, what: Option<What>) {
        if let Some(what) = what {
            self.add(node, what);
        }
    }
}

/// The acts of a statement.
pub(super) fn acts(stmt: &Stmt) -> Vec<Act> {
    let mut acts = Acts::default();
    table::read(stmt, &mut acts);
    rows::read(stmt, &mut acts);
    object::read(stmt, &mut acts);
    words::read(stmt, &mut acts);
    acts.0
}

/// From the first to the last token that is no space, comment or `;`.
pub(super) fn extent(node: &SyntaxNode) -> Range<usize> {
    let tokens = || {
        node.descendants_with_tokens()
            .filter_map(SyntaxElement::into_token)
            .filter(|token| !token.kind().is_trivia() && token.kind() != SyntaxKind::SEMICOLON)
    };
    let start = tokens().next().map_or(node.text_range().start(), |token| token.text_range().start());
    let end = tokens().last().map_or(start, |token| token.text_range().end());
    usize::from(start)..usize::from(end)
}

/// The first child of this kind.
fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// Whether a node of this kind is below.
fn holds(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.descendants().any(|below| below.kind() == kind)
}

/// Whether a token of this kind is a direct part.
fn token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens().any(|element| element.kind() == kind)
}

/// The text without spaces and comments around it.
pub(in crate::lint) fn text(node: &SyntaxNode) -> String {
    let text = node.text().to_string();
    let (start, own) = (usize::from(node.text_range().start()), extent(node));
    text.get(own.start - start..own.end - start).unwrap_or(&text).to_owned()
}

/// The plain names in a node, as PostgreSQL stores them: columns of a list.
fn columns(list: &SyntaxNode) -> Vec<String> {
    let is = |node: &SyntaxNode| matches!(node.kind(), SyntaxKind::COLUMN_NAME_REF | SyntaxKind::COLUMN_NAME);
    list.descendants().filter(is).map(|node| ast::normalize_name_node(&node)).collect()
}

/// The name of a node that is just a name.
fn plain(node: Option<impl AstNode>) -> Option<String> {
    ident_in(node?.syntax()).map(|ident| ident.as_str().to_owned())
}

/// A type as written.
pub(super) fn type_of(text: &str) -> Option<super::act::Ty> {
    Some(expression::written(text)).filter(|ty| !ty.base.is_empty())
}
