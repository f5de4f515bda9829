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
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode, SyntaxToken};

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

/// What is below a statement, walked once for all who look for something.
struct Below {
    /// Itself and every node below.
    nodes: Vec<SyntaxNode>,
    /// Names.
    idents: Vec<SyntaxToken>,
    /// Whether a `*` is somewhere.
    star: bool,
}

impl Below {
    fn of(node: &SyntaxNode) -> Self {
        let mut below = Self { nodes: Vec::new(), idents: Vec::new(), star: false };
        for element in node.descendants_with_tokens() {
            match element {
                SyntaxElement::Node(node) => below.nodes.push(node),
                SyntaxElement::Token(token) if token.kind() == SyntaxKind::IDENT => below.idents.push(token),
                SyntaxElement::Token(token) => below.star |= token.kind() == SyntaxKind::STAR,
            }
        }
        below
    }

    fn of_kind(&self, kind: SyntaxKind) -> impl Iterator<Item = &SyntaxNode> {
        self.nodes.iter().filter(move |node| node.kind() == kind)
    }
}

/// The acts of a statement.
pub(super) fn acts(stmt: &Stmt) -> Vec<Act> {
    let mut acts = Acts::default();
    let below = Below::of(stmt.syntax());
    table::read(stmt, &mut acts);
    rows::read(stmt, &below, &mut acts);
    object::read(stmt, &below, &mut acts);
    words::read(stmt, &below, &mut acts);
    acts.0
}

/// From the first to the last token that is no space, comment or `;`.
pub(super) fn extent(node: &SyntaxNode) -> Range<usize> {
    let range = node.text_range();
    if range.is_empty() {
        return usize::from(range.start())..usize::from(range.start());
    }
    let counts = |token: &SyntaxToken| !token.kind().is_trivia() && token.kind() != SyntaxKind::SEMICOLON;
    let after = |at| Some(at).filter(|at| *at < range.end()).and_then(|at| node.token_at_offset(at).right_biased());
    let before = |at| Some(at).filter(|at| *at > range.start()).and_then(|at| node.token_at_offset(at).left_biased());
    let forwards = std::iter::successors(after(range.start()), |token| after(token.text_range().end()));
    let backwards = std::iter::successors(before(range.end()), |token| before(token.text_range().start()));
    let (first, last) = ({ forwards }.find(counts), { backwards }.find(counts));
    let start = first.map_or(range.start(), |token| token.text_range().start());
    let end = last.map_or(start, |token| token.text_range().end());
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
