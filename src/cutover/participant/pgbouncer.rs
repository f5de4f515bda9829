//! PgBouncer: PAUSE, another file, RELOAD, RESUME, over its admin console (PgBouncer manual, "Admin console").
//!
//! PAUSE ends when every transaction of the database has ended; clients that come later wait in PgBouncer. The pause has no
//! end of its own: `query_wait_timeout` of PgBouncer is what its clients are promised.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;
use tokio_postgres::SimpleQueryMessage;

use super::file::Swap;
use super::{Participant, Read, Scene, Standing};
use crate::pg::{Console, Database};
use crate::sql::Ident;
use crate::terms::Side;

/// As a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    /// Environment variable with the connection string of the console (dbname=pgbouncer).
    console_env: String,
    /// The database, as PgBouncer calls it.
    database: String,
    /// The file with its line: pgbouncer.ini, or a file that includes it.
    path: PathBuf,
    blue: PathBuf,
    green: PathBuf,
}

/// The console and the file.
pub(super) struct Pgbouncer {
    name: String,
    console_env: String,
    database: String,
    swap: Swap,
    servers: [Server; 2],
}

/// Where PgBouncer's database is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Server {
    host: String,
    port: String,
    dbname: String,
}

/// A row of SHOW DATABASES.
struct Shown {
    server: Server,
    paused: bool,
}

impl Pgbouncer {
    pub(super) fn read(written: Written, base: &Path) -> Read {
        let (swap, files) = Swap::read(&written.path, &written.blue, &written.green, base)?;
        let mut wrong = Vec::new();
        let servers = [Side::Blue, Side::Green].map(|side| {
            server(&String::from_utf8_lossy(swap.content(side)), &written.database).unwrap_or_else(|what| {
                wrong.push(format!("`{side}`: {what}"));
                Server::default()
            })
        });
        if wrong.is_empty() && servers[0] == servers[1] {
            wrong.push(format!("`blue` and `green` name the same server for {}", written.database));
        }
        let Written { name, console_env, database, .. } = written;
        if wrong.is_empty() { Ok((Box::new(Self { name, console_env, database, swap, servers }), files)) } else { Err(wrong) }
    }

    async fn console(&self, scene: &Scene) -> anyhow::Result<Console> {
        let variable = &self.console_env;
        let text = std::env::var(variable).with_context(|| format!("environment variable {variable} is not set"))?;
        let database = Database::parse(&format!("the console of {}", self.name), &text)?;
        let open = tokio::time::timeout(scene.patience, database.console("crossfade-cutover")).await;
        open.with_context(|| format!("{} does not answer", self.name))?
    }

    async fn shown(&self, console: &Console) -> anyhow::Result<Shown> {
        for message in console.simple_query("SHOW DATABASES").await? {
            if let SimpleQueryMessage::Row(row) = message
                && row.try_get("name")? == Some(self.database.as_str())
            {
                let text = |column: &str| anyhow::Ok(row.try_get(column)?.unwrap_or_default().to_owned());
                let server = Server { host: text("host")?, port: text("port")?, dbname: text("database")? };
                return Ok(Shown { server, paused: text("paused")? == "1" });
            }
        }
        bail!("{} has no database {}", self.name, self.database)
    }

    async fn pause(&self, console: &Console, limit: Duration) -> anyhow::Result<()> {
        let pause = format!("PAUSE {}", Ident::new(self.database.as_str()));
        match tokio::time::timeout(limit, console.simple_query(&pause)).await {
            Ok(paused) => paused.map(drop).context("PAUSE"),
            Err(_) => bail!(
                "PAUSE: transactions of {} did not end within {} (SHOW CLIENTS and SHOW SERVERS name them)",
                self.database,
                humantime::format_duration(limit)
            ),
        }
    }
}

#[async_trait]
impl Participant for Pgbouncer {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        format!("PAUSE {0} in PgBouncer, replace {1}, RELOAD, RESUME {0}", self.database, self.swap.path.display())
    }

    fn holds(&self) -> bool {
        true
    }

    /// What PgBouncer uses counts, not what the file says.
    async fn standing(&self, scene: &Scene) -> anyhow::Result<Standing> {
        let shown = self.shown(&self.console(scene).await?).await?;
        let side = [Side::Blue, Side::Green].into_iter().find(|side| self.servers[*side as usize] == shown.server);
        let Server { host, port, dbname } = &shown.server;
        Ok(Standing { side, held: shown.paused, says: format!("{dbname} on {host}:{port}") })
    }

    async fn prepare(&self, scene: &Scene, _: Side) -> anyhow::Result<()> {
        self.swap.prepare()?;
        if self.swap.side()?.is_none() {
            bail!("{} holds neither side's content", self.swap.path.display());
        }
        self.console(scene).await.map(drop)
    }

    /// Waits for the transactions under way too: PAUSE is both.
    async fn hold(&self, scene: &Scene, deadline: Duration) -> anyhow::Result<()> {
        let console = self.console(scene).await?;
        if self.shown(&console).await?.paused {
            return Ok(());
        }
        self.pause(&console, deadline).await
    }

    async fn commit(&self, scene: &Scene, to: Side) -> anyhow::Result<()> {
        self.swap.put(to)?;
        self.console(scene).await?.simple_query("RELOAD").await.map(drop).context("RELOAD")
    }

    async fn release(&self, scene: &Scene, _: Side) -> anyhow::Result<Option<u64>> {
        let (console, began) = (self.console(scene).await?, Instant::now());
        // A PAUSE that was given up may be on its way still: then it is resumed once more.
        while self.shown(&console).await?.paused {
            if began.elapsed() > scene.patience {
                bail!("{} stays paused; next: RESUME {} in its console", self.name, self.database);
            }
            let _ = console.simple_query(&format!("RESUME {}", Ident::new(self.database.as_str()))).await; // the next SHOW tells
        }
        Ok(None)
    }
}

/// The server that an ini file names for a database: `name = host=... port=... dbname=...` (PgBouncer manual, section
/// [databases]). What it leaves out PgBouncer fills in: port 5432, the database's own name.
fn server(text: &str, database: &str) -> Result<Server, String> {
    let line = text.lines().map(str::trim).filter(|line| !line.starts_with([';', '#'])).find_map(|line| {
        let (name, rest) = line.split_once('=')?;
        (name.trim().trim_matches('"') == database).then_some(rest.trim())
    });
    let line = line.ok_or_else(|| format!("has no line for database {database}"))?;
    let mut server = Server { host: String::new(), port: "5432".to_owned(), dbname: database.to_owned() };
    for (key, value) in pairs(line) {
        match key.as_str() {
            "host" => server.host = value,
            "port" => server.port = value,
            "dbname" => server.dbname = value,
            _ => {}
        }
    }
    if server.host.is_empty() { Err(format!("names no host for database {database}")) } else { Ok(server) }
}

/// `key=value key='value with '' quote'`.
fn pairs(mut text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while let Some((key, rest)) = text.trim_start().split_once('=') {
        let rest = rest.trim_start();
        let (value, after) = match rest.strip_prefix('\'') {
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => {
                let (mut value, mut end) = (String::new(), quoted.len());
                let mut chars = quoted.char_indices().peekable();
                while let Some((at, c)) = chars.next() {
                    if c == '\'' && chars.next_if(|(_, next)| *next == '\'').is_none() {
                        end = at + 1;
                        break;
                    }
                    value.push(c);
                }
                (value, &quoted[end..])
            }
        };
        pairs.push((key.trim().to_owned(), value));
        text = after;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_line_names_its_server() {
        let text = "[databases]\n; app = host=old\n\"app\" = host=/run/pg port=6000 dbname='it''s' user=u\nother = host=x\n";
        let found = server(text, "app").unwrap();
        assert_eq!(found, Server { host: "/run/pg".to_owned(), port: "6000".to_owned(), dbname: "it's".to_owned() });
        let other = server(text, "other").unwrap();
        assert_eq!((other.port.as_str(), other.dbname.as_str()), ("5432", "other"));
        assert!(server(text, "missing").is_err() && server("a = dbname=x", "a").is_err());
    }
}
