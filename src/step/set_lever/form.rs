//! What a lever's values look like. Only a value of the right form is kept or shown.

use std::time::Duration;

use crate::limits::Size;

/// The longest value, in bytes.
const LONGEST: usize = 40;

/// The form of a lever's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// `90s`, `24h`, `1h0m0s`.
    Time,
    /// `64MB`.
    Size,
    /// `12`, `0.5`.
    Number,
    /// `true`, `false`, `on`, `off`, `yes`, `no`.
    Boolean,
    /// One of these words.
    Word(Vec<String>),
}

impl Form {
    /// The form of a value; of words, those that the plan lists.
    pub fn of(value: &str, values: Vec<String>) -> Result<Self, String> {
        if !values.is_empty() {
            if let Some(odd) = values.iter().find(|word| !plain(word)) {
                return Err(format!("`values`: `{odd}` is not a word of letters, digits, `.`, `_` and `-`"));
            }
            return match values.iter().any(|word| word == value) {
                true => Ok(Form::Word(values)),
                false => Err(format!("`value` is `{value}`, which is not among `values`")),
            };
        }
        // A number is no length of time without its unit.
        [Form::Number, Form::Boolean, Form::Time, Form::Size].into_iter().find(|form| form.fits(value)).ok_or_else(|| {
            "`value` is a length of time (24h), a size (64MB), a number or a boolean; for words list all that may be there in `values`"
                .to_owned()
        })
    }

    /// Whether a value has this form.
    pub fn fits(&self, value: &str) -> bool {
        value.len() <= LONGEST
            && match self {
                Form::Time => time(value).is_some(),
                Form::Size => Size::try_from(value.to_owned()).is_ok(),
                Form::Number => number(value).is_some(),
                Form::Boolean => boolean(value).is_some(),
                Form::Word(words) => words.iter().any(|word| word == value),
            }
    }

    /// Whether two values mean the same: 60m is 1h.
    pub fn same(&self, a: &str, b: &str) -> bool {
        let both = |same: Option<bool>| same.unwrap_or(false);
        a == b
            || match self {
                Form::Time => both(time(a).zip(time(b)).map(|(a, b)| a == b)),
                Form::Size => both(Size::try_from(a.to_owned()).ok().zip(Size::try_from(b.to_owned()).ok()).map(|(a, b)| a == b)),
                Form::Number => both(number(a).zip(number(b)).map(|(a, b)| (a - b).abs() <= f64::EPSILON * a.abs())),
                Form::Boolean => both(boolean(a).zip(boolean(b)).map(|(a, b)| a == b)),
                Form::Word(_) => false,
            }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Form::Time => "length of time",
            Form::Size => "size",
            Form::Number => "number",
            Form::Boolean => "boolean",
            Form::Word(_) => "word of the list",
        })
    }
}

fn plain(word: &str) -> bool {
    (1..=LONGEST).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_forms_and_secrets_have_none() {
        let of = |value: &str| Form::of(value, Vec::new());
        assert_eq!([of("24h"), of("1h0m0s"), of("90")], [Ok(Form::Time), Ok(Form::Time), Ok(Form::Number)]);
        assert_eq!([of("64MB"), of("off")], [Ok(Form::Size), Ok(Form::Boolean)]);
        for secret in ["s3cret", "hunter2", "postgresql://u:p@h/d", "9f86d081884c7d659a2feaa0c55ad015", "1234567890123456", ""] {
            assert!(of(secret).is_err(), "{secret}");
            assert!(![Form::Time, Form::Size, Form::Number, Form::Boolean].iter().any(|form| form.fits(secret)), "{secret}");
        }
        let words = Form::of("jwt", vec!["jwt".to_owned(), "opaque".to_owned()]).unwrap();
        assert!(words.fits("opaque") && !words.fits("s3cret"));
        assert!(Form::of("x", vec!["jwt".to_owned()]).is_err() && Form::of("a b", vec!["a b".to_owned()]).is_err());
    }

    #[test]
    fn values_mean_the_same_in_other_words() {
        assert!(Form::Time.same("60m", "1h") && Form::Time.same("1h0m0s", "3600s") && !Form::Time.same("60m", "2h"));
        assert!(Form::Boolean.same("on", "true") && Form::Number.same("1.0", "1") && Form::Size.same("1000 kB", "1MB"));
    }
}
