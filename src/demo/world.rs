//! The data the demo begins with, and what the applications know of it.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::grant::hex;
use super::{Held, Token};
use crate::pg::Session;

/// An application registered with the service.
#[derive(Clone)]
pub struct App {
    /// Its client id.
    pub id: String,
    /// Its secret; `None` when it is public.
    pub secret: Option<String>,
}

/// The applications and the sessions they hold.
pub struct World {
    /// The applications.
    pub apps: Vec<App>,
    /// Sessions with at least one token.
    pub sessions: Vec<Held>,
}

/// Fills an empty database with the schema of Hydra 1.0.0 and generated data: `sessions` consents, and `planted` rows of
/// each kind that breaks naive 2.x migrations. The same seed (ASCII letters, digits and `-`) gives the same tokens.
///
/// # Errors
/// When the database is not empty or the user is no superuser.
pub async fn create_1x(session: &Session, sessions: u32, planted: u32, seed: &str) -> Result<()> {
    session.batch_execute(include_str!("hydra-1.0.0.sql")).await.context("cannot create Hydra's tables")?;
    session
        .execute(
            "SELECT set_config('crossfade.sessions', $1, false), set_config('crossfade.planted', $2, false), \
                    set_config('crossfade.seed', $3, false), \
                    set_config('crossfade.now', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), false)",
            &[&sessions.to_string(), &planted.to_string(), &seed],
        )
        .await?;
    session.batch_execute(include_str!("data.sql")).await.context("cannot generate OAuth data")
}

impl World {
    /// What the applications know of data that [`create_1x`] made with this seed: their secrets, and the tokens of at most
    /// `limit` sessions. The planted rows belong to nobody.
    ///
    /// # Errors
    /// When the session is gone or the schema is another one.
    pub async fn of(session: &Session, seed: &str, limit: i64) -> Result<Self> {
        let rows = session
            .query("SELECT id, client_secret = '' FROM hydra_client WHERE id LIKE 'client-%' ORDER BY id", &[])
            .await
            .context("cannot list the applications")?;
        let apps: Vec<App> = rows.iter().map(|row| app(row.get(0), row.get(1), seed)).collect();
        let rows = session
            .query(
                "SELECT c.challenge, c.client_id, c.subject, string_to_array(h.granted_scope, '|'), c.skip, \
                        a.signature, extract(epoch FROM a.requested_at)::bigint + 3600, \
                        r.signature, extract(epoch FROM r.requested_at)::bigint + 2592000 \
                 FROM hydra_oauth2_consent_request c \
                 JOIN hydra_oauth2_consent_request_handled h ON h.challenge = c.challenge \
                 LEFT JOIN hydra_oauth2_access a ON a.challenge_id = c.challenge AND a.active \
                 LEFT JOIN hydra_oauth2_refresh r ON r.challenge_id = c.challenge AND r.active \
                 WHERE h.error IN ('{}', '') AND c.challenge !~ '^dead[0-9]{2}0000' \
                   AND (a.signature IS NOT NULL OR r.signature IS NOT NULL) \
                 ORDER BY md5(c.challenge || $1) LIMIT $2",
                &[&seed, &limit],
            )
            .await
            .context("cannot list the sessions")?;
        let sessions = rows
            .iter()
            .filter_map(|row| {
                let client: &str = row.get(1);
                Some(Held {
                    consent: row.get(0),
                    app: apps.iter().position(|app| app.id == client)?,
                    subject: row.get(2),
                    scope: row.get(3),
                    skipped: row.get(4),
                    access: token(row, 5),
                    refresh: token(row, 7),
                    dead: Vec::new(),
                    created: false,
                    changed: false,
                    revoked: false,
                    doubtful: false,
                })
            })
            .collect();
        Ok(Self { apps, sessions })
    }
}

fn app(id: String, public: bool, seed: &str) -> App {
    let number = id.trim_start_matches("client-").trim_start_matches('0');
    let secret = (!public).then(|| hex(&Sha256::digest(format!("{seed}:secret:{number}").as_bytes())));
    App { id, secret }
}

/// Whatever stands before the signature is the application's: rows hold the signature only.
fn token(row: &tokio_postgres::Row, at: usize) -> Option<Token> {
    let signature: Option<&str> = row.get(at);
    Some(Token { text: format!("demo.{}", signature?), expires: row.get(at + 1) })
}
