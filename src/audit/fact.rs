//! One row of facts: what a session (or a token) means to its user. Pure.

/// What a value of a rule is called when it is not there.
pub(super) const NONE: &str = "(none)";

/// One row of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Names it on both sides. Never shown, but as a digest.
    pub key: String,
    /// Its state in the side's own words: a row or column of the matrix.
    pub state: String,
    /// Whether it is good for anything, the clock aside.
    pub valid: bool,
    /// One value for each declared field.
    pub values: Vec<Value>,
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, a link or evidence.
    Text(Option<String>),
    /// A set: sorted, each element once. NULL is the empty set.
    Set(Vec<String>),
    /// Microseconds since 1970-01-01 UTC; `i64::MAX` is infinity.
    Time(Option<i64>),
    /// Yes, no or unknown.
    Flag(Option<bool>),
}

impl Value {
    /// A set of these elements.
    pub fn set(mut elements: Vec<String>) -> Self {
        elements.sort_unstable();
        elements.dedup();
        Value::Set(elements)
    }

    /// As a rule's condition names it: `(none)` for NULL and the empty set, elements of a set joined by a blank, a time only
    /// as `(some)`.
    pub(super) fn as_named(&self) -> String {
        match self {
            Value::Text(text) => text.clone().unwrap_or_else(|| NONE.to_owned()),
            Value::Set(elements) if elements.is_empty() => NONE.to_owned(),
            Value::Set(elements) => elements.join(" "),
            Value::Time(time) => time.map_or(NONE, |_| "(some)").to_owned(),
            Value::Flag(flag) => flag.map_or(NONE.to_owned(), |flag| flag.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_know_no_order() {
        let set = |list: &[&str]| Value::set(list.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(set(&["b", "a", "b"]), set(&["a", "b"]));
        assert_eq!((set(&["b", "a"]).as_named(), set(&[]).as_named()), ("a b".to_owned(), NONE.to_owned()));
    }
}
