//! Before the hold: the side that is to serve has written what it took in, and has what it will be asked for in memory.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::Switch;
use crate::pg::Session;
use crate::sql::Ident;
use crate::step::Cx;
use crate::terms::Side;

/// Share of `shared_buffers` that is filled at most; the rest stays for what clients ask first.
const SHARE: f64 = 0.75;

/// How long the warming may take before a switch that was planned.
const PLANNED: Duration = Duration::from_mins(5);

/// How long it may take before the way back: that one is often urgent, and its side served a while ago.
const URGENT: Duration = Duration::from_secs(5);

/// What one relation is read with, and how large it is.
struct Relation {
    name: String,
    bytes: i64,
}

impl Switch {
    /// A checkpoint, so that none falls into the hold with everything that was copied, where the role may ask for one (superuser,
    /// or `pg_checkpoint` from PostgreSQL 15 on); then indexes and tables into the shared buffers, smallest first, where
    /// `pg_prewarm` is installed (PostgreSQL manual, appendix F). Nobody waits for it, and it has a limit: what is not warm by
    /// then is read when it is asked for.
    pub(super) async fn warm(&self, cx: &Cx, side: Side) -> anyhow::Result<()> {
        let limit = match side {
            Side::Green => PLANNED,
            Side::Blue => URGENT,
        };
        let until = Instant::now() + limit;
        match self.warm_until(cx, side, until).await {
            // Its session's statement_timeout ends what is under way then.
            Err(_) if Instant::now() >= until => {
                cx.remark(format!("{side} is not wholly warm: its checkpoint and its reading did not end within {limit:?}"));
                Ok(())
            }
            ended => ended,
        }
    }

    async fn warm_until(&self, cx: &Cx, side: Side, until: Instant) -> anyhow::Result<()> {
        let session = cx.connect(side).await?;
        if may_checkpoint(&session).await? {
            limit_statement(&session, until).await?;
            session.batch_execute("CHECKPOINT").await.with_context(|| format!("CHECKPOINT on {side}"))?;
        } else {
            cx.remark(format!(
                "{side}: this role may not ask for a CHECKPOINT; next: GRANT pg_checkpoint to it (PostgreSQL 15 and later)"
            ));
        }
        let schema = session.query_opt(PREWARM, &[]).await?.map(|row| Ident::new(row.get::<_, String>(0)));
        let Some(schema) = schema else {
            cx.remark(format!("{side} is not warmed: pg_prewarm is not installed; next: CREATE EXTENSION pg_prewarm there"));
            return Ok(());
        };
        let tables: Vec<String> = self.tables_of(side).iter().map(ToString::to_string).collect();
        let rows = session.query(RELATIONS, &[&tables]).await?;
        let all: Vec<Relation> = rows.iter().map(|row| Relation { name: row.get(0), bytes: row.get(1) }).collect();
        let buffers: i64 = session.query_one("SELECT pg_size_bytes(current_setting('shared_buffers'))", &[]).await?.get(0);
        let (mut read, mut bytes) = (0, 0);
        for relation in fitting(&all, buffers) {
            if cx.interrupt.soft.is_cancelled() {
                break;
            }
            limit_statement(&session, until).await?;
            session.query_one(&format!("SELECT {schema}.pg_prewarm($1::text::regclass, 'buffer')"), &[&relation.name]).await?;
            (read, bytes) = (read + 1, bytes + relation.bytes);
        }
        cx.remark(format!(
            "{side} is warm: {read} of {} tables and indexes ({bytes} bytes) are in its shared buffers",
            all.len()
        ));
        Ok(())
    }
}

/// The relations, smallest first, that fit into a share of the buffers together.
fn fitting(all: &[Relation], buffers: i64) -> impl Iterator<Item = &Relation> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of a size")]
    let room = (buffers as f64 * SHARE) as i64;
    all.iter().scan(0, move |sum, relation| {
        *sum += relation.bytes;
        (*sum <= room).then_some(relation)
    })
}

/// The next statement of the session ends by then.
async fn limit_statement(session: &Session, until: Instant) -> anyhow::Result<()> {
    let left = until.saturating_duration_since(Instant::now()).as_millis().max(1);
    session.batch_execute(&format!("SET statement_timeout = {left}")).await?;
    Ok(())
}

async fn may_checkpoint(session: &Session) -> anyhow::Result<bool> {
    let sql = "SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \
                   OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(current_user, oid, 'USAGE'))";
    Ok(session.query_one(sql, &[]).await?.get(0))
}

/// The schema of the extension, when it is installed and this role may call it.
const PREWARM: &str = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
     JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pg_prewarm' \
     WHERE e.extname = 'pg_prewarm' AND has_function_privilege(p.oid, 'EXECUTE') LIMIT 1";

/// Tables and their indexes with their sizes, smallest first.
const RELATIONS: &str = "SELECT c.oid::regclass::text, pg_relation_size(c.oid) AS bytes FROM pg_class c \
     WHERE (c.oid IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name) \
         OR c.oid IN (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name))) \
       AND c.relkind IN ('r', 'i', 'm') ORDER BY bytes, 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_together_is_read() {
        let relation = |bytes| Relation { name: String::new(), bytes };
        let all = [relation(10), relation(20), relation(40), relation(50)];
        assert_eq!(fitting(&all, 100).count(), 3);
        assert_eq!(fitting(&all, 8).count(), 0);
        assert_eq!(fitting(&[], 100).count(), 0);
    }
}
