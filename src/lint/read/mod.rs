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
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::act::{Act, What};
use crate::sql::contents::Contents;
use crate::sql::contents::each;
pub(super) use crate::sql::contents::{extent, text};
use crate::sql::parser::ident_in;

/// Collects the acts of one statement. Ranges are those of the parsed text.
struct Acts<'s> {
    found: Vec<Act>,
    /// The statement, and its extent: that of most acts.
    whole: (&'s SyntaxNode, Range<usize>),
}

impl Acts<'_> {
    fn add(&mut self, node: &SyntaxNode, what: What) {
        let at = if node == self.whole.0 { self.whole.1.clone() } else { extent(node) };
        self.found.push(Act { what, at });
    }

    fn some(&mut self, node: &SyntaxNode, what: Option<What>) {
        if let Some(what) = what {
            self.add(node, what);
        }
    }
}

/// What is below a statement, walked once for all who look for something.
struct Below<'s> {
    contents: &'s Contents,
    /// The nodes of [`Below::KINDS`], in the order of the text.
    nodes: Vec<SyntaxNode>,
}

impl<'s> Below<'s> {
    const KINDS: [SyntaxKind; 6] = [
        SyntaxKind::UPDATE,
        SyntaxKind::DELETE,
        SyntaxKind::INSERT,
        SyntaxKind::MERGE,
        SyntaxKind::CALL_EXPR,
        SyntaxKind::LITERAL,
    ];

    fn of(node: &SyntaxNode, contents: &'s Contents) -> Self {
        let nodes = match contents.any(&Self::KINDS) {
            true => node.descendants().filter(|below| Self::KINDS.contains(&below.kind())).collect(),
            false => Vec::new(),
        };
        Self { contents, nodes }
    }

    fn of_kind(&self, kind: SyntaxKind) -> impl Iterator<Item = &SyntaxNode> {
        self.nodes.iter().filter(move |node| node.kind() == kind)
    }
}

/// The acts of a statement with these contents.
pub(super) fn acts(stmt: &Stmt, contents: &Contents) -> Vec<Act> {
    let node = stmt.syntax();
    let whole = contents.extent.clone().unwrap_or_else(|| extent(node));
    let mut acts = Acts { found: Vec::new(), whole: (node, whole) };
    let below = Below::of(node, contents);
    table::read(stmt, contents, &mut acts);
    rows::read(stmt, &below, &mut acts);
    object::read(stmt, &below, &mut acts);
    words::read(stmt, &below, &mut acts);
    acts.found
}

/// The first child of this kind.
fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// Whether a node of this kind is below.
fn holds(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    let mut held = false;
    each(node, |below, token| held |= below == kind && token.is_none());
    held
}

/// Whether a token of this kind is a direct part.
fn token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens().any(|element| element.kind() == kind)
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
