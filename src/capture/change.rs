//! From a change in the stream to what is kept of it. Pure.

use super::pgoutput::{Relation, Value};
use super::table::CapturedTable;

/// Values of the captured columns.
pub(super) type Keys = Vec<Option<String>>;

/// What is kept of a change, as triggers write it: the operation and the keys; no keys for a TRUNCATE.
pub(super) type Kept = (u8, Option<Keys>);

/// A captured table together with what the stream says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// Which: counts the captured tables.
    pub place: usize,
    /// Where the captured columns are in a row.
    keys: Vec<usize>,
    /// Where the columns are whose change counts beside these; `None`: any.
    watch: Option<Vec<usize>>,
    /// Whether old rows carry them all.
    whole: bool,
    /// A captured column that old rows do not carry.
    lacking: Option<String>,
}

/// What is wrong with a change: the column, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    /// What is wrong, as a sentence without a subject.
    pub what: String,
}

impl Described {
    /// Finds the captured columns among those of the stream.
    ///
    /// # Errors
    /// When one is not there any more.
    pub fn of(place: usize, captured: &CapturedTable, relation: &Relation) -> Result<Self, Lacking> {
        let find = |name: &crate::sql::Ident| {
            let found = relation.columns.iter().position(|column| column.name == name.as_str());
            found.ok_or_else(|| Lacking { what: format!("lost column {} (dropped or renamed)", name.as_str()) })
        };
        let keys = captured.columns.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let watch = captured.watch.as_ref().map(|watch| watch.iter().map(find).collect::<Result<Vec<_>, _>>()).transpose()?;
        let lacking = keys.iter().map(|at| &relation.columns[*at]).find(|column| !column.identity);
        Ok(Self {
            place,
            lacking: lacking.map(|column| column.name.clone()),
            whole: relation.columns.iter().all(|column| column.identity),
            keys,
            watch,
        })
    }

    /// A row that came.
    ///
    /// # Errors
    /// When a value is no UTF-8.
    pub fn insert(&self, new: &[Value]) -> Result<Vec<Kept>, Lacking> {
        Ok(vec![(b'i', Some(self.values(new, None)?))])
    }

    /// A row that went.
    ///
    /// # Errors
    /// When the table's replica identity does not carry the captured columns.
    pub fn delete(&self, old: &[Value]) -> Result<Vec<Kept>, Lacking> {
        self.identified()?;
        Ok(vec![(b'd', Some(self.values(old, None)?))])
    }

    /// A row that changed. Without `old` its identity stayed, and with it the captured columns.
    ///
    /// # Errors
    /// As [`Described::delete`].
    pub fn update(&self, old: Option<&[Value]>, new: &[Value]) -> Result<Vec<Kept>, Lacking> {
        self.identified()?;
        let after = self.values(new, old)?;
        if let Some(old) = old {
            let before = self.values(old, None)?;
            if before != after {
                return Ok(vec![(b'c', Some(before)), (b'c', Some(after))]);
            }
        }
        let counts = match (&self.watch, old.filter(|_| self.whole)) {
            (None, _) => true,
            (Some(watch), Some(old)) => {
                watch.iter().any(|at| new.get(*at) != Some(&Value::Unchanged) && new.get(*at) != old.get(*at))
            }
            (Some(watch), None) => !watch.is_empty(), // what they were is not known
        };
        Ok(if counts { vec![(b'u', Some(after))] } else { Vec::new() })
    }

    fn identified(&self) -> Result<(), Lacking> {
        match &self.lacking {
            Some(column) => Err(Lacking { what: format!("has a replica identity without column {column}") }),
            None => Ok(()),
        }
    }

    /// The captured values of a row. Where one was not sent it is that of `old`.
    fn values(&self, row: &[Value], old: Option<&[Value]>) -> Result<Keys, Lacking> {
        let value = |at: &usize| {
            let value = match row.get(*at) {
                Some(Value::Unchanged) => old.and_then(|old| old.get(*at)),
                value => value,
            };
            match value {
                Some(Value::Null) => Ok(None),
                Some(Value::Text(text)) => match std::str::from_utf8(text) {
                    Ok(text) => Ok(Some(text.to_owned())),
                    Err(_) => Err(Lacking { what: "has a value that is not UTF-8".to_owned() }),
                },
                Some(Value::Unchanged) | None => {
                    Err(Lacking { what: "was changed without the value of a captured column in the stream".to_owned() })
                }
            }
        };
        self.keys.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pgoutput::Column;
    use super::super::pgoutput::tests::text;
    use super::*;
    use crate::sql::{Ident, QualifiedName};

    fn described(identity: &[&str], watch: Option<&[&str]>) -> Described {
        let names = ["id", "by", "w", "free"];
        let columns = names.map(|name| Column { name: name.to_owned(), identity: identity.contains(&name) }).to_vec();
        let list = |names: &[&str]| names.iter().map(|name| Ident::new(*name)).collect::<Vec<_>>();
        let captured = CapturedTable {
            id: 1,
            step: "s".to_owned(),
            table: QualifiedName::new("public", "t"),
            oid: 7,
            columns: if identity.contains(&"by") { list(&["by", "id"]) } else { list(&["id"]) },
            watch: watch.map(list),
            alarm: 0,
            slot: Some("s".to_owned()),
        };
        Described::of(0, &captured, &Relation { table: 7, columns }).unwrap()
    }

    const ALL: &[&str] = &["id", "by", "w", "free"];

    fn row(values: [&str; 4]) -> Vec<Value> {
        values.iter().map(|value| if *value == "-" { Value::Unchanged } else { text(value) }).collect()
    }

    fn kept(operation: u8, keys: &[&str]) -> Kept {
        (operation, Some(keys.iter().map(|key| Some((*key).to_owned())).collect()))
    }

    #[test]
    fn a_whole_old_row_tells_what_changed() {
        let table = described(ALL, Some(&["w"]));
        let old = row(["1", "b", "w", "f"]);
        assert_eq!(table.insert(&old).unwrap(), [kept(b'i', &["b", "1"])]);
        assert_eq!(table.delete(&old).unwrap(), [kept(b'd', &["b", "1"])]);
        assert_eq!(table.update(Some(&old), &row(["1", "b", "w", "other"])).unwrap(), []);
        assert_eq!(table.update(Some(&old), &row(["1", "b", "-", "other"])).unwrap(), []);
        assert_eq!(table.update(Some(&old), &row(["1", "b", "x", "f"])).unwrap(), [kept(b'u', &["b", "1"])]);
        let moved = [kept(b'c', &["b", "1"]), kept(b'c', &["c", "1"])];
        assert_eq!(table.update(Some(&old), &row(["1", "c", "w", "f"])).unwrap(), moved);
        assert_eq!(table.update(Some(&old), &row(["1", "-", "x", "f"])).unwrap(), [kept(b'u', &["b", "1"])]);
    }

    #[test]
    fn an_identity_tells_moves_and_no_more() {
        let new = row(["1", "b", "w", "f"]);
        let old = vec![text("0"), Value::Null, Value::Null, Value::Null];
        assert_eq!(described(&["id"], None).update(None, &new).unwrap(), [kept(b'u', &["1"])]);
        assert_eq!(described(&["id"], Some(&["w"])).update(None, &new).unwrap(), [kept(b'u', &["1"])]);
        assert_eq!(described(&["id"], Some(&[])).update(None, &new).unwrap(), []);
        assert_eq!(described(&["id"], None).update(Some(&old), &new).unwrap(), [kept(b'c', &["0"]), kept(b'c', &["1"])]);
        assert_eq!(described(&["id"], None).delete(&old).unwrap(), [kept(b'd', &["0"])]);
    }

    #[test]
    fn what_the_identity_lacks_is_said() {
        let none = described(&["w"], None);
        assert!(none.insert(&row(["1", "b", "w", "f"])).is_ok());
        assert!(none.delete(&row(["1", "b", "w", "f"])).unwrap_err().what.contains("without column id"));
        let large = described(&["id"], None).insert(&row(["-", "b", "w", "f"])).unwrap_err();
        assert!(large.what.contains("without the value"), "{large:?}");
    }
}
