//! The words and signs of a text, where no tree is needed.

use std::ops::Range;

use squawk_lexer::TokenKind;

/// Each word and sign of `text` with its bytes, without the space and comments between them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (TokenKind, Range<usize>)> {
    let mut end = 0;
    let tokens = squawk_lexer::tokenize(text).map(move |token| {
        let start = end;
        end += token.len as usize;
        (token.kind, start..end)
    });
    tokens.filter(|(kind, _)| !matches!(kind, TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. }))
}
