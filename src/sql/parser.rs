//! The one door to the grammar. Parsing happens on a thread with a large stack, so that deeply nested text cannot end the
//! process, and a fault of the parser itself becomes an answer.

use std::sync::OnceLock;

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{Parse, SourceFile, SyntaxKind, SyntaxNode};

use super::{Ident, QualifiedName};

const STACK_BYTES: usize = 256 << 20;
/// Brackets inside brackets that the stack holds with room to spare (measured: 3 000 fit into 8 MB).
const DEEPEST: usize = 10_000;

/// Parses `text` and gives the tree to `read`.
///
/// # Errors
/// When the text is nested too deeply, is longer than 1 GB, or the parser itself fails.
pub(super) fn parsed<T: Send>(text: &str, read: impl FnOnce(&Parse<SourceFile>) -> T + Send) -> Result<T, &'static str> {
    readable(text)?;
    with_room(|| read(&SourceFile::parse(text)))
}

/// Whether text of this size and depth can be parsed where there is room ([`with_room`]).
pub(crate) fn readable(text: &str) -> Result<(), &'static str> {
    if depth(text) > DEEPEST {
        return Err("brackets are nested too deeply to be read");
    }
    if text.len() > 1 << 30 {
        return Err("the text is longer than 1 GB");
    }
    Ok(())
}

/// Does `work` on a thread whose stack is large enough for any readable text.
pub(crate) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, &'static str> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).name("sql".to_owned());
        let running = thread.spawn_scoped(scope, work);
        running.map_err(|_| "no thread for the parser")?.join().map_err(|_| "the parser failed on this text")
    })
}

/// Deepest nesting of brackets, taking no notice of quotes: an upper bound.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' => now += 1,
            b')' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// The line of this byte, from 1.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// The first node of this type below (or at) `node`.
pub(crate) fn find<N: AstNode>(node: &SyntaxNode) -> Option<N> {
    node.descendants().find_map(N::cast)
}

/// The name in the outermost path at or below `node`: its last two parts (a leading database name says nothing).
pub(crate) fn name_in(node: &SyntaxNode) -> Option<QualifiedName> {
    let path = node.descendants().find(|node| matches!(node.kind(), SyntaxKind::PATH_REF | SyntaxKind::PATH))?;
    name_of_path(&path)
}

/// The name a path node spells.
fn name_of_path(path: &SyntaxNode) -> Option<QualifiedName> {
    let mut parts = parts_of(path);
    let name = parts.pop()?;
    Some(match parts.pop() {
        Some(schema) => QualifiedName::new(schema, name),
        None => QualifiedName::bare(name),
    })
}

/// The table of a `table.column` path.
pub(crate) fn owner_in(node: &SyntaxNode) -> Option<QualifiedName> {
    let path = node.descendants().find(|node| node.kind() == SyntaxKind::PATH_REF)?;
    let owner = path.children().find(|child| child.kind() == SyntaxKind::PATH_REF)?;
    name_of_path(&owner)
}

/// One plain name, as PostgreSQL stores it.
pub(crate) fn ident_in(node: &SyntaxNode) -> Option<Ident> {
    Some(name_in(node).map_or_else(|| Ident::new(ast::normalize_name_node(node)), |name| name.name().clone()))
        .filter(|ident| !ident.as_str().is_empty())
}

fn parts_of(path: &SyntaxNode) -> Vec<String> {
    path.descendants()
        .filter(|node| matches!(node.kind(), SyntaxKind::PATH_SEGMENT_REF | SyntaxKind::PATH_SEGMENT))
        .map(|node| ast::normalize_name_node(&node))
        .collect()
}

/// The name of a syntax kind as words: `CREATE_INDEX` is "CREATE INDEX". Each is spelt once.
pub(crate) fn words(kind: SyntaxKind) -> &'static str {
    const KINDS: usize = SyntaxKind::__LAST as usize + 1;
    static SPELT: [OnceLock<String>; KINDS] = [const { OnceLock::new() }; KINDS];
    SPELT[kind as usize].get_or_init(|| format!("{kind:?}").replace('_', " "))
}

/// Whether `name`, used at `place`, is a common table expression there (PostgreSQL manual 7.8) and no table.
pub(super) fn is_cte(name: &QualifiedName, place: &SyntaxNode) -> bool {
    name.schema().is_none()
        && place.ancestors().any(|outer| {
            outer.children().filter_map(ast::WithClause::cast).any(|with| {
                with.with_tables().any(|cte| {
                    let before = cte.syntax().text_range().end() <= place.text_range().start();
                    let named = cte.name().is_some_and(|known| ast::normalize_name_node(known.syntax()) == name.name().as_str());
                    named && (before || with.recursive_token().is_some())
                })
            })
        })
}
