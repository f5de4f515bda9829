//! How far the copies of a run are that load rows now.

use crate::pg::Session;
use crate::terms::RunId;

/// A copy that loads rows, or can be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// Its step.
    pub step: String,
    /// Parts that are in.
    pub parts: i64,
    /// Parts that are not.
    pub missing: i64,
    /// Rows that are in.
    pub rows: i64,
    /// Sessions of workers that load beside the driver.
    pub workers: i64,
    /// Whether a person paused it.
    pub paused: bool,
    /// Why the driver lets nobody load now.
    pub waits: Option<String>,
    /// Seconds since its driver was last there.
    pub driven_seconds_ago: i64,
    /// Seconds for which its snapshot is held without a driver; negative when it may have ended.
    pub held_seconds: i64,
}

impl Standing {
    /// The copies of a run.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(green: &Session, run: &RunId) -> anyhow::Result<Vec<Self>> {
        if !green.query_one("SELECT to_regclass('crossfade.copy_snapshot') IS NOT NULL", &[]).await?.get::<_, bool>(0) {
            return Ok(Vec::new());
        }
        let sql = "SELECT s.step, p.parts, (SELECT count(*) FROM crossfade.copy_missing m WHERE m.run = s.run AND m.step = s.step), p.rows, \
                          (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'crossfade/worker/' || s.run AND datname = current_database()), \
                          s.paused, s.waits, extract(epoch FROM clock_timestamp() - s.driven_at)::int8, \
                          extract(epoch FROM s.driven_at + s.held_for - clock_timestamp())::int8 \
                   FROM crossfade.copy_snapshot s CROSS JOIN LATERAL (SELECT count(*) AS parts, coalesce(sum(rows), 0)::int8 AS rows \
                        FROM crossfade.copy_part p WHERE p.run = s.run AND p.step = s.step) AS p \
                   WHERE s.run = $1 ORDER BY s.step";
        let rows = green.query(sql, &[&run.as_str()]).await?;
        let standing = |row: &tokio_postgres::Row| Self {
            step: row.get(0),
            parts: row.get(1),
            missing: row.get(2),
            rows: row.get(3),
            workers: row.get(4),
            paused: row.get(5),
            waits: row.get(6),
            driven_seconds_ago: row.get(7),
            held_seconds: row.get(8),
        };
        Ok(rows.iter().map(standing).collect())
    }

    /// For people, one line.
    pub fn line(&self) -> String {
        let Self { step, parts, missing, rows, workers, .. } = self;
        let beside = if *workers > 0 { format!(", {workers} sessions of workers beside the driver") } else { String::new() };
        let state = match (&self.waits, self.driven_seconds_ago) {
            _ if self.paused => "; paused: `crossfade resume` lets it go on".to_owned(),
            (_, ago) if ago > 15 && self.held_seconds > 0 => {
                format!("; its driver is gone since {ago} s, the snapshot is held for {} s more", self.held_seconds)
            }
            (_, ago) if ago > 15 => "; its driver is gone, and so is the snapshot by now".to_owned(),
            (Some(why), _) => format!("; {why}"),
            (None, _) => String::new(),
        };
        format!("copy {step}: {parts} parts with {rows} rows are in, {missing} are missing{beside}{state}")
    }

    /// Pauses the copies of a run, or lets them go on; gives their steps.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn pause(green: &Session, run: &RunId, pause: bool) -> anyhow::Result<Vec<String>> {
        if Self::read(green, run).await?.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "UPDATE crossfade.copy_snapshot SET paused = $2 WHERE run = $1 RETURNING step";
        let rows = green.query(sql, &[&run.as_str(), &pause]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_said() {
        let standing = Standing {
            step: "s".to_owned(),
            parts: 3,
            missing: 2,
            rows: 40,
            workers: 0,
            paused: false,
            waits: Some("pauses: x".to_owned()),
            driven_seconds_ago: 1,
            held_seconds: 9,
        };
        assert_eq!(standing.line(), "copy s: 3 parts with 40 rows are in, 2 are missing; pauses: x");
        let gone = Standing { driven_seconds_ago: 20, ..standing.clone() };
        assert!(gone.line().ends_with("its driver is gone since 20 s, the snapshot is held for 9 s more"));
        assert!(Standing { held_seconds: -1, ..gone }.line().ends_with("so is the snapshot by now"));
        assert!(
            Standing { paused: true, workers: 4, ..standing }.line().contains("4 sessions of workers beside the driver; paused")
        );
    }
}
