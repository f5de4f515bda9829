//! Messages of pgoutput about rows and tables (PostgreSQL manual 55.9), protocol version 1. Pure.

use anyhow::{Context, bail};
use bytes::{Buf, Bytes};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the protocol
pub enum Message {
    /// What a table looks like from here on.
    Relation(Relation),
    /// A row came.
    Insert { table: u32, new: Vec<Value> },
    /// A row changed. `old`: its identity when that changed, or the whole old row.
    Update { table: u32, old: Option<Vec<Value>>, new: Vec<Value> },
    /// A row went: its identity or the whole row.
    Delete { table: u32, old: Vec<Value> },
    /// All rows of these tables went.
    Truncate { tables: Vec<u32> },
    /// Nothing that matters here: types, origins.
    Other,
}

/// A table as the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub table: u32,
    /// Its columns in the order of the values.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether old rows carry it.
    pub identity: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL, or a column that an old row does not carry.
    Null,
    /// A large value that the change left as it was: not sent.
    Unchanged,
    /// Its text.
    Text(Bytes),
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// When it is cut off or has another form. Says nothing of values.
    pub fn parse(data: Bytes) -> anyhow::Result<Self> {
        let mut rest = Rest(data);
        Ok(match rest.byte()? {
            b'R' => {
                let table = rest.number()?;
                rest.word()?;
                rest.word()?;
                rest.byte()?;
                let count = rest.count()?;
                let mut columns = Vec::with_capacity(count);
                for _ in 0..count {
                    let identity = rest.byte()? & 1 == 1;
                    columns.push(Column { identity, name: rest.word()? });
                    rest.number()?;
                    rest.number()?;
                }
                Self::Relation(Relation { table, columns })
            }
            b'I' => {
                let table = rest.number()?;
                rest.expect(b'N')?;
                Self::Insert { table, new: rest.row()? }
            }
            b'U' => {
                let table = rest.number()?;
                let old = match rest.byte()? {
                    b'K' | b'O' => {
                        let old = rest.row()?;
                        rest.expect(b'N')?;
                        Some(old)
                    }
                    b'N' => None,
                    other => bail!("an UPDATE in the stream has a part {}", other.escape_ascii()),
                };
                Self::Update { table, old, new: rest.row()? }
            }
            b'D' => {
                let table = rest.number()?;
                match rest.byte()? {
                    b'K' | b'O' => Self::Delete { table, old: rest.row()? },
                    other => bail!("a DELETE in the stream has a part {}", other.escape_ascii()),
                }
            }
            b'T' => {
                let count = rest.number()?;
                rest.byte()?;
                Self::Truncate { tables: (0..count).map(|_| rest.number()).collect::<Result<_, _>>()? }
            }
            _ => Self::Other,
        })
    }
}

/// What of a message is not read yet.
struct Rest(Bytes);

const CUT: &str = "a message of the stream is cut off";

impl Rest {
    fn byte(&mut self) -> anyhow::Result<u8> {
        self.0.try_get_u8().context(CUT)
    }

    fn number(&mut self) -> anyhow::Result<u32> {
        self.0.try_get_u32().context(CUT)
    }

    fn count(&mut self) -> anyhow::Result<usize> {
        Ok(usize::from(self.0.try_get_u16().context(CUT)?))
    }

    fn expect(&mut self, wanted: u8) -> anyhow::Result<()> {
        let found = self.byte()?;
        anyhow::ensure!(found == wanted, "a change in the stream has a part {}", found.escape_ascii());
        Ok(())
    }

    /// Up to a zero byte.
    fn word(&mut self) -> anyhow::Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).context(CUT)?;
        let word = String::from_utf8(self.0.split_to(end).to_vec()).context("a name in the stream is not UTF-8")?;
        self.0.advance(1);
        Ok(word)
    }

    fn row(&mut self) -> anyhow::Result<Vec<Value>> {
        let count = self.count()?;
        let mut row = Vec::with_capacity(count);
        for _ in 0..count {
            row.push(match self.byte()? {
                b'n' => Value::Null,
                b'u' => Value::Unchanged,
                b't' => {
                    let length = usize::try_from(self.number()?)?;
                    anyhow::ensure!(self.0.len() >= length, CUT);
                    Value::Text(self.0.split_to(length))
                }
                other => bail!("a value in the stream has the form {}", other.escape_ascii()),
            });
        }
        Ok(row)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn text(value: &str) -> Value {
        Value::Text(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn row(values: &[Value]) -> Vec<u8> {
        let mut out = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                Value::Null => out.push(b'n'),
                Value::Unchanged => out.push(b'u'),
                Value::Text(text) => {
                    out.push(b't');
                    out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    out.extend(text);
                }
            }
        }
        out
    }

    fn message(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn every_form_is_read() {
        let table = 7_u32.to_be_bytes();
        let (one, two) = (vec![text("1"), Value::Null, Value::Unchanged], vec![text("2"), text(""), text("ü")]);
        let insert = message(&[b"I", &table, b"N", &row(&one)]);
        assert_eq!(Message::parse(insert.clone()).unwrap(), Message::Insert { table: 7, new: one.clone() });
        let update = message(&[b"U", &table, b"N", &row(&one)]);
        assert_eq!(Message::parse(update).unwrap(), Message::Update { table: 7, old: None, new: one.clone() });
        let update = message(&[b"U", &table, b"O", &row(&two), b"N", &row(&one)]);
        assert_eq!(Message::parse(update).unwrap(), Message::Update { table: 7, old: Some(two.clone()), new: one });
        let delete = message(&[b"D", &table, b"K", &row(&two)]);
        assert_eq!(Message::parse(delete).unwrap(), Message::Delete { table: 7, old: two });
        let truncate = message(&[b"T", &2_u32.to_be_bytes(), b"\x01", &table, &9_u32.to_be_bytes()]);
        assert_eq!(Message::parse(truncate).unwrap(), Message::Truncate { tables: vec![7, 9] });
        let column = |identity: u8, name: &str| [&[identity][..], name.as_bytes(), b"\0\0\0\0\x17\xff\xff\xff\xff"].concat();
        let relation =
            message(&[b"R", &table, b"public\0t\0d", &2_u16.to_be_bytes(), &column(1, "id"), &column(0, "an odd one")]);
        let columns =
            vec![Column { name: "id".to_owned(), identity: true }, Column { name: "an odd one".to_owned(), identity: false }];
        assert_eq!(Message::parse(relation.clone()).unwrap(), Message::Relation(Relation { table: 7, columns }));
        assert_eq!(Message::parse(message(&[b"Y", &table])).unwrap(), Message::Other);
        for whole in [insert, relation] {
            for length in 0..whole.len() {
                assert!(Message::parse(whole.slice(..length)).is_err(), "{length} bytes");
            }
        }
    }
}
