//! What differs, key by key. Pure.

use std::collections::HashMap;

use serde::Serialize;

use crate::sql::Ident;

/// The text of each key column.
pub type Key = Vec<Option<String>>;

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The projection gives it, green does not hold it.
    Missing,
    /// Green holds it, the projection does not give it.
    Extra,
    /// Both have it, with other values.
    Different,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 3] = [Class::Missing, Class::Extra, Class::Different];

    /// As stored in `crossfade.divergence`.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Missing => "missing",
            Class::Extra => "extra",
            Class::Different => "different",
        }
    }
}

/// The keys that differ: all counted, the first [`Differences::KEPT`] kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    counts: [u64; 3],
    kept: Vec<(Class, Key)>,
}

impl Differences {
    /// How many keys of a table are kept.
    pub const KEPT: usize = 10_000;

    /// How many keys differ in this way.
    pub fn count(&self, class: Class) -> u64 {
        self.counts[class as usize]
    }

    /// How many differ.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The keys that are kept.
    pub fn kept(&self) -> &[(Class, Key)] {
        &self.kept
    }

    fn add(&mut self, class: Class, key: Key) {
        self.counts[class as usize] += 1;
        if self.kept.len() < Self::KEPT {
            self.kept.push((class, key));
        }
    }

    /// Adds what differs between the rows of some buckets on blue and on green.
    pub(super) fn classify(&mut self, blue: Rows, mut green: Rows) {
        let mut keys: Vec<(Key, (u64, i128))> = blue.0.into_iter().collect();
        keys.sort();
        for (key, row) in keys {
            match green.0.remove(&key) {
                None => self.add(Class::Missing, key),
                Some(other) if other != row => self.add(Class::Different, key),
                Some(_) => {}
            }
        }
        let mut keys: Vec<Key> = green.0.into_keys().collect();
        keys.sort();
        keys.into_iter().for_each(|key| self.add(Class::Extra, key));
    }
}

/// The rows of some buckets: per key their number (a projection may give a key twice) and hash sum.
#[derive(Debug, Default)]
pub(super) struct Rows(HashMap<Key, (u64, i128)>);

impl Rows {
    pub(super) fn add(&mut self, key: Key, hash: i64) {
        let entry = self.0.entry(key).or_default();
        entry.0 += 1;
        entry.1 += i128::from(hash);
    }
}

/// The key as a JSON object: column name to text.
pub(super) fn key_json(columns: &[Ident], key: &Key) -> serde_json::Value {
    let text = |value: &Option<String>| value.clone().map_or(serde_json::Value::Null, serde_json::Value::String);
    columns.iter().zip(key).map(|(column, value)| (column.as_str().to_owned(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(entries: &[(&str, i64)]) -> Rows {
        let mut rows = Rows::default();
        for (key, hash) in entries {
            rows.add(vec![Some((*key).to_owned())], *hash);
        }
        rows
    }

    #[test]
    fn keys_are_missing_extra_or_different() {
        let mut found = Differences::default();
        found.classify(rows(&[("same", 1), ("other", 2), ("gone", 3), ("twice", 4), ("twice", 4)]), {
            rows(&[("same", 1), ("other", 5), ("new", 6), ("twice", 4)])
        });
        assert_eq!([1, 1, 2], Class::ALL.map(|class| found.count(class)));
        assert_eq!(found.kept()[0], (Class::Missing, vec![Some("gone".to_owned())]));
        assert_eq!(found.kept().last().unwrap().0, Class::Extra);
    }

    #[test]
    fn all_are_counted_though_not_all_are_kept() {
        let mut found = Differences::default();
        let mut many = Rows::default();
        (0..20_000).for_each(|number| many.add(vec![Some(format!("{number}"))], 0));
        found.classify(many, Rows::default());
        assert_eq!((found.total(), found.kept().len()), (20_000, Differences::KEPT));
    }

    #[test]
    fn keys_become_objects() {
        let columns = [Ident::new("id"), Ident::new("nid")];
        assert_eq!(key_json(&columns, &vec![Some("a".to_owned()), None]).to_string(), r#"{"id":"a","nid":null}"#);
    }
}
