//! The tables, and what happens to them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use crossfade::pg::Session;

/// Two tables as OAuth servers have them, and one that tells the end. Keys are digests: changes fall all over the indexes.
pub const SCHEMA: &str = "\
    CREATE TABLE access (signature text PRIMARY KEY, request text NOT NULL, client text NOT NULL, subject text NOT NULL, \
                         active boolean NOT NULL, requested_at timestamptz NOT NULL, session text NOT NULL); \
    CREATE INDEX access_subject ON access (subject); \
    CREATE TABLE refresh (LIKE access INCLUDING ALL); \
    CREATE TABLE ended (at bigint PRIMARY KEY)";

const ROW: &str = "md5(n::text), md5('q' || n), 'client-' || n % 100, 'subject-' || n % 100000, true, \
                   '2026-01-01'::timestamptz + n * interval '1 second', repeat(md5('s' || n), 12)";

/// What is written on blue while nobody follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// So many transactions, each changes one row: half inserts, three of ten updates, two of ten deletes.
    Single(u32),
    /// One transaction that changes so many rows, of the same kinds.
    Huge(u32),
}

impl Load {
    pub fn about(self) -> String {
        match self {
            Load::Single(count) => format!("{count} transactions of one row"),
            Load::Huge(count) => format!("one transaction of {count} rows"),
        }
    }

    /// The number of rows that it changes.
    pub fn rows(self) -> u32 {
        match self {
            Load::Single(count) | Load::Huge(count) => count,
        }
    }

    /// So many rows both tables hold together before.
    fn before(self) -> u32 {
        self.rows().max(100_000)
    }

    /// Fills the tables of an empty database.
    pub async fn fill(self, session: &Session) -> Result<()> {
        let each = self.before() / 2;
        let rows = |table: &str| format!("INSERT INTO {table} SELECT {ROW} FROM generate_series(1, {each}) AS n");
        session.batch_execute(&format!("{}; {}", rows("access"), rows("refresh"))).await?;
        session.batch_execute("VACUUM ANALYZE").await?;
        Ok(())
    }

    /// Writes, and at the end the row that tells it.
    pub async fn write(self, session: &Session, url: &str, pgbench: &Path, folder: &Path) -> Result<()> {
        match self {
            Load::Single(count) => single(session, url, pgbench, folder, count, self.before() / 2).await?,
            Load::Huge(count) => {
                let (half, each) = (count / 2, self.before() / 2);
                let change = |table: &str| {
                    format!(
                        "INSERT INTO {table} SELECT {ROW} FROM generate_series({each} + 1, {each} + {half} / 2) AS n; \
                         UPDATE {table} SET active = false FROM generate_series(1, {half} * 3 / 10) AS n WHERE signature = md5(n::text); \
                         DELETE FROM {table} USING generate_series({each} - {half} / 5 + 1, {each}) AS n WHERE signature = md5(n::text)"
                    )
                };
                session.batch_execute(&format!("BEGIN; {}; {}; COMMIT", change("access"), change("refresh"))).await?;
            }
        }
        Ok(session.batch_execute("INSERT INTO ended VALUES (1)").await?)
    }
}

/// Eight clients of pgbench.
async fn single(session: &Session, url: &str, pgbench: &Path, folder: &Path, count: u32, each: u32) -> Result<()> {
    session.batch_execute(&format!("CREATE SEQUENCE come START {}; CREATE SEQUENCE go START {}", each + 1, each / 2 + 1)).await?;
    let mut command = Command::new(pgbench);
    command.args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "--random-seed", "42", "-t", &(count / 8).to_string()]);
    for table in ["access", "refresh"] {
        let scripts: [(&str, u32, String); 3] = [
            (
                "come",
                5,
                format!(
                    "SELECT nextval('come') AS n \\gset\nINSERT INTO {table} SELECT {ROW} FROM (SELECT :n::int AS n) AS one;\n"
                ),
            ),
            (
                "change",
                3,
                format!(
                    "\\set n random(1, {each} / 2)\nUPDATE {table} SET active = NOT active WHERE signature = md5(:n::int::text);\n"
                ),
            ),
            ("go", 2, format!("SELECT nextval('go') AS n \\gset\nDELETE FROM {table} WHERE signature = md5(:n::int::text);\n")),
        ];
        for (name, weight, text) in scripts {
            let path: PathBuf = folder.join(format!("{table}-{name}"));
            std::fs::write(&path, text)?;
            command.arg("-f").arg(format!("{}@{weight}", path.display()));
        }
    }
    let output = command.arg(url).output().context("cannot run pgbench")?;
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
