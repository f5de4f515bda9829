//! What every check stands on: a read-only session on one side, and the plan's tables as that side has them.

use anyhow::Context;

use super::Needs;
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};
use crate::step::{Cx, Use};
use crate::terms::{Finding, Severity, Side};

/// A session on one side and what the plan needs there.
pub(super) struct Ground<'a> {
    pub side: Side,
    pub session: Session,
    pub needs: &'a Needs,
}

/// A relation of the plan that is there.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub oid: u32,
    /// Its name with its schema.
    pub name: QualifiedName,
    /// `pg_class.relkind`.
    pub kind: String,
    /// `pg_class.relpersistence`.
    pub persistence: String,
    /// Whether it is a partition or an inheritance child, or has such children.
    pub related: bool,
    /// Everything on disk that belongs to it, in bytes; 0 for what has no storage.
    pub bytes: i64,
    /// What the plan does with it.
    pub uses: Vec<Use>,
}

impl Table {
    /// As a finding calls it.
    pub fn label(&self) -> String {
        format!("table {}", self.name.plain())
    }

    /// Whether the plan uses it in one of these ways.
    pub fn is_used(&self, how: &[Use]) -> bool {
        self.uses.iter().any(|used| how.contains(used))
    }
}

impl<'a> Ground<'a> {
    /// Opens the session: read-only, with time limits, so that a check neither changes nor holds up anything.
    ///
    /// # Errors
    /// When the side cannot be reached.
    pub async fn open(cx: &Cx, side: Side, needs: &'a Needs) -> anyhow::Result<Self> {
        let session = cx.connect(side).await?;
        session
            .batch_execute("SET default_transaction_read_only = on; SET statement_timeout = '60s'; SET lock_timeout = '2s'")
            .await
            .with_context(|| format!("cannot set up a read-only session on {side}"))?;
        Ok(Self { side, session, needs })
    }

    /// The plan's tables that are there; an index stands for its table.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn tables(&self) -> anyhow::Result<Vec<Table>> {
        let touched: Vec<_> = self.needs.touched.iter().filter(|touched| touched.side == self.side).collect();
        let schemas: Vec<Option<&str>> = touched.iter().map(|touched| touched.relation.schema().map(Ident::as_str)).collect();
        let names: Vec<&str> = touched.iter().map(|touched| touched.relation.name().as_str()).collect();
        let rows = self
            .session
            .query(
                // Not to_regclass for a name with a schema: that asks for USAGE on it, which may be what is missing.
                "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
                        c.relispartition OR EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)), \
                        CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(pg_total_relation_size(c.oid), 0) ELSE 0 END, \
                        array_agg(w.place::int ORDER BY w.place) \
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, place) \
                 JOIN pg_class named ON named.oid = CASE WHEN w.schema IS NULL THEN to_regclass(quote_ident(w.name)) \
                      ELSE (SELECT r.oid FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace \
                            WHERE s.nspname = w.schema AND r.relname = w.name) END \
                 LEFT JOIN pg_index x ON x.indexrelid = named.oid \
                 JOIN pg_class c ON c.oid = coalesce(x.indrelid, named.oid) \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') \
                   AND c.relkind IN ('r', 'p', 'f', 'v', 'm') \
                 GROUP BY c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition \
                 ORDER BY n.nspname, c.relname",
                &[&schemas, &names],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| {
                let places: Vec<i32> = row.get(7);
                let mut uses: Vec<Use> = places
                    .iter()
                    .filter_map(|place| usize::try_from(place - 1).ok().and_then(|place| touched.get(place)))
                    .map(|touched| touched.how)
                    .collect();
                uses.dedup();
                Table {
                    oid: row.get(0),
                    name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                    kind: row.get(3),
                    persistence: row.get(4),
                    related: row.get(5),
                    bytes: row.get(6),
                    uses,
                }
            })
            .collect())
    }

    /// The object ids of the plan's tables that it uses in one of these ways.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn oids(&self, how: &[Use]) -> anyhow::Result<Vec<u32>> {
        Ok(self.tables().await?.iter().filter(|table| table.is_used(how)).map(|table| table.oid).collect())
    }

    /// A finding about an object of this side.
    pub fn finding(&self, severity: Severity, object: &str, what: impl Into<String>, next: impl Into<String>) -> Finding {
        Finding { severity, object: format!("{object} on {}", self.side), what: what.into(), next: next.into() }
    }

    /// The server's version, 150018 for 15.18.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn version(&self) -> anyhow::Result<i32> {
        Ok(self.session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0))
    }

    /// What role and database are called, quoted for SQL.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn role_and_database(&self) -> anyhow::Result<(String, String)> {
        let row = self.session.query_one("SELECT quote_ident(current_user), quote_ident(current_database())", &[]).await?;
        Ok((row.get(0), row.get(1)))
    }
}

/// Every way to use a table.
pub(super) const ANY: &[Use] = &[Use::Reads, Use::Carries, Use::Writes, Use::Walks, Use::Alters, Use::Captures, Use::Fills];

/// A length of time in whole units, as people say it.
pub(super) fn ago(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what u64 holds")]
    let whole = seconds.clamp(0.0, 1e12) as u64;
    humantime::format_duration(std::time::Duration::from_secs(whole)).to_string()
}

/// Bytes as people say them.
pub(super) fn size(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are enough")]
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} kB", b / 1e3),
    }
}
