//! The demo's OAuth service on each schema, its live clients, and `crossfade demo` as a whole.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossfade::demo::{
    App, Census, Load, Mix, OAuthClient, Pool, SESSIONS_1X, SESSIONS_2X, STORE_1_11, STORE_1X, STORE_2X, Service, Store, Worker,
    World, balance, create_1x,
};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hydra::blue_1_11_10;
use crate::support::{Ran, TestDb, crossfade, entries, eventually, nothing_left};

const SEED: &str = "test";

async fn database_1x() -> TestDb {
    let db = TestDb::empty().await;
    create_1x(&db.session().await, 200, 2, SEED).await.unwrap();
    db
}

/// The 2.3.0 schema with a client that has a secret and a public one.
async fn database_2x() -> TestDb {
    let db = TestDb::empty().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/hydra-2x");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| !file.to_str().unwrap().ends_with(".down.sql")) {
        db.sql(&std::fs::read_to_string(file).unwrap()).await;
    }
    db.sql(
        "INSERT INTO hydra_client (id, client_name, client_secret, scope, owner, policy_uri, tos_uri, client_uri, logo_uri, \
             sector_identifier_uri, jwks, jwks_uri, metadata, nid, redirect_uris, grant_types, response_types, audience, \
             allowed_cors_origins, contacts, request_uris) \
         SELECT client.id, '', CASE WHEN secret = '' THEN '' ELSE encode(sha256(secret::bytea), 'hex') END, '', '', '', '', '', '', '', '', \
             '', '{}', networks.id, '[]', '[\"authorization_code\", \"refresh_token\", \"client_credentials\"]', '[]', '[]', '[]', \
             '[]', '[]' \
         FROM networks, (VALUES ('client-0001', 'first secret'), ('client-0002', 'second secret'), ('client-0004', '')) \
             AS client (id, secret)",
    )
    .await;
    db
}

fn apps_2x() -> Vec<App> {
    [("client-0001", Some("first secret")), ("client-0002", Some("second secret")), ("client-0004", None)]
        .map(|(id, secret)| App { id: id.to_owned(), secret: secret.map(str::to_owned) })
        .to_vec()
}

async fn serve(db: &TestDb, store: &'static Store) -> (Service, OAuthClient) {
    let service = Service::start(Pool::open(&db.database(), 3).await.unwrap(), store).await.unwrap();
    let http = OAuthClient::new(service.address());
    (service, http)
}

/// Every endpoint, right and wrong. `app` has a secret, `public` has none.
async fn every_endpoint(service: &Service, http: &OAuthClient, app: &App, public: &App) {
    let (id, secret) = (app.id.as_str(), app.secret.as_deref());
    let active = async |token: &str| {
        let answer = http.introspect(id, secret, token).await;
        assert_eq!(answer.status, 200);
        answer.body["active"].as_bool().unwrap()
    };

    // A login with consent, its code once, and not twice.
    let login = http.authorize(id, "alice", "openid offline", None).await;
    assert_eq!(login.status, 200, "{login:?}");
    let code = [("grant_type", "authorization_code"), ("code", login.text("code"))];
    let first = http.token(id, secret, &code).await;
    assert_eq!((first.status, first.text("scope")), (200, "openid offline"), "{first:?}");
    assert_eq!(http.token(id, secret, &code).await.text("error"), "invalid_grant");

    // What introspection says about both tokens.
    let seen = http.introspect(id, secret, first.text("access_token")).await;
    assert_eq!([seen.text("client_id"), seen.text("sub"), seen.text("token_type")], [id, "alice", "access_token"]);
    assert!(active(first.text("refresh_token")).await);
    assert!(!active("nothing.of-ours").await);

    // A rotation; the old ones are dead.
    let refresh = |token: &str| {
        let token = token.to_owned();
        async move { http.token(id, secret, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await }
    };
    let second = refresh(first.text("refresh_token")).await;
    assert_eq!(second.status, 200, "{second:?}");
    for (token, good) in [(&first, false), (&second, true)] {
        assert_eq!([active(token.text("access_token")).await, active(token.text("refresh_token")).await], [good, good]);
    }
    let stolen = [("grant_type", "refresh_token"), ("refresh_token", second.text("refresh_token"))];
    let other = http.token(&public.id, None, &stolen).await;
    assert_eq!(other.text("error"), "invalid_grant", "another client's token");
    assert!(active(second.text("refresh_token")).await);

    // A revocation, by another client without effect.
    assert_eq!(http.revoke(&public.id, None, second.text("access_token")).await.status, 200);
    assert!(active(second.text("access_token")).await);
    assert_eq!(http.revoke(id, secret, second.text("access_token")).await.status, 200);
    assert!(!active(second.text("access_token")).await && !active(second.text("refresh_token")).await);
    assert_eq!(refresh(second.text("refresh_token")).await.status, 400);

    // A client for itself.
    let machine = http.token(id, secret, &[("grant_type", "client_credentials"), ("scope", "invoices:read")]).await;
    assert!(active(machine.text("access_token")).await && machine.text("refresh_token").is_empty());

    // A public client needs PKCE, and the right verifier.
    assert_eq!(http.authorize(&public.id, "bob", "openid", None).await.text("error"), "invalid_request");
    let login = http.authorize(&public.id, "bob", "openid", Some("right")).await;
    let exchange = async |verifier: &str| {
        let grant = [("grant_type", "authorization_code"), ("code", login.text("code")), ("code_verifier", verifier)];
        http.token(&public.id, None, &grant).await
    };
    assert_eq!(exchange("wrong").await.text("error"), "invalid_grant");
    let bob = exchange("right").await;
    assert_eq!((bob.status, bob.text("refresh_token")), (200, ""), "{bob:?}");

    // Wrong secrets, unknown clients and endpoints, no secret where one is needed.
    let token = bob.text("access_token");
    assert_eq!(http.introspect(id, Some("wrong"), token).await.status, 401);
    assert_eq!(http.introspect("nobody", Some("x"), token).await.status, 401);
    assert_eq!(http.introspect(id, None, token).await.status, 401);
    assert_eq!(http.introspect(&public.id, None, token).await.status, 401, "introspection is not for public clients");

    // Read-only: introspection goes on, nothing is written.
    service.set_read_only(true);
    assert!(active(token).await);
    assert_eq!(http.revoke(&public.id, None, token).await.status, 503);
    service.set_read_only(false);
    assert!(active(token).await);
}

/// Live clients for a moment; every answer is right, and the database holds what they say.
async fn traffic(db: &TestDb, http: &OAuthClient, sessions_sql: &str, world: World) {
    let before = Census::take(&db.session().await, sessions_sql).await.unwrap();
    let apps = Arc::new(world.apps);
    let mut shares: Vec<Vec<_>> = (0..4).map(|_| Vec::new()).collect();
    for (index, held) in world.sessions.into_iter().enumerate() {
        shares[index % 4].push(held);
    }
    let worker = |(seed, share)| Worker::new(http.clone(), Arc::clone(&apps), seed, share);
    let load = Load::start((1..).zip(shares).map(worker).collect(), Mix::READ_WRITE, 300);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (workers, measured) = load.finish().await.unwrap();
    assert!(measured.requests() > 100, "{}", measured.requests());
    assert!(measured.failures().is_empty(), "{:?}", measured.failures());
    let after = Census::take(&db.session().await, sessions_sql).await.unwrap();
    let held = || workers.iter().flat_map(|worker| &worker.sessions);
    let found = balance(&before, held(), &apps, &after);
    assert_eq!((found.differing, found.before), (0, found.after), "{found:?}");
    assert!(found.created > 0 && found.revoked > 0, "{found:?}");

    // The check can fail: one session that nobody ended is gone.
    let victim = held().find(|held| !held.revoked && held.tokens() > 0).unwrap();
    for table in ["hydra_oauth2_access", "hydra_oauth2_refresh"] {
        db.sql(&format!("UPDATE {table} SET active = false WHERE challenge_id = '{}'", victim.consent)).await;
    }
    let damaged = Census::take(&db.session().await, sessions_sql).await.unwrap();
    assert_eq!(balance(&before, held(), &apps, &damaged).differing, 1);
}

#[tokio::test]
async fn the_service_on_hydra_1x() {
    let db = database_1x().await;
    let world = World::of(&db.session().await, SEED, 1000).await.unwrap();
    let (service, http) = serve(&db, &STORE_1X).await;
    let public = world.apps.iter().find(|app| app.secret.is_none()).unwrap();
    every_endpoint(&service, &http, &world.apps[1], public).await;
    traffic(&db, &http, SESSIONS_1X, world).await;
}

#[tokio::test]
async fn the_service_on_hydra_1_11_10() {
    let db = blue_1_11_10().await;
    let world = World::of(&db.session().await, "7", 1000).await.unwrap();
    let (service, http) = serve(&db, &STORE_1_11).await;
    let public = world.apps.iter().find(|app| app.secret.is_none()).unwrap();
    every_endpoint(&service, &http, &world.apps[1], public).await;
    let kept = "SELECT count(*) > 0 FROM hydra_oauth2_refresh WHERE NOT active AND requested_at > now() - interval '1 hour'";
    assert_eq!(db.value(kept).await, "true", "rows that were used up stay");
    traffic(&db, &http, SESSIONS_1X, world).await;
}

#[tokio::test]
async fn the_service_on_hydra_2_3_0() {
    let db = database_2x().await;
    let (service, http) = serve(&db, &STORE_2X).await;
    let apps = apps_2x();
    every_endpoint(&service, &http, &apps[0], &apps[2]).await;
    traffic(&db, &http, SESSIONS_2X, World { apps, sessions: Vec::new() }).await;
}

#[tokio::test]
async fn a_changed_column_under_prepared_statements_stops_nobody() {
    let db = database_1x().await;
    let world = World::of(&db.session().await, SEED, 1000).await.unwrap();
    let (_service, http) = serve(&db, &STORE_1X).await;
    let app = &world.apps[1];
    let token = &world.sessions.iter().find_map(|held| held.refresh.as_ref()).unwrap().text;
    for change in ["SELECT 1", "ALTER TABLE hydra_client ALTER client_secret TYPE varchar(999)"] {
        db.sql(change).await;
        for _ in 0..4 {
            assert_eq!(http.introspect(&app.id, app.secret.as_deref(), token).await.status, 200);
        }
    }
}

/// Whatever ends the demo, and when: its servers end too, and no folder is left.
#[tokio::test]
async fn a_demo_that_ends_early_leaves_nothing() {
    // initdb makes a postmaster.pid too: it is there while the second server is made or only just starts.
    let (first, early, up, routed) = ("plans", "data/postmaster.pid", ".s.PGSQL.5432", "plans/router-state/admin.sock");
    for (what, times, signal, code) in [
        (first, 1, Signal::SIGKILL, None),
        (early, 2, Signal::SIGINT, Some(130)),
        (early, 2, Signal::SIGTERM, Some(130)),
        (early, 2, Signal::SIGKILL, None),
        (up, 2, Signal::SIGINT, Some(130)),
        (up, 2, Signal::SIGKILL, None),
        (routed, 1, Signal::SIGKILL, None),
        (routed, 1, Signal::SIGTERM, Some(130)),
    ] {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        // The router comes when the data is there; servers that start are met while it is made.
        let sessions = if what == routed { "100" } else { "50000" };
        let count = || entries(folder.path()).iter().filter(|path| path.join(what).exists()).count();
        let mut child = crossfade().args(["-q", "demo", "--sessions", sessions]).env("TMPDIR", folder.path()).spawn().unwrap();
        eventually(what, async || count() == times).await;
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        nothing_left(folder.path(), &format!("{signal} when {what} is there {times} times")).await;
    }
}

/// What `--keep` says is enough to go on, and to remove everything.
#[tokio::test]
async fn a_kept_demo_says_how_to_go_on_and_how_to_remove_it() {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let ran = Ran::of(
        crossfade()
            .args(["demo", "--sessions", "50", "--rate", "20", "--keep", "--format", "json"])
            .env("TMPDIR", folder.path())
            .output()
            .unwrap(),
    )
    .exits(0);
    let lines = |prefix: &str| ran.stderr.lines().filter_map(|line| line.strip_prefix(prefix)).collect::<Vec<_>>().join("\n");
    let shell = |script: &str| {
        let mut command = std::process::Command::new("sh");
        let program = Path::new(env!("CARGO_BIN_EXE_crossfade")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        Ran::of(command.args(["-ec", script]).env("PATH", path).output().unwrap()).exits(0)
    };
    let again = shell(&lines("  go on:  "));
    assert!(again.stdout.contains("hydra-2x-cutover: done"), "{}", again.stdout);
    assert_eq!(entries(folder.path()).len(), 3);
    shell(&lines("  remove: "));
    nothing_left(folder.path(), "what --keep says").await;
}

/// Forward and back again through the router, on Hydra's schemas, with changes followed in both directions.
#[test]
fn both_journeys_under_live_traffic_and_back() {
    let ran = Ran::of(
        crossfade().args(["demo", "--sessions", "300", "--rate", "30", "--and-back", "--format", "json"]).output().unwrap(),
    )
    .exits(0);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let journeys = report["journeys"].as_array().unwrap();
    assert_eq!(journeys.len(), 2);
    for (journey, (plan, outcome)) in journeys.iter().zip([("hydra-1x-in-place", "done"), ("hydra-2x-cutover", "rolled_back")]) {
        assert_eq!((journey["plan"].as_str(), journey["outcome"].as_str()), (Some(plan), Some(outcome)), "{journey}");
        let number = |key: &str| journey[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {journey}"));
        for key in ["seconds", "rows_updated", "rows_inserted", "temp_bytes", "transaction_commits", "wal_bytes"] {
            assert!(number(key) >= 0.0);
        }
        assert!(number("requests") > 20.0 && number("requests_failed") == 0.0, "{journey}");
        assert!(number("longest_stall_ms") > 0.0 && number("sessions_valid_before") > 200.0, "{journey}");
        assert_eq!(number("sessions_valid_before"), number("sessions_valid_after"));
        assert_eq!((number("divergences"), number("sessions_differing")), (0.0, 0.0));
    }
    let number =
        |pointer: &str| journeys[1].pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{pointer}"));
    assert!(number("/sessions_created") > 0.0, "{}", journeys[1]);
    assert!(number("/hold_ms") > 0.0 && number("/writes_after_fence") == 0.0 && number("/lost_writes") == 0.0, "{}", journeys[1]);
    assert_eq!(number("/token_families_revoked_by_reuse"), 0.0);
    assert!(number("/token_families_revoked_by_reuse_without_coalescing") > 0.0);
    assert!(number("/revocations/captured") > 0.0 && number("/revocations/captured") == number("/revocations/proved"));
    assert!(number("/rollback/requests") > 100.0 && number("/rollback/sessions_created") > 0.0, "{}", journeys[1]["rollback"]);
    assert_eq!((number("/rollback/requests_failed"), number("/rollback/lost_writes")), (0.0, 0.0));
    // The copy updates no row on green: these few are the server's own catalogs, as many for 300 sessions as for 300 000.
    let steps = journeys[1]["run"]["steps"].as_array().unwrap();
    let copy = steps.iter().find(|step| step["step"] == "copy-rows").unwrap();
    assert!(copy["counters"]["green"]["rows_updated"].as_f64().unwrap() < 400.0, "{copy}");
    // Nothing that opens a door is printed.
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("access_token") && !text.contains("postgresql://"), "{text}");
    }
}
