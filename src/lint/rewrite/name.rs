//! The names that PostgreSQL gives to what a migration leaves unnamed. Source: `makeObjectName` and `ChooseConstraintName` of the
//! server: the parts with `_` between them, the longer one cut first where 63 bytes are too few. A name that is taken already gets a
//! number there and none here; `crossfade prove` shows that.

use crate::sql::QualifiedName;

/// Bytes of a name at most (`NAMEDATALEN` - 1).
const LONGEST: usize = 63;

/// The name of an object of `table` about these columns: `orders`, `[a, b]`, `fkey` → `orders_a_b_fkey`.
pub(super) fn of(table: &QualifiedName, columns: &[String], label: &str) -> String {
    let (mut first, mut second) = (table.name().as_str().to_owned(), columns.join("_"));
    let overhead = label.len() + 1 + usize::from(!second.is_empty());
    while first.len() + second.len() + overhead > LONGEST {
        if first.len() > second.len() {
            first.pop()
        } else {
            second.pop()
        };
    }
    [first, second, label.to_owned()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_server() {
        let of = |table: &str, columns: &[&str], label| {
            super::of(&QualifiedName::bare(table), &columns.iter().map(|&c| c.to_owned()).collect::<Vec<_>>(), label)
        };
        assert_eq!(of("orders", &["a", "b"], "fkey"), "orders_a_b_fkey");
        assert_eq!(of("orders", &[], "pkey"), "orders_pkey");
        let long = of(&"t".repeat(60), &["column_of_some_length"], "key");
        assert_eq!(long, format!("{}_column_of_some_length_key", "t".repeat(37)));
        assert_eq!(long.len(), LONGEST);
    }
}
