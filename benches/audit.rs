//! What an audit of a million sessions costs: its time against reading the same tables once, and its memory. See
//! `benches/README.md`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossfade::pg::Session;
use crossfade::shadow::{Binaries, Cluster};

/// Sessions with one access and one refresh token each, in the shape of 1.0.0; short session data, so that a million of them
/// are soon made.
const ROWS: &str = "
INSERT INTO hydra_client (pk, id, client_name, client_secret, redirect_uris, grant_types, response_types, scope, owner, policy_uri, tos_uri,
    client_uri, logo_uri, contacts, sector_identifier_uri, jwks, jwks_uri, request_uris, allowed_cors_origins, audience)
SELECT n, 'client-' || n, 'c', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '' FROM generate_series(1, 1000) n;
CREATE TEMP TABLE s AS SELECT n, md5('l' || n) AS login, md5('c' || n) AS consent, 'user-' || n % 400000 AS subject,
    'client-' || 1 + n % 1000 AS client, '2026-01-01'::timestamp + n * interval '1 s' AS at FROM generate_series(1, SESSIONS) n;
INSERT INTO hydra_oauth2_authentication_request (challenge, requested_scope, verifier, csrf, subject, request_url, skip, client_id,
    requested_at, oidc_context)
SELECT login, 'openid|offline|email', md5('lv' || n), md5('lc' || n), '', 'https://login.example/oauth2/auth?client_id=' || client,
    false, client, at, '{}' FROM s;
INSERT INTO hydra_oauth2_authentication_request_handled (challenge, subject, remember, remember_for, error, acr, requested_at, was_used)
SELECT login, subject, false, 0, '{}', '', at, true FROM s;
INSERT INTO hydra_oauth2_consent_request (challenge, verifier, client_id, subject, request_url, skip, requested_scope, csrf,
    requested_at, oidc_context, login_challenge)
SELECT consent, md5('cv' || n), client, subject, 'https://login.example/oauth2/auth?client_id=' || client, false,
    'openid|offline|email', md5('cc' || n), at, '{}', login FROM s;
INSERT INTO hydra_oauth2_consent_request_handled (challenge, granted_scope, remember, remember_for, error, requested_at,
    session_access_token, session_id_token, was_used)
SELECT consent, 'openid|offline|email', true, 0, '{}', at, '{}', '{}', true FROM s;
INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data, subject,
    challenge_id)
SELECT md5('a' || n), consent, at, client, 'openid|offline|email', 'openid|offline|email', '', repeat(md5('s' || n), 6), subject, consent FROM s;
INSERT INTO hydra_oauth2_refresh (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data, subject,
    challenge_id)
SELECT md5('r' || n), consent, at, client, 'openid|offline|email', 'openid|offline|email', '', repeat(md5('s' || n), 6), subject, consent FROM s;
DROP TABLE s;
VACUUM ANALYZE;
";

const BLUE: [&str; 7] = [
    "hydra_client",
    "hydra_oauth2_authentication_request",
    "hydra_oauth2_authentication_request_handled",
    "hydra_oauth2_consent_request",
    "hydra_oauth2_consent_request_handled",
    "hydra_oauth2_access",
    "hydra_oauth2_refresh",
];
const GREEN: [&str; 3] = ["hydra_oauth2_flow", "hydra_oauth2_access", "hydra_oauth2_refresh"];

fn crossfade(words: &[&str], cluster: &Cluster, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(words).env("BLUE_DATABASE_URL", cluster.url("blue")).env("GREEN_DATABASE_URL", cluster.url("green"));
    command.env("CROSSFADE_STATE", state).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Runs a command to its end.
fn run(words: &[&str], cluster: &Cluster, state: &Path) -> Result<()> {
    let status = crossfade(words, cluster, state).status()?;
    ensure!(status.success(), "{words:?}: {status}");
    Ok(())
}

/// Time and peak memory (VmHWM, in MiB) of an audit that must find nothing.
fn audit(plan: &str, cluster: &Cluster, state: &Path) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let mut child = crossfade(&["audit", plan, "-q", "--format", "json"], cluster, state).stdout(Stdio::null()).spawn()?;
    let mut peak = 0;
    let status = loop {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    ensure!(status.success(), "the audit found damage or failed: {status}");
    Ok((began.elapsed(), peak / 1024))
}

/// Every row of these tables once, all columns.
async fn read(session: &Session, tables: &[&str]) -> Result<()> {
    for table in tables {
        session.query_one(&format!("SELECT sum(octet_length(t::text)) FROM {table} t"), &[]).await?;
    }
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (sessions, rounds) = (number("SESSIONS", 1_000_000), number("ROUNDS", 5));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plan = |name: &str| source.join("plans").join(name).display().to_string();
    let settings = ["shared_buffers=512MB", "max_wal_size=4GB", "synchronous_commit=off"];
    let settings = settings.iter().filter_map(|setting| setting.split_once('=')).map(|(name, value)| (name, value.to_owned()));
    let cluster = Cluster::start(&Binaries::find()?, settings.collect()).await?;
    let admin = cluster.database("admin", "postgres")?.connect("bench").await?;
    admin.batch_execute("CREATE DATABASE blue").await?;
    admin.batch_execute("CREATE DATABASE green").await?;
    let folder = std::env::temp_dir().join(format!("crossfade-bench-audit-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (blue, green) =
        (cluster.database("blue", "blue")?.connect("bench").await?, cluster.database("green", "green")?.connect("bench").await?);
    blue.batch_execute(include_str!("../src/demo/hydra-1.0.0.sql")).await.context("cannot make 1.0.0")?;
    for statement in ROWS.replace("SESSIONS", &sessions.to_string()).split(";\n").filter(|text| !text.trim().is_empty()) {
        blue.batch_execute(statement).await.context("cannot make rows")?;
    }
    run(&["run", &plan("hydra-1x-in-place.toml"), "--execute"], &cluster, &folder)?;
    run(&["run", &plan("hydra-2x-blue-green.toml"), "--execute"], &cluster, &folder)?;
    blue.batch_execute("VACUUM ANALYZE").await?;
    green.batch_execute("VACUUM ANALYZE").await?;
    let shipped = plan("hydra-2x-audit-and-repair.toml");
    let (mut audits, mut reads, mut peak) = (Vec::new(), Vec::new(), 0);
    for round in 0..=rounds {
        let (took, memory) = audit(&shipped, &cluster, &folder)?;
        let began = Instant::now();
        tokio::try_join!(read(&blue, &BLUE), read(&green, &GREEN))?;
        let once = began.elapsed();
        // The first round warms up.
        if round > 0 {
            audits.push(took.as_secs_f64());
            reads.push(once.as_secs_f64());
            peak = peak.max(memory);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    let ratios = audits.iter().zip(&reads).map(|(audit, read)| audit / read).collect();
    let per_second = sessions as f64 / median(audits.clone());
    println!(
        "{sessions} sessions, {rounds} rounds (medians): audit {:.1} s ({per_second:.0} sessions/s), reading once {:.1} s, ratio {:.2}, peak memory {peak} MiB",
        median(audits),
        median(reads),
        median(ratios)
    );
    Ok(())
}
