//! Replication slots that nobody reads: the server keeps its log for them until the disk is full.

use async_trait::async_trait;

use super::Topic;
use super::ground::{Ground, size};
use crate::sql::{Ident, Literal};
use crate::terms::{Finding, Severity};

/// Slots without a reader (PostgreSQL manual 52.20, `pg_replication_slots`).
pub(super) struct Slots;

#[async_trait]
impl Topic for Slots {
    fn name(&self) -> &'static str {
        "replication slots"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT slot_name::text, \
                          pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
                                          restart_lsn)::bigint \
                   FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY 1";
        let rows = ground.session.query(sql, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let name: String = row.get(0);
                let what = format!(
                    "nobody reads it, and the server keeps {} of log for it: what the plan writes adds to that",
                    size(row.get(1))
                );
                let slot = Literal::new(&name);
                let next = match name.strip_prefix("crossfade_") {
                    Some(_) => format!(
                        "follow or roll back the crossfade run it is named after; when that is gone: SELECT pg_drop_replication_slot({slot}); \
                         DROP PUBLICATION {}",
                        Ident::new(&name)
                    ),
                    None => format!("start its reader, or when nobody needs it: SELECT pg_drop_replication_slot({slot})"),
                };
                ground.finding(Severity::Warning, &format!("replication slot {name}"), what, next)
            })
            .collect())
    }
}
