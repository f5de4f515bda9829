//! A foreign key as a plan describes it.

use serde::Deserialize;

use crate::pg::ConstraintState;
use crate::sql::{Ident, QualifiedName, Rule};

/// A foreign key with MATCH SIMPLE.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::step) struct ForeignKey {
    pub columns: Vec<Ident>,
    pub references: QualifiedName,
    pub referenced_columns: Vec<Ident>,
    #[serde(default)]
    on_delete: Action,
    #[serde(default)]
    on_update: Action,
    /// INITIALLY IMMEDIATE.
    #[serde(default)]
    deferrable: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    #[serde(rename = "no_action")]
    Nothing,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    /// As SQL writes it and as `pg_constraint` does.
    fn forms(self) -> (&'static str, &'static str) {
        match self {
            Action::Nothing => ("NO ACTION", "a"),
            Action::Restrict => ("RESTRICT", "r"),
            Action::Cascade => ("CASCADE", "c"),
            Action::SetNull => ("SET NULL", "n"),
            Action::SetDefault => ("SET DEFAULT", "d"),
        }
    }
}

impl ForeignKey {
    /// As `ADD CONSTRAINT` takes it.
    pub(in crate::step) fn definition(&self) -> String {
        format!(
            "FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}{}",
            list(&self.columns),
            self.references,
            list(&self.referenced_columns),
            self.on_delete.forms().0,
            self.on_update.forms().0,
            if self.deferrable { " DEFERRABLE" } else { "" }
        )
    }

    /// What it demands of rows.
    pub(in crate::step) fn rule(&self) -> Rule {
        Rule::ForeignKey {
            columns: self.columns.clone(),
            references: self.references.clone(),
            referenced: self.referenced_columns.clone(),
            full: false,
        }
    }

    /// The rows of `table` that point nowhere, as a FROM clause. A key with a NULL in it points nowhere rightly.
    pub(in crate::step) fn orphans(&self, table: &QualifiedName) -> String {
        let filled = self.columns.iter().map(|column| format!("child.{column} IS NOT NULL"));
        let pairs =
            self.columns.iter().zip(&self.referenced_columns).map(|(child, parent)| format!("parent.{parent} = child.{child}"));
        format!(
            "FROM {table} AS child WHERE {} AND NOT EXISTS (SELECT FROM {} AS parent WHERE {})",
            filled.collect::<Vec<_>>().join(" AND "),
            self.references,
            pairs.collect::<Vec<_>>().join(" AND ")
        )
    }

    /// Whether a foreign key that is there is this one; `references` is the referenced table with its schema.
    pub(in crate::step) fn is(&self, there: &ConstraintState, references: &QualifiedName) -> bool {
        names(&self.columns) == there.columns
            && there.deferrable == (self.deferrable, false)
            && !there.definition.ends_with(" NOT ENFORCED") // from PostgreSQL 18 on
            && there.reference.as_ref().is_some_and(|reference| {
                reference.table == *references
                    && names(&self.referenced_columns) == reference.columns
                    && reference.actions.0 == self.on_delete.forms().1
                    && reference.actions.1 == self.on_update.forms().1
            })
    }
}

fn names(columns: &[Ident]) -> Vec<String> {
    columns.iter().map(|column| column.as_str().to_owned()).collect()
}

fn list(columns: &[Ident]) -> String {
    columns.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_a_definition_and_a_search() {
        let text = "columns = ['a', 'b']\nreferences = 's.p'\nreferenced_columns = ['x', 'y']\non_delete = 'set_null'\ndeferrable = true";
        let key: ForeignKey = toml::from_str(text).unwrap();
        assert_eq!(
            key.definition(),
            "FOREIGN KEY (\"a\", \"b\") REFERENCES \"s\".\"p\" (\"x\", \"y\") ON DELETE SET NULL ON UPDATE NO ACTION DEFERRABLE"
        );
        assert_eq!(
            key.orphans(&QualifiedName::bare("t")),
            "FROM \"t\" AS child WHERE child.\"a\" IS NOT NULL AND child.\"b\" IS NOT NULL AND NOT EXISTS \
             (SELECT FROM \"s\".\"p\" AS parent WHERE parent.\"x\" = child.\"a\" AND parent.\"y\" = child.\"b\")"
        );
    }
}
