//! How a replication slot of ours stands (PostgreSQL manual 52.20).

use anyhow::Context;
use serde::Serialize;
use tokio_postgres::Row;

use crate::pg::Session;

/// How a slot stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotState {
    /// Its name.
    pub name: String,
    /// Whether somebody reads it now.
    pub active: bool,
    /// Whether the server threw its log away: it cannot be read any more.
    pub lost: bool,
    /// Bytes of log that were written since what its reader confirmed.
    #[serde(rename = "behind_bytes")]
    pub behind: u64,
    /// Bytes of log that the server keeps for it: since the oldest transaction that its reader may need again.
    #[serde(rename = "kept_bytes")]
    pub kept: u64,
    /// Bytes that may still be written before it is lost; `None`: without end.
    #[serde(rename = "room_bytes")]
    pub room: Option<u64>,
    /// `max_slot_wal_keep_size` in bytes; `None`: without end.
    #[serde(rename = "limit_bytes")]
    pub limit: Option<u64>,
}

impl SlotState {
    /// Whether somebody should look: more than `alarm` waits, or less than a quarter of what may wait is left.
    pub fn alarming(&self, alarm: u64) -> bool {
        self.lost || self.behind > alarm || self.room.zip(self.limit).is_some_and(|(room, limit)| room < limit / 4)
    }

    fn of(row: &Row) -> Self {
        let bytes = |place: usize| row.get::<_, i64>(place).max(0).unsigned_abs();
        Self {
            name: row.get(0),
            active: row.get(1),
            lost: row.get(2),
            behind: bytes(3),
            kept: bytes(4),
            room: row.get::<_, Option<i64>>(5).map(|room| room.max(0).unsigned_abs()),
            limit: row.get::<_, Option<i64>>(6).filter(|limit| *limit >= 0).map(|limit| limit.unsigned_abs() << 20),
        }
    }
}

const STATE: &str = "SELECT slot_name::text, active, wal_status IS NOT DISTINCT FROM 'lost', \
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint, \
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint, \
           safe_wal_size, (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') \
    FROM pg_replication_slots";

/// The state of a slot; `None` when there is none.
///
/// # Errors
/// When the session is gone.
pub async fn slot_state(session: &Session, slot: &str) -> anyhow::Result<Option<SlotState>> {
    let sql = format!("{STATE} WHERE slot_name = $1");
    Ok(session.query_opt(&sql, &[&slot]).await.context(ASKING)?.as_ref().map(SlotState::of))
}

/// The slots of this database that are called as those of our runs are, whoever made them.
///
/// # Errors
/// When the session is gone.
pub async fn own_slots(session: &Session) -> anyhow::Result<Vec<SlotState>> {
    let sql =
        format!("{STATE} WHERE database = current_database() AND plugin = 'pgoutput' AND slot_name ~ '^crossfade_' ORDER BY 1");
    Ok(session.query(&sql, &[]).await.context(ASKING)?.iter().map(SlotState::of).collect())
}

const ASKING: &str = "asking for replication slots";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_somebody_should_look() {
        let state = |behind, room, limit| SlotState {
            name: "s".to_owned(),
            active: false,
            lost: false,
            behind,
            kept: behind,
            room,
            limit,
        };
        assert!(!state(10, None, None).alarming(100));
        assert!(state(101, None, None).alarming(100));
        assert!(!state(10, Some(30), Some(100)).alarming(100));
        assert!(state(10, Some(20), Some(100)).alarming(100));
    }
}
