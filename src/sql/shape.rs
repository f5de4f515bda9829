//! A statement without its values: what may be shown of other people's queries, and kept of our own.

use squawk_lexer::TokenKind;

/// The longest shape, in characters.
const LONGEST: usize = 240;

/// `text` with every constant as `?`, without comments and line ends, cut at 240 characters. Also of text that was cut itself
/// (`pg_stat_activity.query`): a string that does not end is a constant up to its end.
pub fn shape(text: &str) -> String {
    let (mut whole, mut at) = (String::new(), 0);
    for token in squawk_lexer::tokenize(text) {
        let end = at + token.len as usize;
        match token.kind {
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. } => {
                if !whole.is_empty() && !whole.ends_with(' ') {
                    whole.push(' ');
                }
            }
            TokenKind::Literal { .. } | TokenKind::Unknown | TokenKind::QuotedIdent { terminated: false, .. } => whole.push('?'),
            _ => whole.push_str(&text[at..end]),
        }
        at = end;
    }
    let whole = whole.trim_end_matches([' ', ';']);
    match whole.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &whole[..at]),
        None => whole.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn constants_are_left_out() {
        let cases = [
            ("SELECT * FROM t WHERE a = 'secret' AND b = 42", "SELECT * FROM t WHERE a = ? AND b = ?"),
            ("UPDATE t\n  SET a = E'it\\'s', -- why\n b = 1.5e3;", "UPDATE t SET a = ?, b = ?"),
            ("DO $x$ secret $x$", "DO ?"),
            ("SELECT 'cut off in the mid", "SELECT ?"),
            ("SELECT $$cut off", "SELECT ?"),
            ("ALTER TABLE \"T 1\" ADD c text DEFAULT 'x'", "ALTER TABLE \"T 1\" ADD c text DEFAULT ?"),
            ("SELECT U&'sec', b'101', x'ff', N'sec'", "SELECT ?, ?, ?, ?"),
            ("", ""),
        ];
        for (text, wanted) in cases {
            assert_eq!(shape(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_long_one_is_cut() {
        let long = shape(&format!("SELECT {}", "column, ".repeat(100)));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_string_comes_through_however_the_text_is_cut(word in "[a-z]{1,12}", cut in 0usize..200) {
            let text = format!("SELECT f('Q7x{word}'), $t$Q7x{word}$t$, E'\\'Q7x{word}' FROM t WHERE c IN ('Q7x{word}', 7)");
            prop_assert!(!shape(&text[..cut.min(text.len())]).contains("Q7x"));
        }
    }
}
