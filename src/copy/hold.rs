//! The holder of a copy's snapshot: a process of its own, so that the snapshot outlives a driver that is killed.
//!
//! The driver starts it ([`Order::give`]); it takes and exports the snapshot, writes it to `crossfade.copy_snapshot` on green, and
//! tells its name. From then on that row decides: when it is gone or another's (all rows are in, the copy was begun again or
//! undone), or no driver was there for the time it names, the holder ends; it ends too when either database goes away.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::pg::{Database, Opener, Session, Snapshot, Ticket, explain};
use crate::sql::Literal;
use crate::terms::{RunId, StepId};

/// The program that can be started as a holder; see [`offer`].
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says that this process is the program whose command `hold-snapshot` is [`serve`]. Where nobody says so (tests, benches), the
/// snapshot ends with the process that asked for it.
pub fn offer() {
    if let Ok(program) = std::env::current_exe() {
        let _ = PROGRAM.set(program);
    }
}

/// A holder asks so often whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// So long one question of a holder may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a holder needs to know. Travels through a pipe: it may hold passwords.
#[derive(Serialize, Deserialize)]
pub struct Order {
    blue: String,
    green: String,
    run: String,
    step: String,
    held_for: Duration,
}

/// What a holder tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Held { name: String, seen: String },
    Failed(String),
}

/// A snapshot that somebody holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The right to join it.
    ticket: Ticket,
    /// What it sees.
    pub seen: String,
}

/// How often a driver says that it is there: several times in the shortest time that a holder waits.
const BEAT: Duration = Duration::from_millis(300);

impl Held {
    /// The snapshot of this copy, if somebody holds it: then its holder goes on as long as a driver is there.
    ///
    /// # Errors
    /// When a server cannot be reached.
    pub async fn find(green: &Session, blue: Opener, run: &RunId, step: &StepId) -> anyhow::Result<Option<Self>> {
        let sql = "UPDATE crossfade.copy_snapshot SET driven_at = clock_timestamp() WHERE run = $1 AND step = $2 AND planned \
                   RETURNING name, seen::text";
        let Some(row) = green.query_opt(sql, &[&run.as_str(), &step.as_str()]).await? else { return Ok(None) };
        let held = Self { ticket: Ticket::of(row.get(0), blue.clone()), seen: row.get(1) };
        drop(blue.open().await?); // a server that is away says nothing about the snapshot
        Ok(held.join().await.is_ok().then_some(held))
    }

    /// The snapshot of this name, which sees this.
    pub(super) fn of(name: String, seen: String, blue: Opener) -> Self {
        Self { ticket: Ticket::of(name, blue), seen }
    }

    /// The name under which it is exported.
    pub fn name(&self) -> &str {
        self.ticket.name()
    }

    /// Does the driver's `work`, and says all the while on `green` that the driver is there: its holder waits for nobody longer than it was
    /// told to, however long the work takes.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn driven<T>(
        &self,
        green: &Session,
        run: &RunId,
        step: &StepId,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let sql = "UPDATE crossfade.copy_snapshot SET driven_at = clock_timestamp() WHERE run = $1 AND step = $2 AND name = $3";
        let beats = async {
            loop {
                tokio::time::sleep(BEAT).await;
                // Where green is away the work will say so.
                let _ = green.execute(sql, &[&run.as_str(), &step.as_str(), &self.name()]).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = beats => never,
        }
    }

    /// Opens a session that sees it.
    ///
    /// # Errors
    /// When nobody holds it any more.
    pub async fn join(&self) -> anyhow::Result<Session> {
        let session = self.ticket.join().await?;
        let seen: String = session.query_one("SELECT pg_current_snapshot()::text", &[]).await?.get(0);
        if seen != self.seen {
            bail!("the snapshot of {} ended, and another has its name", session.database().name());
        }
        Ok(session)
    }
}

impl Order {
    /// For a copy of this step. `held_for`: how long the holder waits for a driver that is gone.
    pub fn new(blue: &Database, green: &Database, run: &RunId, step: &StepId, held_for: Duration) -> Self {
        let text = |database: &Database| database.conninfo().to_owned();
        Self { blue: text(blue), green: text(green), run: run.to_string(), step: step.to_string(), held_for }
    }

    /// Starts the holder; `blue` opens the sessions that will join.
    ///
    /// # Errors
    /// When the snapshot cannot be taken.
    pub async fn give(self, blue: Opener) -> anyhow::Result<Held> {
        let program = PROGRAM.get().filter(|_| !self.held_for.is_zero());
        let Some(program) = program else {
            let order = Self { held_for: self.held_for.max(Duration::from_secs(60)), ..self };
            let holding = Holding::begin(&order).await?;
            let held = Held::of(holding.snapshot.name().to_owned(), holding.seen.clone(), blue);
            tokio::spawn(holding.keep());
            return Ok(held);
        };
        let mut command = tokio::process::Command::new(program);
        command.arg("hold-snapshot").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {} hold-snapshot", program.display()))?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the holder of the snapshot has no pipes")
        };
        input.write_all(&serde_json::to_vec(&self)?).await.context("the holder of the snapshot ended")?;
        drop(input);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await.context("the holder of the snapshot ended")?;
        match serde_json::from_str(&line).context("the holder of the snapshot ended without a word")? {
            Told::Held { name, seen } => Ok(Held::of(name, seen, blue)),
            Told::Failed(why) => bail!("{why}"),
        }
    }
}

/// What a holder does: `input` is an [`Order`]; tells one line and keeps the snapshot as long as it is wanted.
///
/// # Errors
/// When the order cannot be read.
pub async fn serve(input: &[u8]) -> anyhow::Result<()> {
    let order: Order = serde_json::from_slice(input).context("no order: this command is started by a copy")?;
    let begun = Holding::begin(&order).await;
    let told = match &begun {
        Ok(holding) => Told::Held { name: holding.snapshot.name().to_owned(), seen: holding.seen.clone() },
        Err(error) => Told::Failed(explain(error)),
    };
    let mut output = std::io::stdout();
    writeln!(output, "{}", serde_json::to_string(&told)?)?;
    output.flush()?;
    if let Ok(holding) = begun {
        holding.keep().await;
    }
    Ok(())
}

/// A snapshot and the row that says how long.
struct Holding {
    snapshot: Snapshot,
    seen: String,
    green: Opener,
    session: Session,
    wanted: String,
    held_for: Duration,
}

impl Holding {
    async fn begin(order: &Order) -> anyhow::Result<Self> {
        // No driver of the run takes this name for that of a dead one's session.
        let application = format!("crossfade/snapshot/{}", order.run);
        let opener = |name: &str, text: &str| anyhow::Ok(Opener::new(Database::parse(name, text)?, application.clone()));
        let (blue, green) = (opener("blue", &order.blue)?, opener("green", &order.green)?);
        let session = green.open().await?;
        let snapshot = Snapshot::export(blue).await?;
        let seen = snapshot.text().await?;
        let (run, step, name) = (Literal::new(&order.run), Literal::new(&order.step), Literal::new(snapshot.name()));
        let told = Literal::new(&seen);
        let held_for = format!("make_interval(secs => {})", order.held_for.as_secs_f64());
        let row = format!(
            "INSERT INTO crossfade.copy_snapshot (run, step, name, seen, held_for) VALUES ({run}, {step}, {name}, {told}, {held_for}) \
             ON CONFLICT (run, step) DO UPDATE SET name = excluded.name, seen = excluded.seen, planned = false, \
                held_for = excluded.held_for, driven_at = clock_timestamp()"
        );
        session.batch_execute(&row).await.context("noting the snapshot on green")?;
        let wanted = format!(
            "SELECT clock_timestamp() < driven_at + held_for FROM crossfade.copy_snapshot \
             WHERE run = {run} AND step = {step} AND name = {name} AND seen::text = {told}"
        );
        Ok(Self { snapshot, seen, green, session, wanted, held_for: order.held_for })
    }

    /// Keeps the snapshot as long as it is wanted.
    async fn keep(mut self) {
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            if tokio::time::timeout(PATIENCE, self.snapshot.session().simple_query("")).await.is_ok_and(|said| said.is_err()) {
                return;
            }
            match tokio::time::timeout(PATIENCE, self.is_wanted()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => return,
                // Green does not answer: it may come back.
                Ok(Err(_)) | Err(_) if last.elapsed() < self.held_for => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    async fn is_wanted(&mut self) -> anyhow::Result<bool> {
        let asked = async {
            if self.session.is_closed() {
                self.session = self.green.open().await?;
            }
            let row = self.session.query_opt(&self.wanted, &[]).await?;
            anyhow::Ok(row.is_some_and(|row| row.get(0)))
        };
        match asked.await {
            Err(error) if is_no_more(&explain(&error)) => Ok(false),
            other => other,
        }
    }
}

/// No such database, schema or table: nobody will want the snapshot any more.
fn is_no_more(error: &str) -> bool {
    ["3D000", "3F000", "42P01"].iter().any(|code| error.contains(&format!("SQLSTATE {code}")))
}

#[cfg(test)]
mod tests {
    use super::is_no_more;

    #[test]
    fn a_database_that_went_away_is_told_from_one_that_does_not_answer() {
        assert!(is_no_more("cannot connect to green: database \"x\" does not exist (SQLSTATE 3D000)"));
        assert!(!is_no_more("connection closed") && !is_no_more("the database system is starting up (SQLSTATE 57P03)"));
    }
}
