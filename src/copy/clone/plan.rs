//! In what order definitions come around the rows. Pure.

use std::collections::BTreeMap;

use super::{Entry, Owner};
use crate::sql::QualifiedName;

/// When a statement comes. The order is the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// With the rows of its table: an index, beside others.
    Chain,
    /// After the indexes of its table.
    Last,
    /// When all rows and their indexes are there, in order.
    Later,
    /// A foreign key, rows not looked at.
    Key,
    /// Its look at the rows.
    Validate,
    /// After the foreign keys, in order.
    After,
    /// At the very end: what would react to our own statements.
    End,
}

impl Stage {
    /// Its name in `crossfade.clone_entry`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Chain => "chain",
            Stage::Last => "last",
            Stage::Later => "later",
            Stage::Key => "key",
            Stage::Validate => "validate",
            Stage::After => "after",
            Stage::End => "end",
        }
    }
}

/// A statement and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub stage: Stage,
    /// Its table, for [`Stage::Chain`], [`Stage::Last`] and [`Stage::Validate`].
    pub table: Option<QualifiedName>,
    /// What messages call it.
    pub object: String,
    /// The statements.
    pub text: String,
}

/// Gives every entry of the section after the rows its time. An index that a primary key or unique constraint will own is built
/// first, beside others, and taken over: the constraint itself would hold the table alone for as long as the build takes.
pub fn plan(entries: &[Entry], owners: &[Owner]) -> Vec<Planned> {
    let flat = |name: &str| name.replace(['\n', '\r'], " "); // as pg_dump writes names into headers
    let mut held: BTreeMap<(String, String), &Owner> = BTreeMap::new();
    for owner in owners {
        let schema = owner.index.schema().map(|schema| flat(schema.as_str())).unwrap_or_default();
        let (index, table) = (owner.index.name().as_str(), owner.table.name().as_str());
        let name = if owner.constraint { format!("{} {}", flat(table), flat(index)) } else { flat(index) };
        held.insert((schema, name), owner);
    }
    let (mut planned, mut keys_begun) = (Vec::new(), false);
    for entry in entries {
        let object = format!("{} {}", entry.sort.to_lowercase(), entry.name);
        let owner = held.get(&(entry.schema.clone(), entry.name.clone())).copied();
        let one = |stage, table: Option<&QualifiedName>, text: String| Planned {
            stage,
            table: table.cloned(),
            object: object.clone(),
            text,
        };
        match (entry.sort.as_str(), owner) {
            ("INDEX", Some(owner)) if !owner.constraint => {
                planned.push(one(Stage::Chain, Some(&owner.table), entry.text.clone()));
            }
            ("CONSTRAINT", Some(owner)) if owner.constraint => match taken_over(entry, owner) {
                Some((index, constraint)) => {
                    planned.push(one(Stage::Chain, Some(&owner.table), index));
                    planned.push(one(Stage::Last, Some(&owner.table), constraint));
                }
                None => planned.push(one(Stage::Last, Some(&owner.table), entry.text.clone())),
            },
            ("FK CONSTRAINT", _) => {
                keys_begun = true;
                match unchecked(&entry.text) {
                    Some((table, add, validate)) => {
                        planned.push(one(Stage::Key, None, add));
                        let table = QualifiedName::try_from(table).ok(); // of one table one after the other
                        planned.push(one(Stage::Validate, table.as_ref(), validate));
                    }
                    None => planned.push(one(Stage::Key, None, entry.text.clone())),
                }
            }
            ("EVENT TRIGGER", _) => planned.push(one(Stage::End, None, entry.text.clone())),
            (_, _) if entry.name.starts_with("EVENT TRIGGER ") => planned.push(one(Stage::End, None, entry.text.clone())),
            _ => planned.push(one(if keys_begun { Stage::After } else { Stage::Later }, None, entry.text.clone())),
        }
    }
    planned
}

/// The index of a constraint as a statement of its own, and the constraint over it with whatever its entry says besides.
fn taken_over(entry: &Entry, owner: &Owner) -> Option<(String, String)> {
    let (index, words) = owner.ahead.as_ref()?;
    let at = entry.text.find("ALTER TABLE ")?;
    let (settings, rest) = entry.text.split_at(at);
    let (first, more) = rest.split_once(";\n").unwrap_or((rest.trim_end().trim_end_matches(';'), ""));
    let (head, _) = first.split_once("\n    ADD CONSTRAINT ")?;
    let name = owner.index.name();
    Some((format!("{settings}{index};"), format!("{head} ADD CONSTRAINT {name} {words};\n{more}")))
}

/// The foreign key without a look at the rows, and that look: table as the text has it, statement, statement. `None` for one
/// that cannot be split (of a partitioned table) or was never validated.
fn unchecked(text: &str) -> Option<(String, String, String)> {
    let statement = text.trim_end().strip_suffix(';')?;
    if statement.ends_with("NOT VALID") {
        return None;
    }
    let at = statement.find("ALTER TABLE ONLY ")?;
    let (head, rest) = statement[at..].split_once("\n    ADD CONSTRAINT ")?;
    let table = head.strip_prefix("ALTER TABLE ONLY ")?;
    let (name, _) = rest.split_once(" FOREIGN KEY (")?;
    let validate = format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {name};");
    Some((table.to_owned(), format!("{statement} NOT VALID;"), validate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, sort: &str, text: &str) -> Entry {
        Entry { name: name.to_owned(), sort: sort.to_owned(), schema: "s".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn constraints_take_over_indexes_and_keys_look_later() {
        let owner = |index: &str, ahead: Option<(&str, &str)>, constraint| Owner {
            index: QualifiedName::new("s", index),
            table: QualifiedName::new("s", "t"),
            ahead: ahead.map(|(a, b)| (a.to_owned(), b.to_owned())),
            constraint,
        };
        let owners = [
            owner("u", Some(("CREATE UNIQUE INDEX u ON s.t (x)", "UNIQUE USING INDEX u DEFERRABLE")), true),
            owner("i", None, false),
            owner("e", None, true),
        ];
        let entries = [
            entry(
                "t u",
                "CONSTRAINT",
                "SET default_tablespace = '';\n\nALTER TABLE ONLY s.t\n    ADD CONSTRAINT u UNIQUE (x) DEFERRABLE;\n\nALTER TABLE s.t CLUSTER ON u;",
            ),
            entry("t e", "CONSTRAINT", "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT e EXCLUDE USING gist (x WITH =);"),
            entry("i", "INDEX", "CREATE INDEX i ON s.t (x);"),
            entry("p", "INDEX", "CREATE INDEX p ON ONLY s.parted (x);"),
            entry("t k", "FK CONSTRAINT", "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES s.o(x);"),
            entry("CONSTRAINT k ON t", "COMMENT", "COMMENT ..."),
            entry("x", "EVENT TRIGGER", "CREATE EVENT TRIGGER x"),
        ];
        let planned = plan(&entries, &owners);
        let found: Vec<(Stage, &str)> = planned.iter().map(|planned| (planned.stage, planned.text.as_str())).collect();
        let expected = [
            (Stage::Chain, "SET default_tablespace = '';\n\nCREATE UNIQUE INDEX u ON s.t (x);"),
            (
                Stage::Last,
                "ALTER TABLE ONLY s.t ADD CONSTRAINT \"u\" UNIQUE USING INDEX u DEFERRABLE;\n\nALTER TABLE s.t CLUSTER ON u;",
            ),
            (Stage::Last, "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT e EXCLUDE USING gist (x WITH =);"),
            (Stage::Chain, "CREATE INDEX i ON s.t (x);"),
            (Stage::Later, "CREATE INDEX p ON ONLY s.parted (x);"),
            (Stage::Key, "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES s.o(x) NOT VALID;"),
            (Stage::Validate, "ALTER TABLE ONLY s.t VALIDATE CONSTRAINT k;"),
            (Stage::After, "COMMENT ..."),
            (Stage::End, "CREATE EVENT TRIGGER x"),
        ];
        assert_eq!(found, expected);
    }
}
