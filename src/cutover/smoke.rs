//! Questions to the new side before anybody else may ask it.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::cutover::request::Request;
use crate::pg::Session;
use crate::terms::{Finding, Severity};

/// A smoke check as a plan has it: a query that gives one boolean, or a request.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Smoke {
    /// What it is about.
    pub name: String,
    /// Asked in a read-only transaction on the new side; NULL and no row count as false.
    #[serde(default)]
    sql: Option<String>,
    /// Sent to the new side's service.
    #[serde(default)]
    request: Option<Request>,
    /// The status that is expected; 200 when there is none.
    #[serde(default)]
    status: Option<u16>,
    /// A text the answer holds.
    #[serde(default)]
    contains: Option<String>,
}

impl Smoke {
    /// What is wrong with it as written.
    ///
    /// # Errors
    /// Names what was expected.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (&self.sql, &self.request) {
            (Some(sql), None) if sql.trim().is_empty() => Err(format!("smoke check {name}: `sql` is empty")),
            (Some(_), None) if self.status.is_some() || self.contains.is_some() => {
                Err(format!("smoke check {name}: `status` and `contains` belong to a `request`"))
            }
            (Some(_), None) => Ok(()),
            (None, Some(request)) => request.check().map_err(|what| format!("smoke check {name}: {what}")),
            _ => Err(format!("smoke check {name}: give `sql` or `request`, one of them")),
        }
    }

    /// Asks; a finding when the answer is not as expected. The answer itself is not shown.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn ask(&self, session: &mut Session, timeout: Duration) -> anyhow::Result<Option<Finding>> {
        let trouble = match (&self.sql, &self.request) {
            (Some(sql), _) => holds(session, sql).await,
            (None, Some(request)) => self.answered(request, timeout).await,
            (None, None) => Ok(()),
        };
        if session.simple_query("").await.is_err() {
            return trouble.map(|()| None).with_context(|| format!("smoke check {}", self.name));
        }
        Ok(trouble.err().map(|error| Finding {
            severity: Severity::Blocks,
            object: format!("smoke check {}", self.name),
            what: crate::pg::explain(&error),
            next: "find out what is wrong on the new side; traffic is on the old one".to_owned(),
        }))
    }

    async fn answered(&self, request: &Request, timeout: Duration) -> anyhow::Result<()> {
        let answer = request.send(timeout).await?;
        let wanted = self.status.unwrap_or(200);
        anyhow::ensure!(
            answer.status.as_u16() == wanted,
            "{}: status {}, {wanted} was expected",
            request.shown(),
            answer.status.as_u16()
        );
        if let Some(text) = &self.contains {
            anyhow::ensure!(answer.body.contains(text.as_str()), "{}: the answer does not hold `{text}`", request.shown());
        }
        Ok(())
    }
}

async fn holds(session: &mut Session, sql: &str) -> anyhow::Result<()> {
    let transaction = session.build_transaction().read_only(true).start().await?;
    let row = transaction.query_opt(sql, &[]).await.context("the query cannot be asked")?;
    let holds = match row {
        Some(row) => row.try_get::<_, Option<bool>>(0).context("the query does not give a boolean")?.unwrap_or(false),
        None => false,
    };
    anyhow::ensure!(holds, "does not hold");
    Ok(())
}
