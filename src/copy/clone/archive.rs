//! The definitions of a database, as `pg_dump` writes them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};

/// `pg_dump` and `pg_restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    dump: PathBuf,
    restore: PathBuf,
    major: u32,
}

/// What of a database is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// These tables alone; empty for all.
    #[serde(default)]
    pub tables: Vec<QualifiedName>,
    /// Not these tables.
    #[serde(default)]
    pub exclude: Vec<QualifiedName>,
    /// These schemas alone; empty for all.
    #[serde(default)]
    pub schemas: Vec<Ident>,
    /// Leave out owners: everything belongs to the role that clones.
    #[serde(default)]
    pub no_owner: bool,
    /// Leave out GRANT and REVOKE.
    #[serde(default)]
    pub no_privileges: bool,
}

impl Choice {
    /// Whether the whole database is meant.
    pub fn is_everything(&self) -> bool {
        self.tables.is_empty() && self.schemas.is_empty()
    }

    /// The options of `pg_dump`, which writes owners into every archive. In a quoted name of its patterns no character is special.
    fn options(&self) -> Vec<String> {
        let mut options = vec!["--exclude-schema=crossfade".to_owned(), "--no-subscriptions".to_owned()];
        options.extend(self.tables.iter().map(|table| format!("--table={table}")));
        options.extend(self.exclude.iter().map(|table| format!("--exclude-table={table}")));
        options.extend(self.schemas.iter().map(|schema| format!("--schema={schema}")));
        options.extend(self.no_privileges.then(|| "--no-privileges".to_owned()));
        options
    }
}

impl Programs {
    /// Finds both for a server of this major version: the oldest that is not older than the server. `CROSSFADE_PG_BINDIR`, the
    /// usual folders of distributions, then `PATH`.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find(server: u32) -> Result<Self> {
        let mut folders: Vec<PathBuf> = std::env::var_os("CROSSFADE_PG_BINDIR").map(PathBuf::from).into_iter().collect();
        for parent in ["/usr/lib/postgresql", "/usr", "/usr/local", "/opt/homebrew/opt"] {
            let Ok(children) = std::fs::read_dir(parent) else { continue };
            folders.extend(children.flatten().map(|child| child.path().join("bin")));
        }
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let found: Vec<Self> = folders.iter().filter_map(|folder| Self::at(folder)).collect();
        let fitting = found.iter().filter(|programs| programs.major >= server).min_by_key(|programs| programs.major);
        let newest = found.iter().map(|programs| programs.major).max();
        fitting.cloned().with_context(|| {
            let found = newest.map_or("none is on this machine".to_owned(), |major| format!("the newest here is {major}"));
            format!(
                "definitions are read by pg_dump and pg_restore of version {server} or later; {found}; next: install \
                 PostgreSQL's client programs (Debian: apt-get install postgresql-client-{server}), or set CROSSFADE_PG_BINDIR \
                 to the folder that holds them"
            )
        })
    }

    fn at(folder: &Path) -> Option<Self> {
        let (dump, restore) = (folder.join("pg_dump"), folder.join("pg_restore"));
        if !dump.exists() || !restore.exists() {
            return None;
        }
        let output = std::process::Command::new(&dump).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let major = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { dump, restore, major })
    }
}

/// Definitions before and after rows, and what of large objects is not their content. Held in memory.
pub struct Archive {
    programs: Programs,
    bytes: Vec<u8>,
    no_owner: bool,
}

impl Archive {
    /// Reads the definitions of the session's database as the exported snapshot shows them.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub async fn dump(programs: Programs, session: &Session, snapshot: &str, choice: &Choice) -> Result<Self> {
        let relay = session.relay().await?;
        let mut command = Command::new(&programs.dump);
        command.args(["--format=custom", "--compress=0", "--section=pre-data", "--section=post-data", "--lock-wait-timeout=60s"]);
        command.arg(format!("--snapshot={snapshot}")).args(choice.options()).arg("--no-password");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("PGHOST", relay.folder()).env("PGPORT", relay.port().to_string());
        command
            .env("PGUSER", &relay.user)
            .env("PGDATABASE", &relay.dbname)
            .env("PGSSLMODE", "disable")
            .env("PGGSSENCMODE", "disable");
        command.env("PGAPPNAME", "crossfade/pg_dump").env("PGCONNECT_TIMEOUT", "0");
        if !relay.password.is_empty() {
            command.env("PGPASSWORD", &relay.password);
        }
        if let Some(options) = &relay.options {
            command.env("PGOPTIONS", options);
        }
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("pg_dump does not start")?;
        if !output.status.success() {
            bail!("pg_dump cannot read the definitions of {}: {}", session.database().name(), said(&output.stderr));
        }
        Ok(Self { programs, bytes: output.stdout, no_owner: choice.no_owner })
    }

    /// The text of a section: `pre-data` or `post-data`.
    ///
    /// # Errors
    /// What `pg_restore` says.
    pub async fn section(&self, name: &str) -> Result<String> {
        self.text(&[&format!("--section={name}")]).await
    }

    /// The statements that drop everything again, as far as it is there.
    ///
    /// # Errors
    /// What `pg_restore` says.
    pub async fn drops(&self) -> Result<String> {
        let text = self.text(&["--clean", "--if-exists"]).await?;
        let drops = text.split("\n--\n-- Name: ").next().unwrap_or_default();
        let lines = drops.lines().filter(|line| !line.starts_with("SET ") && !line.starts_with("--") && !line.starts_with('\\'));
        Ok(lines.filter(|line| !line.starts_with("SELECT pg_catalog.set_config")).collect::<Vec<_>>().join("\n"))
    }

    async fn text(&self, options: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.programs.restore);
        command.args(options).args(self.no_owner.then_some("--no-owner")).arg("--file=-");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("pg_restore does not start")?;
        let mut input = child.stdin.take().context("pg_restore has no input")?;
        let write = async move {
            let written = input.write_all(&self.bytes).await;
            drop(input);
            written
        };
        // What it prints is read while it reads: neither waits for the other.
        let (written, output) = tokio::join!(write, child.wait_with_output());
        let output = output.context("pg_restore")?;
        if !output.status.success() {
            bail!("pg_restore cannot read what pg_dump wrote: {}", said(&output.stderr));
        }
        written.context("pg_restore stopped reading")?;
        String::from_utf8(output.stdout).context("definitions that are not UTF-8")
    }
}

/// The first lines of what a program said.
fn said(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).lines().take(3).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_install_is_said() {
        let missing = Programs::find(99).unwrap_err().to_string();
        assert!(missing.contains("version 99 or later") && missing.contains("postgresql-client-99"), "{missing}");
    }

    #[test]
    fn names_are_quoted_in_patterns() {
        let choice = Choice {
            tables: vec![QualifiedName::new("Odd.Schema", "T*")],
            schemas: vec![Ident::new("a")],
            no_privileges: true,
            ..Choice::default()
        };
        assert!(!choice.is_everything());
        assert_eq!(choice.options()[2..], ["--table=\"Odd.Schema\".\"T*\"", "--schema=\"a\"", "--no-privileges"]);
    }
}
