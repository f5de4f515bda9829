//! What stands in a part of a syntax tree, found in one pass: later searches are spared where there is nothing to find.
//! The pass goes over the shared tree, which needs no node of its own for each step as the views of `SyntaxNode` do.

use std::ops::Range;

use squawk_syntax::{SyntaxKind, SyntaxNode};

const WORDS: usize = SyntaxKind::__LAST as usize / 64 + 1;

/// The kinds of nodes and tokens of a part of a tree, and its extent.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    kinds: [u64; WORDS],
    /// From the first to the last token that is no space, comment or `;` (a `;` may be the first). `None` where there is none.
    pub extent: Option<Range<usize>>,
    /// The bytes of the longest name.
    pub longest_name: usize,
}

impl Contents {
    /// Of this node and everything below it.
    pub fn of(node: &SyntaxNode) -> Self {
        let mut contents = Self { kinds: [0; WORDS], extent: None, longest_name: 0 };
        let (mut first, mut last) = (None, None);
        each(node, |kind, token| {
            contents.kinds[kind as usize / 64] |= 1 << (kind as usize % 64);
            let Some((at, text)) = token.filter(|_| !kind.is_trivia()) else { return };
            if kind == SyntaxKind::IDENT {
                contents.longest_name = contents.longest_name.max(text.len());
            }
            first = first.or(Some(at));
            if kind != SyntaxKind::SEMICOLON {
                last = Some(at + text.len());
            }
        });
        contents.extent = first.zip(last).map(|(start, end)| start..end);
        contents
    }

    /// Whether a node or token of this kind is there.
    pub fn has(&self, kind: SyntaxKind) -> bool {
        self.kinds[kind as usize / 64] & 1 << (kind as usize % 64) != 0
    }

    /// Whether one of these is there.
    pub fn any(&self, kinds: &[SyntaxKind]) -> bool {
        kinds.iter().any(|kind| self.has(*kind))
    }
}

/// Every node and token at and below `node`, in the order of the text; tokens with the byte they begin at and their text.
pub(crate) fn each(node: &SyntaxNode, mut seen: impl FnMut(SyntaxKind, Option<(usize, &str)>)) {
    let green = node.green();
    let mut at = usize::from(node.text_range().start());
    seen(node.kind(), None);
    let mut open = vec![green.children()];
    while let Some(children) = open.last_mut() {
        let Some(child) = children.next() else {
            open.pop();
            continue;
        };
        if let Some(token) = child.into_token() {
            seen(SyntaxKind::from(token.kind().0), Some((at, token.text())));
            at += usize::from(token.text_len());
        } else if let Some(inner) = child.into_node() {
            seen(SyntaxKind::from(inner.kind().0), None);
            open.push(inner.children());
        }
    }
}

/// The text of `node` from its first to its last token that is no space, comment or `;`.
pub(crate) fn text(node: &SyntaxNode) -> String {
    let (mut text, mut end) = (String::with_capacity(node.text_range().len().into()), 0);
    each(node, |kind, token| {
        let Some((_, token)) = token.filter(|_| end > 0 || counts(kind)) else { return };
        text.push_str(token);
        if counts(kind) {
            end = text.len();
        }
    });
    text.truncate(end);
    text
}

/// Whether a token is more than the space around a statement.
fn counts(kind: SyntaxKind) -> bool {
    !kind.is_trivia() && kind != SyntaxKind::SEMICOLON
}

/// From the first to the last token of `node` that is no space, comment or `;`; its empty beginning where there is none.
pub(crate) fn extent(node: &SyntaxNode) -> Range<usize> {
    let (green, range) = (node.green(), node.text_range());
    let mut start = usize::from(range.start());
    let mut open = vec![green.children()];
    let found = 'first: {
        while let Some(children) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                continue;
            };
            if let Some(token) = child.into_token() {
                if counts(SyntaxKind::from(token.kind().0)) {
                    break 'first true;
                }
                start += usize::from(token.text_len());
            } else if let Some(inner) = child.into_node() {
                open.push(inner.children());
            }
        }
        false
    };
    if !found {
        let start = usize::from(range.start());
        return start..start;
    }
    let mut end = usize::from(range.end());
    let mut open = vec![green.children().rev()];
    while let Some(children) = open.last_mut() {
        let Some(child) = children.next() else {
            open.pop();
            continue;
        };
        if let Some(token) = child.into_token() {
            if counts(SyntaxKind::from(token.kind().0)) {
                break;
            }
            end -= usize::from(token.text_len());
        } else if let Some(inner) = child.into_node() {
            open.push(inner.children().rev());
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use squawk_syntax::SourceFile;
    use squawk_syntax::ast::AstNode;

    use super::*;

    #[test]
    fn contents_are_those_of_the_tree() {
        let text = "/* a */ SELECT é_long, 'x' FROM t WHERE a IN (SELECT 1); -- b\n; ";
        let parse = SourceFile::parse(text);
        let tree = parse.tree();
        for node in tree.syntax().descendants() {
            let contents = Contents::of(&node);
            let tokens = || node.descendants_with_tokens().filter_map(|element| element.into_token());
            let counted = || tokens().filter(|token| !token.kind().is_trivia());
            let start = counted().next().map(|token| usize::from(token.text_range().start()));
            let end = counted().filter(|token| token.kind() != SyntaxKind::SEMICOLON).last();
            let end = end.map(|token| usize::from(token.text_range().end()));
            assert_eq!(contents.extent, start.zip(end).map(|(start, end)| start..end), "{:?}", node.kind());
            let own = extent(&node);
            assert_eq!(super::text(&node), text[own], "{:?}", node.kind());
            let there: Vec<SyntaxKind> = node.descendants_with_tokens().map(|element| element.kind()).collect();
            for kind in (0..SyntaxKind::__LAST as u16).map(SyntaxKind::from) {
                assert_eq!(contents.has(kind), there.contains(&kind), "{kind:?} in {:?}", node.kind());
            }
            let longest = tokens().filter(|token| token.kind() == SyntaxKind::IDENT).map(|token| token.text().len()).max();
            assert_eq!(contents.longest_name, longest.unwrap_or(0));
        }
    }
}
