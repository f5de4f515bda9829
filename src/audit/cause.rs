//! Declared rules: which difference comes from what, and what users would see of it. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::declaration::conditions;
use super::{Class, Fact, Field};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    class: Class,
    blue: Condition,
    green: Condition,
    /// The suspected cause.
    pub cause: String,
    /// What users would see.
    pub users_see: String,
    /// Whether it is what users do on green once green serves, and no damage then.
    pub later: bool,
}

/// Column → the values it may have, as [`super::Value::as_named`] gives them. All columns must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition(pub BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    class: String,
    field: Option<String>,
    #[serde(default)]
    blue: toml::Table,
    #[serde(default)]
    green: toml::Table,
    cause: String,
    users_see: String,
    #[serde(default)]
    later: bool,
}

impl Written {
    pub(super) fn check(self, fields: &[Field]) -> Result<Cause, Vec<String>> {
        let mut wrong = Vec::new();
        let class = match Class::named(&self.class, self.field.as_deref(), fields) {
            Ok(class) => Some(class),
            Err(what) => {
                wrong.push(what);
                None
            }
        };
        let mut read = |table: &toml::Table| {
            conditions(table, fields).unwrap_or_else(|more| {
                wrong.extend(more);
                Condition::default()
            })
        };
        let (blue, green) = (read(&self.blue), read(&self.green));
        let (cause, users_see, later) = (self.cause, self.users_see, self.later);
        match class {
            Some(class) if wrong.is_empty() => Ok(Cause { class, blue, green, cause, users_see, later }),
            _ => Err(wrong),
        }
    }
}

impl Condition {
    fn fits(&self, fact: Option<&Fact>, fields: &[Field]) -> bool {
        let Some(fact) = fact else { return self.0.is_empty() };
        self.0.iter().all(|(column, wanted)| {
            let found = match column.as_str() {
                "state" => Some(fact.state.clone()),
                "valid" => Some(fact.valid.to_string()),
                name => fields.iter().position(|field| field.name == name).map(|at| fact.values[at].as_named()),
            };
            found.is_some_and(|found| wanted.contains(&found))
        })
    }
}

/// The first rule that explains a difference of this class.
pub(super) fn of(causes: &[Cause], class: Class, blue: Option<&Fact>, green: Option<&Fact>, fields: &[Field]) -> Option<usize> {
    let fits = |rule: &Cause| rule.class == class && rule.blue.fits(blue, fields) && rule.green.fits(green, fields);
    causes.iter().position(fits)
}
