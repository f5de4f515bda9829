//! Triggers and rules that act when the plan writes.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// User triggers and rules of the tables that are written.
pub(super) struct Triggers;

#[async_trait]
impl Topic for Triggers {
    fn name(&self) -> &'static str {
        "triggers and rules"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT 'trigger ' || tgname, tgenabled = 'A' FROM pg_trigger \
                     WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D' \
                   UNION ALL SELECT 'rule ' || rulename, NULL FROM pg_rewrite \
                     WHERE ev_class = $1 AND ev_type <> '1' AND ev_enabled <> 'D' ORDER BY 1";
        let mut findings = Vec::new();
        for table in ground.tables().await?.iter().filter(|table| table.is_used(&[Use::Fills, Use::Walks, Use::Writes])) {
            for row in ground.session.query(sql, &[&table.oid]).await? {
                let (name, is_rule): (String, bool) = (row.get(0), row.get::<_, Option<bool>>(1).is_none());
                let object = format!("{name} of {}", table.name.plain());
                let (severity, what, next) = match (table.is_used(&[Use::Fills]), is_rule) {
                    (true, false) => (
                        Severity::Warning,
                        "would fire for every row: the copy switches it off while it loads, so what it writes or checks elsewhere is missing for those rows",
                        "let projections carry what it writes; it is switched on again when the copy ends",
                    ),
                    (true, true) => (
                        Severity::Warning,
                        "does not apply to COPY, by which the rows come, and applies to every statement after it",
                        "let projections carry what it would write elsewhere, or drop it until the copy is over",
                    ),
                    (false, false) => (
                        Severity::Warning,
                        "may fire for every row that the plan changes",
                        "make sure that is meant: what it writes elsewhere is not taken back by an undo",
                    ),
                    (false, true) => (
                        Severity::Warning,
                        "rewrites statements that change rows: rows may not change, or others may",
                        "drop it before the plan, or make sure that is meant",
                    ),
                };
                findings.push(ground.finding(severity, &object, what, next));
            }
        }
        Ok(findings)
    }
}

/// Event triggers, which fire for DDL.
pub(super) struct EventTriggers;

#[async_trait]
impl Topic for EventTriggers {
    fn name(&self) -> &'static str {
        "event triggers"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        if !ground.needs.uses(ground.side, &[Use::Alters, Use::Captures, Use::Fills]) {
            return Ok(Vec::new());
        }
        let sql = "SELECT quote_ident(evtname), evtevent::text FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1";
        let rows = ground.session.query(sql, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (name, event): (String, String) = (row.get(0), row.get(1));
                let what =
                    format!("fires at {event} of every statement that changes definitions: it may refuse or change the plan's");
                let next =
                    format!("make sure it lets the plan pass, or ALTER EVENT TRIGGER {name} DISABLE for the time of the run");
                ground.finding(Severity::Warning, &format!("event trigger {name}"), what, next)
            })
            .collect())
    }
}
