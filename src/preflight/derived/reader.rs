//! A session that can only read, within one snapshot, and goes on after a query that failed.

use tokio_postgres::Row;

use crate::pg::{Session, explain, sqlstate};
use crate::step::Cx;
use crate::terms::Side;

/// How long one query may take before preflight says that it could not be answered.
const STATEMENT_TIMEOUT: &str = "10min";

/// A read-only transaction.
pub(super) struct Reader {
    session: Session,
}

/// What the server says to a query.
pub(super) enum Answer {
    /// Its rows.
    Rows(Vec<Row>),
    /// A row's value made it fail: SQLSTATE.
    BadRow(String),
    /// It does not fit the catalog, or is not allowed: why.
    Refused(String),
}

impl Reader {
    /// Begins. Row-level security fails instead of leaving rows out; nothing is compiled, and no parallel workers join in: there are
    /// other sessions for the other cores.
    pub async fn open(cx: &Cx, side: Side) -> anyhow::Result<Self> {
        let session = cx.connect(side).await?;
        let begin = format!(
            "SET jit = off; SET row_security = off; SET work_mem = '64MB'; SET max_parallel_workers_per_gather = 0; SET lock_timeout = '5s'; SET statement_timeout = '{STATEMENT_TIMEOUT}'; \
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SAVEPOINT here"
        );
        session.batch_execute(&begin).await?;
        Ok(Self { session })
    }

    /// The session, for reading catalogs.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Asks; a failure leaves the transaction as it was.
    pub async fn ask(&self, sql: &str) -> anyhow::Result<Answer> {
        let error = match self.session.query(sql, &[]).await {
            Ok(rows) => return Ok(Answer::Rows(rows)),
            Err(error) => error,
        };
        let code = sqlstate(&error).to_owned();
        if code.is_empty() {
            return Err(error.into());
        }
        self.session.batch_execute("ROLLBACK TO here").await?;
        Ok(match &code[..2] {
            "22" | "23" | "54" | "P0" => Answer::BadRow(code),
            "42" | "0A" | "3F" => Answer::Refused(explain(&error.into())),
            _ => return Err(error.into()),
        })
    }

    /// Asks for one row that must come.
    pub async fn one(&self, sql: &str) -> anyhow::Result<Result<Row, String>> {
        Ok(match self.ask(sql).await? {
            Answer::Rows(mut rows) => rows.pop().ok_or_else(|| "no row came back".to_owned()),
            Answer::BadRow(code) => Err(format!("the values of some rows make it fail (SQLSTATE {code})")),
            Answer::Refused(why) => Err(why),
        })
    }
}
