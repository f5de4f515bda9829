//! The right rows, staged in tables of ours on green.

use anyhow::Context;
use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::CopyInSink;

use super::file::Mend;
use crate::pg::Session;
use crate::projection::{Blocks, Bound};
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::rows::assignment::Set;
use crate::step::rows::keyed_table::{KeyedTable, list};

/// Where the right rows of one table are staged.
pub(super) struct Stage<'a> {
    /// A session on green; temporary tables are seen by no other.
    pub green: &'a Session,
    /// `crossfade`, or `pg_temp` where nothing may stay.
    pub schema: &'a str,
    /// The table's place in the repairs file.
    pub number: usize,
    /// The table.
    pub table: &'a KeyedTable,
}

/// The right rows of one table.
pub(super) struct Staged {
    /// Key and `update` columns of the rows as they should be.
    pub right: Option<QualifiedName>,
    /// Whole rows that must be there, and their columns.
    pub new: Option<(QualifiedName, Vec<Ident>)>,
}

impl Stage<'_> {
    /// Drops what any attempt staged.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn drop_all(green: &Session, schema: &str, tables: usize) -> anyhow::Result<()> {
        for number in 0..tables {
            for what in ["right", "new"] {
                green.batch_execute(&format!("DROP TABLE IF EXISTS {}", name(schema, what, number))).await?;
            }
        }
        Ok(())
    }

    /// From blue, by a projection.
    pub async fn project(
        &self,
        blue: &Session,
        bound: &Bound,
        update: &[Ident],
        insert_from: &[String],
    ) -> anyhow::Result<Staged> {
        let mut staged = Staged { right: None, new: None };
        if !update.is_empty() {
            let columns: Vec<Ident> = bound.key.iter().chain(update).cloned().collect();
            let sources = bound.sources.iter().map(|source| source.name.clone()).collect::<Vec<_>>();
            let right = self.create("right", &columns).await?;
            self.carry(blue, bound, &columns, &sources, &right).await?;
            staged.right = Some(right);
        }
        if !insert_from.is_empty() {
            let columns: Vec<Ident> = bound.columns.iter().map(|column| column.name.clone()).collect();
            let new = self.create("new", &columns).await?;
            self.carry(blue, bound, &columns, insert_from, &new).await?;
            staged.new = Some((new, columns));
        }
        Ok(staged)
    }

    /// By queries on green.
    pub async fn declare(&self, rows: Option<&str>, insert: Option<&str>, update: &[Ident]) -> anyhow::Result<Staged> {
        let mut staged = Staged { right: None, new: None };
        if let Some(query) = rows {
            let columns: Vec<Ident> =
                self.table.key.iter().map(|column| column.name.clone()).chain(update.iter().cloned()).collect();
            let right = self.create("right", &columns).await?;
            self.fill(&right, &columns, query).await?;
            staged.right = Some(right);
        }
        if let Some(query) = insert {
            let statement = self.green.prepare(query).await?;
            let columns: Vec<Ident> = statement.columns().iter().map(|column| Ident::new(column.name())).collect();
            let new = self.create("new", &columns).await?;
            self.fill(&new, &columns, query).await?;
            staged.new = Some((new, columns));
        }
        Ok(staged)
    }

    async fn create(&self, what: &str, columns: &[Ident]) -> anyhow::Result<QualifiedName> {
        let name = name(self.schema, what, self.number);
        let unlogged = if self.schema == "pg_temp" { "" } else { "UNLOGGED " };
        let columns = list(columns.iter().map(Ident::to_string));
        let sql = format!("CREATE {unlogged}TABLE {name} AS SELECT {columns} FROM {} WITH NO DATA", self.table.name);
        self.green.batch_execute(&sql).await?;
        Ok(name)
    }

    async fn fill(&self, into: &QualifiedName, columns: &[Ident], query: &str) -> anyhow::Result<()> {
        let columns = list(columns.iter().map(Ident::to_string));
        let sql = format!("INSERT INTO {into} ({columns}) SELECT {columns} FROM ({query}\n) AS wanted");
        self.green.batch_execute(&sql).await?;
        self.index(into).await
    }

    async fn carry(
        &self,
        blue: &Session,
        bound: &Bound,
        columns: &[Ident],
        sources: &[String],
        into: &QualifiedName,
    ) -> anyhow::Result<()> {
        let places: Vec<usize> =
            columns.iter().filter_map(|name| bound.columns.iter().position(|column| column.name == *name)).collect();
        let mut narrow = bound.clone();
        narrow.table = into.clone();
        narrow.columns = places.iter().map(|at| bound.columns[*at].clone()).collect();
        narrow.sources.retain(|source| sources.contains(&source.name));
        for (source, whole) in narrow.sources.iter_mut().map(|source| (source.expressions.clone(), source)) {
            whole.expressions = places.iter().map(|at| source[*at].clone()).collect();
        }
        for source in &narrow.sources {
            let what = || format!("source {}", source.name);
            let sink: CopyInSink<Bytes> = self.green.copy_in(&narrow.copy_in()).await.with_context(what)?;
            let mut sink = std::pin::pin!(sink);
            let mut out = std::pin::pin!(blue.copy_out(&narrow.copy_out(source, Blocks::ALL)).await.with_context(what)?);
            while let Some(bytes) = out.try_next().await.with_context(what)? {
                sink.send(bytes).await.with_context(what)?;
            }
            sink.finish().await.with_context(what)?;
        }
        self.index(into).await
    }

    async fn index(&self, name: &QualifiedName) -> anyhow::Result<()> {
        let sql = format!("ALTER TABLE {name} ADD PRIMARY KEY ({}); ANALYZE {name}", self.table.key_list());
        self.green.batch_execute(&sql).await.context("the right rows have no key, or one of them twice")
    }
}

fn name(schema: &str, what: &str, number: usize) -> QualifiedName {
    QualifiedName::new(schema, format!("repair_{what}_{number}"))
}

impl Staged {
    /// A condition on the table's rows: not as they should be, and called damaged.
    pub fn damaged(&self, mend: &Mend, table: &KeyedTable) -> Option<String> {
        let right = self.right.as_ref()?;
        let here = table.name.name();
        let row = |of: &str| list(mend.update.iter().map(|column| format!("{of}.{column}::text")));
        Some(format!(
            "EXISTS (SELECT FROM {right} AS should WHERE {} AND ({}) IS DISTINCT FROM ({})) AND ({}\n)",
            same(table, "should", &here.to_string()),
            format_args!("ROW({})", row("should")),
            format_args!("ROW({})", row(&here.to_string())),
            mend.only.as_deref().unwrap_or("true"),
        ))
    }

    /// A condition on a row set aside (`due.old`, `due.written`): what the step wrote is not what the row should have.
    pub fn changed_wrongly(&self, mend: &Mend, table: &KeyedTable) -> Option<String> {
        let right = self.right.as_ref()?;
        let same: Vec<String> = table.key.iter().map(|column| format!("should.{0} = (due.old).{0}", column.name)).collect();
        Some(format!(
            "NOT EXISTS (SELECT FROM {right} AS should WHERE {} AND ROW({})::text = due.written)",
            same.join(" AND "),
            list(mend.update.iter().map(|column| format!("should.{column}"))),
        ))
    }

    /// A condition on a row of the table: it is not one of those that must be there.
    pub fn made_wrongly(&self, table: &KeyedTable) -> Option<String> {
        let (new, columns) = self.new.as_ref()?;
        let here = table.name.name().to_string();
        let row = |of: &str| list(columns.iter().map(|column| format!("{of}.{column}::text")));
        Some(format!(
            "NOT EXISTS (SELECT FROM {new} AS should WHERE {} AND ROW({}) IS NOT DISTINCT FROM ROW({}))",
            same(table, "should", &here),
            row("should"),
            row(&here),
        ))
    }

    /// The right value of each column, for the row that is updated.
    pub fn assignments(&self, mend: &Mend, table: &KeyedTable) -> Set {
        let Some(right) = &self.right else { return Set::new() };
        let here = table.name.name().to_string();
        let value =
            |column: &Ident| format!("SELECT should.{column} FROM {right} AS should WHERE {}", same(table, "should", &here));
        mend.update.iter().map(|column| (column.clone(), format!("({})", value(column)))).collect()
    }

    /// What stands after FROM to give the rows that would be made. `noted` says whether there is a table of rows made before.
    pub fn missing(&self, mend: &Mend, table: &KeyedTable, noted: bool) -> Option<String> {
        let (new, _) = self.new.as_ref()?;
        Some(format!("{new} AS {} WHERE {}", table.name.name(), absent(table, mend.insert_only.as_deref(), noted)))
    }
}

/// A condition on a right row under the table's name: it is not in the table, was never made before, and `only` holds.
pub(super) fn absent(table: &KeyedTable, only: Option<&str>, noted: bool) -> String {
    let here = table.name.name().to_string();
    let mut condition = format!("NOT EXISTS (SELECT FROM {} AS there WHERE {})", table.name, same(table, "there", &here));
    if noted {
        condition += &format!(
            " AND NOT EXISTS (SELECT FROM crossfade.repair_made AS made WHERE made.table_name = {} AND made.row_key = {} \
               AND made.unmade_at IS NULL)",
            Literal::new(table.name.plain()),
            format_args!(
                "jsonb_build_object({})",
                list(
                    table
                        .key
                        .iter()
                        .map(|column| { format!("{}, {here}.{}::text", Literal::new(column.name.as_str()), column.name) })
                )
            ),
        );
    }
    if let Some(only) = only {
        condition += &format!(" AND ({only}\n)");
    }
    condition
}

fn same(table: &KeyedTable, one: &str, other: &str) -> String {
    let pairs = table.key.iter().map(|column| format!("{one}.{name} = {other}.{name}", name = column.name));
    pairs.collect::<Vec<_>>().join(" AND ")
}
