//! Rows from a query on blue into a staging table of green.

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, RowStream, Statement};

use crate::pg::Session;

/// Rows are handed on in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// Values by column: what `unnest($1, $2, ...)` takes.
pub(super) type Columns = Vec<Vec<Option<String>>>;

/// A value as the server sent it. The binary form of a value in a query's answer and in binary COPY is the same (PostgreSQL
/// manual, COPY, binary format: it is that of the type's send function).
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// How rows travel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// As binary COPY, or as text.
    pub binary: bool,
    /// A number put in front of every row.
    pub tag: Option<i16>,
}

/// Puts rows that blue gives into a staging table of green by `copy`, a `COPY ... FROM STDIN`. Returns their number.
///
/// # Errors
/// When a session is gone, blue cannot derive a row, or green refuses a value.
pub(super) async fn stage(rows: RowStream, green: &Session, copy: &Statement, form: Form) -> anyhow::Result<u64> {
    let mut rows = Box::pin(rows);
    let mut sink = None;
    let mut buffer = BytesMut::with_capacity(PIECE * 2);
    let mut count = 0;
    while let Some(row) = rows.try_next().await.context("read on blue")? {
        let sink = match &mut sink {
            Some(sink) => sink,
            None => {
                if form.binary {
                    buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
                    buffer.put_i64(0); // flags, length of the header's extension
                }
                sink.insert(Box::pin(green.copy_in::<_, Bytes>(copy).await.context("write on green")?))
            }
        };
        match form.binary {
            true => put_binary(&mut buffer, &row, form.tag)?,
            false => put_text(&mut buffer, &row, form.tag)?,
        }
        count += 1;
        if buffer.len() >= PIECE {
            sink.send(buffer.split().freeze()).await.context("write on green")?;
        }
    }
    if let Some(mut sink) = sink {
        if form.binary {
            buffer.put_i16(-1);
        }
        sink.send(buffer.freeze()).await.context("write on green")?;
        sink.as_mut().finish().await.context("green refuses a value that blue's row gives")?;
    }
    Ok(count)
}

fn put_binary(buffer: &mut BytesMut, row: &Row, tag: Option<i16>) -> anyhow::Result<()> {
    buffer.put_i16(i16::try_from(row.len() + usize::from(tag.is_some()))?);
    if let Some(tag) = tag {
        buffer.put_i32(2);
        buffer.put_i16(tag);
    }
    for place in 0..row.len() {
        match row.try_get::<_, Option<Raw<'_>>>(place)? {
            None => buffer.put_i32(-1),
            Some(Raw(bytes)) => {
                buffer.put_i32(i32::try_from(bytes.len())?);
                buffer.put_slice(bytes);
            }
        }
    }
    Ok(())
}

fn put_text(buffer: &mut BytesMut, row: &Row, tag: Option<i16>) -> anyhow::Result<()> {
    let mut between = false;
    if let Some(tag) = tag {
        buffer.put_slice(tag.to_string().as_bytes());
        between = true;
    }
    for place in 0..row.len() {
        if std::mem::replace(&mut between, true) {
            buffer.put_u8(b'\t');
        }
        match row.try_get::<_, Option<Raw<'_>>>(place)? {
            None => buffer.put_slice(b"\\N"),
            Some(Raw(text)) => put_escaped(buffer, text),
        }
    }
    buffer.put_u8(b'\n');
    Ok(())
}

/// A value of COPY's text format (PostgreSQL manual, COPY, text format).
fn put_escaped(buffer: &mut BytesMut, text: &[u8]) {
    for byte in text {
        let escape = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => {
                buffer.put_u8(*other);
                continue;
            }
        };
        buffer.put_slice(&[b'\\', escape]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut buffer = BytesMut::new();
        put_escaped(&mut buffer, b"a\tb\\N\r\nc");
        assert_eq!(&buffer[..], b"a\\tb\\\\N\\r\\nc");
    }
}
