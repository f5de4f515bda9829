//! What capture costs those who write to blue: `pgbench` with a mix of token writes, with and without it. See
//! `benches/README.md`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use crossfade::capture::{Shape, install, installed, remove};
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

async fn capture(session: &Session, run: &RunId) -> Result<()> {
    for table in ["hydra_oauth2_access", "hydra_oauth2_refresh"] {
        let wanted = Captured { table: QualifiedName::new("public", table), columns: vec![Ident::new("signature")], watch: None };
        let shape = Shape::read(session, &wanted).await?.context("no such table")?;
        let step = StepId::new("bench").map_err(anyhow::Error::msg)?;
        for statement in install(session, run, &step, &shape, u64::MAX).await? {
            session.batch_execute(&statement).await?;
        }
    }
    Ok(())
}

async fn release(session: &Session, run: &RunId) -> Result<()> {
    for table in installed(session, run).await? {
        for statement in remove(session, &table).await? {
            session.batch_execute(&statement).await?;
        }
        session.batch_execute(&table.forget()).await?;
    }
    session.batch_execute("TRUNCATE crossfade.outbox").await?;
    Ok(())
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
    let (rounds, seconds) = (number("ROUNDS", 7)?, number("SECONDS", 5)?);
    let binaries = Binaries::find()?;
    let program = binaries.program("postgres").canonicalize()?.with_file_name("pgbench");
    let folder = tempfile::tempdir()?;
    for (profile, durable) in [("durable commits", "on"), ("commits without fsync", "off")] {
        let settings = ["fsync", "full_page_writes"].map(|name| (name, durable.to_owned())).to_vec();
        let settings = [settings, vec![("shared_buffers", "512MB".to_owned()), ("max_wal_size", "8GB".to_owned())]].concat();
        let cluster = Cluster::start(&binaries, settings).await?;
        let mut session = cluster.database("blue", "postgres")?.connect("bench").await?;
        create_1x(&session, 5_000, 0, "bench").await?;
        session.batch_execute("CREATE SEQUENCE bench_token START 2").await?;
        session.batch_execute("VACUUM ANALYZE").await?;
        ensure_control(&mut session).await?;
        let run = RunId::fresh();
        let url = cluster.url("postgres");
        let (mut ratios, mut plain, mut with) = (Vec::new(), Vec::new(), Vec::new());
        pgbench(&program, folder.path(), &url, seconds)?; // caches and files warm up
        for round in 0..rounds {
            let mut tps = [0.0; 2];
            // What comes second has the larger tables: the order changes every round.
            for captured in if round % 2 == 0 { [false, true] } else { [true, false] } {
                if captured {
                    capture(&session, &run).await?;
                }
                tps[usize::from(captured)] = pgbench(&program, folder.path(), &url, seconds)?;
                if captured {
                    let rows: i64 = session.query_one("SELECT count(*) FROM crossfade.outbox", &[]).await?.get(0);
                    ensure!(rows > 0, "nothing was captured");
                    release(&session, &run).await?;
                }
                session.batch_execute("CHECKPOINT").await?;
            }
            eprintln!("{profile}: {:.0} without, {:.0} with capture: {:.3}", tps[0], tps[1], tps[1] / tps[0]);
            plain.push(tps[0]);
            with.push(tps[1]);
            ratios.push(tps[1] / tps[0]);
        }
        let ratio = median(ratios);
        println!(
            "{profile}: {:.0} transactions/s without, {:.0} with capture; median ratio {ratio:.3}, overhead {:.1} %",
            median(plain),
            median(with),
            (1.0 - ratio) * 100.0
        );
    }
    Ok(())
}
