//! What capture costs those who write to blue: `pgbench` with a mix of token writes, without capture, with triggers, and with a
//! replication slot, in turns. See `benches/README.md`.

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use crossfade::capture::{Shape, create_slot, drop_publication, drop_slot, install, installed, publish, remove, slot_name};
use crossfade::demo::create_1x;
use crossfade::pg::{Session, ensure_control};
use crossfade::projection::Captured;
use crossfade::shadow::{Binaries, Cluster};
use crossfade::sql::{Ident, QualifiedName};
use crossfade::terms::{RunId, StepId};

const COLUMNS: &str =
    "signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data, subject, active";

/// One transaction of each kind, and how often it comes: a grant, the rotation of a refresh token, a revocation.
const MIX: [(&str, &str, u32); 3] = [
    ("grant", "SELECT nextval('bench_token') AS n \\gset\nBEGIN;\n{access}{refresh}COMMIT;\n", 5),
    (
        "rotate",
        "SELECT nextval('bench_token') AS n \\gset\n\\set old random(1, :n - 1)\nBEGIN;\n\
         UPDATE hydra_oauth2_refresh SET active = false WHERE signature = md5('r' || :old);\n\
         DELETE FROM hydra_oauth2_access WHERE signature = md5('a' || :old);\n{access}{refresh}COMMIT;\n",
        4,
    ),
    (
        "revoke",
        "SELECT last_value - 1 AS n FROM bench_token \\gset\n\\set old random(1, :n)\nBEGIN;\n\
         UPDATE hydra_oauth2_refresh SET active = false WHERE signature = md5('r' || :old);\n\
         DELETE FROM hydra_oauth2_access WHERE signature = md5('a' || :old);\nCOMMIT;\n",
        1,
    ),
];

fn insert(table: &str, letter: char) -> String {
    format!(
        "INSERT INTO hydra_oauth2_{table} ({COLUMNS}) SELECT md5('{letter}' || :n), 'q' || :n, now(), (SELECT id FROM hydra_client LIMIT 1), \
         'openid offline', 'openid offline', 'grant_type=refresh_token', repeat('session ', 100), 'user-' || :n, true;\n"
    )
}

/// Runs the mix; gives transactions per second.
fn pgbench(program: &Path, folder: &Path, url: &str, seconds: u32) -> Result<f64> {
    let mut command = Command::new(program);
    command.args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", &seconds.to_string()]);
    for (name, text, weight) in MIX {
        let path = folder.join(name);
        let text = text.replace("{access}", &insert("access", 'a')).replace("{refresh}", &insert("refresh", 'r'));
        std::fs::write(&path, text)?;
        command.arg("-f").arg(format!("{}@{weight}", path.display()));
    }
    let output = command.arg(url).stderr(Stdio::piped()).output().context("cannot run pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.starts_with("tps = ")).context("pgbench gave no tps")?;
    line[6..].split(' ').next().and_then(|number| number.parse().ok()).context("pgbench gave no tps")
}

/// Who tells what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nobody: `wal_level` is as PostgreSQL has it.
    Nobody,
    Triggers,
    /// A slot that nobody reads: what its `wal_level` and its publication cost the writers.
    Slot,
    /// A slot that is read as fast as it is written to.
    ReadSlot,
}

impl Source {
    const ALL: [Source; 4] = [Source::Nobody, Source::Triggers, Source::Slot, Source::ReadSlot];

    fn slot(self) -> bool {
        matches!(self, Source::Slot | Source::ReadSlot)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Nobody => "without capture",
            Source::Triggers => "triggers",
            Source::Slot => "slot",
            Source::ReadSlot => "slot, being read",
        })
    }
}

/// A server with tokens.
struct Server {
    cluster: Cluster,
    session: Session,
    run: RunId,
}

impl Server {
    async fn start(binaries: &Binaries, durable: &str, wal_level: &str) -> Result<Self> {
        let settings = ["fsync", "full_page_writes"].map(|name| (name, durable.to_owned())).to_vec();
        let more = [("shared_buffers", "512MB"), ("max_wal_size", "8GB"), ("wal_level", wal_level)];
        let settings = [settings, more.map(|(name, value)| (name, value.to_owned())).to_vec()].concat();
        let cluster = Cluster::start(binaries, settings).await?;
        let mut session = cluster.database("blue", "postgres")?.connect("bench").await?;
        create_1x(&session, 5_000, 0, "bench").await?;
        session.batch_execute("CREATE SEQUENCE bench_token START 2").await?;
        session.batch_execute("VACUUM ANALYZE").await?;
        ensure_control(&mut session).await?;
        Ok(Self { cluster, session, run: RunId::fresh() })
    }

    async fn capture(&self, slot: bool) -> Result<()> {
        let step = StepId::new("bench").map_err(anyhow::Error::msg)?;
        let mut shapes = Vec::new();
        for table in ["hydra_oauth2_access", "hydra_oauth2_refresh"] {
            let wanted =
                Captured { table: QualifiedName::new("public", table), columns: vec![Ident::new("signature")], watch: None };
            shapes.push(Shape::read(&self.session, &wanted).await?.context("no such table")?);
        }
        if slot {
            self.session.batch_execute(&publish(&self.session, &self.run, &step, &shapes, u64::MAX).await?.join("; ")).await?;
            return create_slot(&self.session, &slot_name(&self.run)).await;
        }
        for shape in shapes {
            for statement in install(&self.session, &self.run, &step, &shape, u64::MAX).await? {
                self.session.batch_execute(&statement).await?;
            }
        }
        Ok(())
    }

    async fn release(&self, slot: bool) -> Result<()> {
        if slot {
            drop_slot(&self.session, &slot_name(&self.run)).await?;
            self.session.batch_execute(&drop_publication(&slot_name(&self.run))).await?;
        }
        for table in installed(&self.session, &self.run).await? {
            if !slot {
                for statement in remove(&self.session, &table).await? {
                    self.session.batch_execute(&statement).await?;
                }
            }
            self.session.batch_execute(&table.forget()).await?;
        }
        self.session.batch_execute("TRUNCATE crossfade.outbox").await?;
        Ok(())
    }

    /// Makes sure that something was captured.
    async fn captured(&self, slot: bool) -> Result<()> {
        let sql = match slot {
            true => "SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint FROM pg_replication_slots",
            false => "SELECT count(*) FROM crossfade.outbox",
        };
        let much: i64 = self.session.query_one(sql, &[]).await?.get(0);
        ensure!(much > 0, "nothing was captured");
        Ok(())
    }

    /// Reads the slot to nowhere.
    fn read(&self, program: &Path) -> Result<Child> {
        let name = slot_name(&self.run);
        let mut command = Command::new(program);
        command.args(["--start", "--no-loop", "--file", "/dev/null", "--slot", &name, "--dbname", &self.cluster.url("postgres")]);
        command.args(["--option", "proto_version=1", "--option", &format!("publication_names={name}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot run pg_recvlogical")
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u32| -> Result<u32> {
        std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
    };
    let (rounds, seconds) = (number("ROUNDS", 5)?, number("SECONDS", 5)?);
    let binaries = Binaries::find()?;
    let beside = |name: &str| Ok::<_, anyhow::Error>(binaries.program("postgres").canonicalize()?.with_file_name(name));
    let (bench, reader) = (beside("pgbench")?, beside("pg_recvlogical")?);
    let folder = tempfile::tempdir()?;
    for (profile, durable) in [("durable commits", "on"), ("commits without fsync", "off")] {
        // Without a slot nobody has to set wal_level: what that costs belongs to the slot.
        let plain = Server::start(&binaries, durable, "replica").await?;
        let logical = Server::start(&binaries, durable, "logical").await?;
        for server in [&plain, &logical] {
            pgbench(&bench, folder.path(), &server.cluster.url("postgres"), seconds)?; // caches and files warm up
        }
        let mut tps: Vec<Vec<f64>> = vec![Vec::new(); Source::ALL.len()];
        for round in 0..rounds as usize {
            // What comes later has the larger tables: the order changes every round.
            for turn in 0..Source::ALL.len() {
                let place = (round + turn) % Source::ALL.len();
                let source = Source::ALL[place];
                let server = if source.slot() { &logical } else { &plain };
                if source != Source::Nobody {
                    server.capture(source.slot()).await?;
                }
                let mut reading = if source == Source::ReadSlot { Some(server.read(&reader)?) } else { None };
                let rate = pgbench(&bench, folder.path(), &server.cluster.url("postgres"), seconds)?;
                if let Some(mut child) = reading.take() {
                    ensure!(child.try_wait()?.is_none(), "pg_recvlogical ended");
                    child.kill()?;
                    child.wait()?;
                }
                if source != Source::Nobody {
                    server.captured(source.slot()).await?;
                    server.release(source.slot()).await?;
                }
                server.session.batch_execute("CHECKPOINT").await?;
                eprintln!("{profile}, round {}: {rate:.0} {source}", round + 1);
                tps[place].push(rate);
            }
        }
        println!("{profile}: {:.0} transactions/s without capture", median(tps[0].clone()));
        for (source, rates) in Source::ALL.iter().zip(&tps).skip(1) {
            let ratios: Vec<f64> = rates.iter().zip(&tps[0]).map(|(with, without)| with / without).collect();
            let (low, high) = ratios.iter().fold((f64::MAX, 0.0f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
            let ratio = median(ratios);
            println!(
                "  {source}: {:.0} transactions/s; median ratio {ratio:.3} ({low:.3} .. {high:.3}), overhead {:.1} %",
                median(rates.clone()),
                (1.0 - ratio) * 100.0
            );
        }
    }
    Ok(())
}
