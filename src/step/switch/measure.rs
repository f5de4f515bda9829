//! Measures what readiness is judged by.

use std::time::Duration;

use anyhow::Context;

use super::Switch;
use super::carry::Left;
use crate::cutover::fence::Fence;
use crate::cutover::participant::{Scene, Standing};
use crate::cutover::readiness::{Measured, Measurements};
use crate::pg::explain;
use crate::revocation::{prove, stored_rules};
use crate::step::Cx;
use crate::terms::{Finding, Side};

fn known<T>(result: anyhow::Result<T>) -> Measured<T> {
    result.map_err(|error| explain(&error))
}

impl Switch {
    /// Measures. What fails is not known, and says why.
    pub(super) async fn measure(&self, cx: &Cx, scene: &Scene, to: Side, left: anyhow::Result<Left>) -> Measurements {
        let left = known(left);
        let (revocations, unanalyzed, standbys, participants, obstacles) = tokio::join!(
            self.revocations_unproved(cx, to),
            self.unanalyzed(cx, to),
            standbys(cx, to),
            self.standings(scene),
            self.obstacles(cx, to.other()),
        );
        Measurements {
            to,
            changes_left: left.clone().map(|left| left.changes),
            lag: left.clone().map(|left| left.lag),
            differing: left.map(|left| left.differing),
            revocations_unproved: known(revocations),
            unanalyzed: known(unanalyzed),
            standbys: known(standbys),
            participants,
            obstacles: known(obstacles),
        }
    }

    /// Gives tables statistics that were empty when they were copied and have rows now. Nobody waits for it.
    pub(super) async fn analyze(&self, cx: &Cx, side: Side) -> anyhow::Result<()> {
        let session = cx.connect(side).await?;
        for table in self.unanalyzed(cx, side).await? {
            session.batch_execute(&format!("ANALYZE {table}")).await.with_context(|| format!("ANALYZE {table} on {side}"))?;
        }
        Ok(())
    }

    /// Where each participant stands.
    pub(super) async fn standings(&self, scene: &Scene) -> Vec<(String, Measured<Standing>)> {
        let mut standings = Vec::new();
        for participant in &self.participants {
            standings.push((participant.name().to_owned(), known(participant.standing(scene).await)));
        }
        standings
    }

    /// The fence around what the projections use of a side.
    pub(super) async fn fence(&self, cx: &Cx, side: Side) -> anyhow::Result<Fence> {
        let tables = self.tables_of(side);
        Fence::around(&cx.connect(side).await?, &cx.run, &tables).await
    }

    /// Revocations that have access on the side that is to serve; `None` where the run captures none.
    async fn revocations_unproved(&self, cx: &Cx, to: Side) -> anyhow::Result<Option<u64>> {
        if to == Side::Blue {
            return Ok(None); // what green took away is rows like others on the way back
        }
        let blue = cx.connect(Side::Blue).await?;
        let Some(rules) = stored_rules(&blue, &cx.run).await? else { return Ok(None) };
        let proof = prove(&blue, &cx.connect(to).await?, &cx.run, &rules).await?;
        cx.figure("revocations_captured", proof.captured);
        cx.figure("revocations_replayed", proof.replayed);
        cx.figure("revocations_proved", proof.proved + proof.granted_anew);
        cx.figure("access_restored", proof.restored_access);
        Ok(Some(proof.captured - (proof.proved + proof.granted_anew).min(proof.captured)))
    }

    async fn obstacles(&self, cx: &Cx, side: Side) -> anyhow::Result<Vec<Finding>> {
        self.fence(cx, side).await?.obstacles(&cx.connect(side).await?).await
    }

    async fn unanalyzed(&self, cx: &Cx, side: Side) -> anyhow::Result<Vec<String>> {
        if side == Side::Blue {
            return Ok(Vec::new()); // it served before, with the statistics it has
        }
        let session = cx.connect(side).await?;
        let tables: Vec<String> = self.tables_of(side).iter().map(ToString::to_string).collect();
        let rows = session
            .query(
                "SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name) \
                   AND (c.reltuples < 0 OR c.relpages = 0) AND pg_relation_size(c.oid) > 0 ORDER BY 1",
                &[&tables],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

async fn standbys(cx: &Cx, side: Side) -> anyhow::Result<Vec<(String, Duration)>> {
    let rows = cx
        .connect(side)
        .await?
        .query(
            "SELECT coalesce(nullif(application_name, ''), 'pid ' || pid), coalesce(extract(epoch FROM replay_lag), 0)::float8 \
             FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') ORDER BY 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), Duration::try_from_secs_f64(row.get(1)).unwrap_or_default())).collect())
}
