//! What a misspelt word was probably meant to be.

/// How alike two words must be (Jaro-Winkler, 0 to 1) before one is suggested for the other.
const ALIKE: f64 = 0.8;

/// The known word that is most like this one; `None` when none is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(name, word);
    known.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|near| alike(near) > ALIKE)
}

/// serde's message about an unknown field or variant, with the nearest of those it names: "unknown field `tabel`, expected
/// `table`". Any other message stays as it is.
pub fn with_suggestion(message: &str) -> String {
    let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|begin| message.split_once(begin));
    let Some((word, expected)) = unknown.and_then(|(_, rest)| rest.split_once("`, expected ")) else {
        return message.to_owned();
    };
    let known = expected.lines().next().unwrap_or_default().split('`').skip(1).step_by(2);
    match nearest(word, known) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_near_is_suggested() {
        let said = with_suggestion("unknown field `tabel`, expected one of `side`, `table`, `name`");
        assert!(said.ends_with("`name`; did you mean `table`?"), "{said}");
        assert!(with_suggestion("unknown variant `bleu`, expected `blue` or `green`").ends_with("did you mean `blue`?"));
        for other in ["unknown field `zzz`, expected `side`", "missing field `side`", "unknown field `a`, there are no fields"] {
            assert_eq!(with_suggestion(other), other);
        }
    }
}
