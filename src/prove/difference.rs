//! What two databases differ in. Pure.

use std::collections::BTreeMap;

/// Properties by kind, object and property.
pub type Catalog = BTreeMap<(String, String, String), String>;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// `table`, `column`, `index`, `rows`, ...
    pub kind: String,
    /// Which one.
    pub object: String,
    /// What of it; empty where the whole object is on one side alone.
    pub property: String,
    /// What the original migrations leave; `None` when they leave nothing.
    pub original: Option<String>,
    /// What the plan leaves.
    pub plan: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, object, property, original, plan } = self;
        match (original, plan) {
            (Some(_), None) => write!(f, "{kind} {object}: only the original migrations make it"),
            (None, Some(_)) => write!(f, "{kind} {object}: only the plan makes it"),
            (original, plan) => write!(
                f,
                "{kind} {object}, {property}: `{}` by the original migrations, `{}` by the plan",
                original.as_deref().unwrap_or_default(),
                plan.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Everything in which two catalogs differ. An object that only one has is one difference.
pub fn differences(original: &Catalog, plan: &Catalog) -> Vec<Difference> {
    let objects = |catalog: &Catalog| -> BTreeMap<(String, String), ()> {
        catalog.keys().map(|(kind, object, _)| ((kind.clone(), object.clone()), ())).collect()
    };
    let (in_original, in_plan) = (objects(original), objects(plan));
    let mut found = Vec::new();
    for (kind, object) in in_original.keys().chain(in_plan.keys().filter(|key| !in_original.contains_key(*key))) {
        let key = (kind.clone(), object.clone());
        let there = |is: bool| is.then(|| "there".to_owned());
        let (a, b) = (in_original.contains_key(&key), in_plan.contains_key(&key));
        if !(a && b) {
            let (kind, object) = key;
            found.push(Difference { kind, object, property: String::new(), original: there(a), plan: there(b) });
            continue;
        }
        let properties = |catalog: &Catalog| -> BTreeMap<String, String> {
            let from = (kind.clone(), object.clone(), String::new());
            let of = catalog.range(from..).take_while(|((k, o, _), _)| k == kind && o == object);
            of.map(|((_, _, property), value)| (property.clone(), value.clone())).collect()
        };
        let (a, b) = (properties(original), properties(plan));
        let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
        for property in names.filter(|name| a.get(*name) != b.get(*name)) {
            found.push(Difference {
                kind: kind.clone(),
                object: object.clone(),
                property: property.clone(),
                original: Some(a.get(property).cloned().unwrap_or_default()),
                plan: Some(b.get(property).cloned().unwrap_or_default()),
            });
        }
    }
    found.sort_by(|a, b| (&a.kind, &a.object, &a.property).cmp(&(&b.kind, &b.object, &b.property)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(entries: &[(&str, &str, &str, &str)]) -> Catalog {
        let owned = |(kind, object, property, value): &(&str, &str, &str, &str)| {
            (((*kind).to_owned(), (*object).to_owned(), (*property).to_owned()), (*value).to_owned())
        };
        entries.iter().map(owned).collect()
    }

    #[test]
    fn an_object_of_one_side_is_one_difference_and_properties_are_named() {
        let one = catalog(&[
            ("column", "t.a", "type", "int"),
            ("column", "t.a", "not null", "true"),
            ("index", "i", "definition", "x"),
            ("index", "i", "valid", "true"),
        ]);
        let other =
            catalog(&[("column", "t.a", "type", "bigint"), ("column", "t.a", "not null", "true"), ("table", "u", "kind", "r")]);
        let said: Vec<String> = differences(&one, &other).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "column t.a, type: `int` by the original migrations, `bigint` by the plan",
                "index i: only the original migrations make it",
                "table u: only the plan makes it",
            ]
        );
        assert_eq!(differences(&one, &one), []);
    }
}
