//! Which sessions a database says are valid, and whether those are the ones that must be.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{App, Held};
use crate::pg::Session;

/// The valid sessions of a 1.x database; see the file for what valid means.
pub const SESSIONS_1X: &str = include_str!("sessions.sql");
/// The same of a 2.x database.
pub const SESSIONS_2X: &str = include_str!("sessions-2x.sql");

/// The valid sessions of a database, by consent challenge.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, Valid>);

/// One valid session: whose, for which application, with which scopes and how many tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Valid {
    subject: String,
    client: String,
    scope: Value,
    tokens: i64,
}

/// How the sessions of two moments compare, given what the applications themselves did in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Valid at the first moment. Sessions whose tokens the applications revoked in between are left out.
    pub before: usize,
    /// Those of them that are valid at the second moment and hold exactly what they must.
    pub after: usize,
    /// Begun by the applications in between.
    pub created: usize,
    /// Revoked by the applications in between.
    pub revoked: usize,
    /// Sessions at the second moment, whether there before, begun or revoked in between, that are missing, are there
    /// and must not be, or differ in user, application, scopes or number of tokens.
    pub differing: usize,
}

impl Census {
    /// Asks a database, in one statement.
    ///
    /// # Errors
    /// When the session is gone or the schema is another one.
    pub async fn take(session: &Session, sql: &str) -> Result<Self> {
        let rows = session.query(sql, &[]).await.context("cannot list the valid sessions")?;
        let valid =
            |row: &tokio_postgres::Row| Valid { subject: row.get(1), client: row.get(2), scope: row.get(3), tokens: row.get(4) };
        Ok(Self(rows.iter().map(|row| (row.get(0), valid(row))).collect()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Compares two moments, between which the applications did what their books say and nothing else. Sessions with a failed
/// write are left out: that failure is counted where it happened.
pub fn balance<'a>(before: &Census, held: impl Iterator<Item = &'a Held>, apps: &[App], after: &Census) -> Balance {
    let (mut first, mut expected, mut actual) = (before.0.clone(), before.0.clone(), after.0.clone());
    let mut balance = Balance::default();
    for held in held.filter(|held| held.changed || held.doubtful) {
        if held.doubtful {
            first.remove(&held.consent);
            expected.remove(&held.consent);
            actual.remove(&held.consent);
            continue;
        }
        balance.created += usize::from(held.created);
        balance.revoked += usize::from(held.revoked);
        if held.revoked {
            first.remove(&held.consent);
        }
        if held.skipped && held.tokens() == 0 {
            expected.remove(&held.consent);
        } else {
            expected.insert(held.consent.clone(), valid(held, apps));
        }
    }
    balance.before = first.len();
    balance.after = first.keys().filter(|key| actual.contains_key(*key) && actual.get(*key) == expected.get(*key)).count();
    let wrong = expected.iter().filter(|(key, valid)| actual.get(*key) != Some(valid)).count();
    let surplus = actual.keys().filter(|key| !expected.contains_key(*key)).count();
    balance.differing = wrong + surplus;
    balance
}

fn valid(held: &Held, apps: &[App]) -> Valid {
    let mut scope = held.scope.clone();
    scope.sort();
    Valid {
        subject: held.subject.clone(),
        client: apps.get(held.app).map(|app| app.id.clone()).unwrap_or_default(),
        scope: scope.into(),
        tokens: held.tokens(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::tests::held;
    use super::*;

    fn census(sessions: &[(&str, i64)]) -> Census {
        let valid = |tokens| Valid {
            subject: "user-1".to_owned(),
            client: "client-0001".to_owned(),
            scope: serde_json::json!(["offline", "openid"]),
            tokens,
        };
        Census(sessions.iter().map(|(consent, tokens)| ((*consent).to_owned(), valid(*tokens))).collect())
    }

    fn apps() -> Vec<App> {
        vec![App { id: "client-0001".to_owned(), secret: None }]
    }

    #[test]
    fn what_the_clients_did_is_no_difference() {
        let mut revoked = held("b", true);
        revoked.revoke();
        let mut created = held("n", true);
        (created.created, created.changed) = (true, true);
        let found =
            balance(&census(&[("a", 2), ("b", 2)]), [revoked, created].iter(), &apps(), &census(&[("a", 2), ("b", 0), ("n", 2)]));
        assert_eq!(found, Balance { before: 1, after: 1, created: 1, revoked: 1, differing: 0 });
    }

    #[test]
    fn a_lost_session_a_lost_token_and_a_revived_one_differ() {
        let mut revoked = held("b", true);
        revoked.revoke();
        let before = census(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]);
        let found = balance(&before, [revoked].iter(), &apps(), &census(&[("b", 2), ("c", 1), ("d", 2), ("x", 1)]));
        assert_eq!(found, Balance { before: 3, after: 1, created: 0, revoked: 1, differing: 4 });
    }
}
