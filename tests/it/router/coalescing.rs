//! Refreshes and revocations against the demo's OAuth service on real databases.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crossfade::demo::{Answer, App, OAuthClient, Pool, STORE_2X, Service};

use super::{Proxy, status};
use crate::support::{TestDb, eventually};

const KEY: (&str, &str) = ("TAP_KEY", "5f0c7127c2a9bb8f0ee5b1a7f1d35b4bc7f4f66dfb0f3ee38ea2a76c2c7bd001");

async fn database() -> TestDb {
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
         FROM networks, (VALUES ('app', 'app-secret-4711'), ('spa', '')) AS client (id, secret)",
    )
    .await;
    db
}

fn apps() -> [App; 2] {
    [("app", Some("app-secret-4711")), ("spa", None)]
        .map(|(id, secret)| App { id: id.to_owned(), secret: secret.map(str::to_owned) })
}

async fn serve(db: &TestDb) -> Service {
    Service::start(Pool::open(&db.database(), 4).await.unwrap(), &STORE_2X).await.unwrap()
}

/// A login and its tokens.
async fn begin(http: &OAuthClient, app: &App, user: &str) -> Answer {
    let verifier = app.secret.is_none().then_some("verifier");
    let login = http.authorize(&app.id, user, "openid offline", verifier).await;
    let mut grant = vec![("grant_type", "authorization_code"), ("code", login.text("code"))];
    grant.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    let answer = http.token(&app.id, app.secret.as_deref(), &grant).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn refresh(http: &OAuthClient, app: &App, token: &str) -> Answer {
    http.token(&app.id, app.secret.as_deref(), &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

async fn active(http: &OAuthClient, token: &str) -> bool {
    let [app, _] = apps();
    http.introspect(&app.id, app.secret.as_deref(), token).await.body["active"].as_bool().unwrap()
}

/// Bad clients: each session is refreshed by several workers at once and again a moment later, ten times over. The number of
/// families that the server revoked for it.
async fn families_lost(address: SocketAddr) -> usize {
    let http = OAuthClient::new(address);
    let mut sessions = Vec::new();
    for number in 0..20 {
        let app = apps()[number % 2].clone();
        let (http, user) = (http.clone(), format!("user-{number}"));
        sessions.push(tokio::spawn(async move {
            let mut token = begin(&http, &app, &user).await.text("refresh_token").to_owned();
            for _ in 0..5 {
                let workers: Vec<_> = (0..3)
                    .map(|_| {
                        let (http, app, token) = (http.clone(), app.clone(), token.clone());
                        tokio::spawn(async move { refresh(&http, &app, &token).await })
                    })
                    .collect();
                let mut answers = Vec::new();
                for worker in workers {
                    answers.push(worker.await.unwrap());
                }
                answers.push(refresh(&http, &app, &token).await);
                let Some(good) = answers.iter().find(|answer| answer.status == 200) else { return true };
                token = good.text("refresh_token").to_owned();
                if !active(&http, &token).await {
                    return true;
                }
            }
            false
        }));
    }
    let mut lost = 0;
    for session in sessions {
        lost += usize::from(session.await.unwrap());
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_clients_keep_their_sessions() {
    let db = database().await;
    let service = serve(&db).await;
    let side = service.address();
    let on = Proxy::start(side, side, "").await;
    assert_eq!(families_lost(on.address()).await, 0);
    let (joined, repeated) =
        (on.count("crossfade_coalesced_joined_total").await, on.count("crossfade_coalesced_repeated_total").await);
    assert_eq!(joined + repeated, 20 * 5 * 3, "{joined} joined, {repeated} repeated");
    assert_eq!(on.count("crossfade_requests_total{side=\"blue\",operation=\"refresh\",status=\"200\"}").await, 100);
    let off = Proxy::start(side, side, "[coalesce]\nenabled = false\n").await;
    assert!(families_lost(off.address()).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_previous_token_and_only_its_own_client() {
    let db = database().await;
    let service = serve(&db).await;
    let proxy = Proxy::start(service.address(), service.address(), "[coalesce]\ngrace = \"2s\"\n").await;
    let http = OAuthClient::new(proxy.address());
    let [app, spa] = apps();
    for app in [&app, &spa] {
        // a → b → c: b's answer is repeated; a is older, goes upstream, and is taken for stolen.
        let a = begin(&http, app, "anna").await.text("refresh_token").to_owned();
        let b = refresh(&http, app, &a).await;
        assert_eq!(refresh(&http, app, &a).await.body, b.body, "the previous one");
        let c = refresh(&http, app, b.text("refresh_token")).await;
        assert_eq!(refresh(&http, app, b.text("refresh_token")).await.body, c.body);
        assert!(active(&http, c.text("access_token")).await);
        assert_eq!(refresh(&http, app, &a).await.text("error"), "invalid_grant");
        assert!(!active(&http, c.text("access_token")).await, "the server has seen the theft");
    }

    // Another client with the same token, or with a wrong secret, gets nothing of it.
    let a = begin(&http, &app, "bob").await.text("refresh_token").to_owned();
    let b = refresh(&http, &app, &a).await;
    let thief = App { id: "app".to_owned(), secret: Some("guessed".to_owned()) };
    assert_eq!(refresh(&http, &thief, &a).await.text("error"), "invalid_client");
    assert_eq!(refresh(&http, &app, &a).await.body, b.body);

    // The grace time is over.
    let d = refresh(&http, &app, b.text("refresh_token")).await;
    eventually("the answer is forgotten", async || proxy.count("crossfade_coalesce_answers").await == 0).await;
    assert_eq!(refresh(&http, &app, b.text("refresh_token")).await.text("error"), "invalid_grant");
    assert!(!active(&http, d.text("access_token")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_repeated_answers_at_once() {
    let db = database().await;
    let service = serve(&db).await;
    let proxy = Proxy::start(service.address(), service.address(), "").await;
    let http = OAuthClient::new(proxy.address());
    let [app, _] = apps();
    for by in ["old refresh token", "new refresh token", "new access token", "its client, by an administrator"] {
        let a = begin(&http, &app, "anna").await.text("refresh_token").to_owned();
        let b = refresh(&http, &app, &a).await;
        assert_eq!(refresh(&http, &app, &a).await.body, b.body);
        let token = match by {
            "old refresh token" => a.clone(),
            "new refresh token" => b.text("refresh_token").to_owned(),
            "new access token" => b.text("access_token").to_owned(),
            _ => {
                proxy.control().forget(Some(app.id.clone())).await.unwrap();
                String::new()
            }
        };
        if !token.is_empty() {
            assert_eq!(http.revoke(&app.id, app.secret.as_deref(), &token).await.status, 200);
        }
        assert_eq!(refresh(&http, &app, &a).await.text("error"), "invalid_grant", "{by}");
        assert!(!active(&http, b.text("access_token")).await, "{by}");
    }
}

/// A client that gives up does not cancel the upstream call: when it asks again it gets that call's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_and_asks_again() {
    let db = database().await;
    let service = serve(&db).await;
    let proxy = Proxy::start(service.address(), service.address(), "").await;
    let http = OAuthClient::new(proxy.address());
    let [_, spa] = apps();
    let first = begin(&http, &spa, "anna").await;
    let token = first.text("refresh_token");
    let lock = db.session().await;
    lock.batch_execute("BEGIN; LOCK hydra_oauth2_refresh IN EXCLUSIVE MODE").await.unwrap();
    for _ in 0..3 {
        let body = format!("grant_type=refresh_token&refresh_token={token}&client_id=spa");
        let request = format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            proxy.address(),
            body.len()
        );
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        eventually("it is upstream", async || proxy.count("crossfade_coalesce_flights").await == 1).await;
        drop(socket);
        tokio::time::sleep(Duration::from_millis(50)).await; // the router sees the client go
    }
    let last = tokio::spawn({
        let address = proxy.address();
        let body = format!("grant_type=refresh_token&refresh_token={token}&client_id=spa");
        async move {
            let request = format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.unwrap();
            answer
        }
    });
    lock.batch_execute("COMMIT").await.unwrap();
    let answer = last.await.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(proxy.count("crossfade_requests_total{side=\"blue\",operation=\"refresh\",status=\"200\"}").await, 1);
    let tokens: serde_json::Value = serde_json::from_str(answer.rsplit_once("\r\n\r\n").unwrap().1).unwrap();
    assert!(active(&http, tokens["access_token"].as_str().unwrap()).await);
}

/// Revocations are on disk before their clients know, also those whose answer a kill swallowed, and green gets all of them.
#[tokio::test(flavor = "multi_thread")]
async fn taps_are_durable_sealed_and_replayed() {
    let (blue_db, green_db) = (database().await, database().await);
    let (blue, green) = (serve(&blue_db).await, serve(&green_db).await);
    let listener = format!("blue = \"http://{}\"\ngreen = \"http://{}\"", blue.address(), green.address());
    let tap = "[tap]\nfolder = \"taps\"\nkey_env = \"TAP_KEY\"\n";
    let mut proxy = Proxy::start_with(&listener, tap, &[KEY]).await;
    let http = OAuthClient::new(proxy.address());
    let [app, spa] = apps();
    let mut secrets: Vec<String> = vec!["app-secret-4711".to_owned()];
    let mut revoked = Vec::new();
    for (number, app) in [&app, &spa, &app].into_iter().enumerate() {
        let tokens = begin(&http, app, "anna").await;
        let fresh = refresh(&http, app, tokens.text("refresh_token")).await;
        for answer in [&tokens, &fresh] {
            secrets.extend([answer.text("access_token"), answer.text("refresh_token")].map(str::to_owned));
        }
        revoked.push((app.clone(), fresh.text("refresh_token").to_owned(), fresh.text("access_token").to_owned()));
        if number < 2 {
            let http = OAuthClient::new(proxy.address());
            assert_eq!(http.revoke(&app.id, app.secret.as_deref(), fresh.text("refresh_token")).await.status, 200);
            // The revocation is recorded before its client hears of it, what came of it right after.
            let proxy = &proxy;
            eventually("what came of it is recorded", async || crossfade_taps(proxy).await[number]["status"] == 200).await;
            let taps = crossfade_taps(proxy).await;
            assert_eq!((taps.len(), taps[number]["kind"].as_str()), (number + 1, Some("revoke")));
        }
    }
    // Green knows the same sessions: here as rows, in a cutover by follow.
    let copy = async || {
        for table in ["hydra_oauth2_flow", "hydra_oauth2_refresh", "hydra_oauth2_access"] {
            let rows = blue_db.value(&format!("SELECT coalesce(jsonb_agg(t), '[]') FROM {table} t")).await;
            let session = green_db.session().await;
            let insert = format!(
                "INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('nid', (SELECT id FROM networks)))).* \
                 FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb) t"
            );
            session.execute("SET session_replication_role = replica", &[]).await.unwrap();
            session.execute(&insert, &[&rows]).await.unwrap();
        }
    };

    // The third: blue does it, and the router dies before it can say so.
    let lock = blue_db.session().await;
    lock.batch_execute("BEGIN; LOCK hydra_oauth2_refresh IN EXCLUSIVE MODE").await.unwrap();
    let third = tokio::spawn({
        let (http, (app, token, _)) = (OAuthClient::new(proxy.address()), revoked[2].clone());
        async move { http.revoke(&app.id, app.secret.as_deref(), &token).await.status }
    });
    eventually("the third is recorded", async || crossfade_taps(&proxy).await.len() == 3).await;
    proxy.kill_9().await;
    lock.batch_execute("COMMIT").await.unwrap();
    copy().await;
    assert_ne!(third.await.unwrap(), 200);
    proxy.restart().await;
    assert!(crossfade_taps(&proxy).await[2]["status"].is_null(), "nobody knows");
    // A refused one is no revocation.
    let http = OAuthClient::new(proxy.address());
    assert_eq!(http.revoke("app", Some("wrong-secret-99"), "a.b").await.status, 401);
    secrets.push("wrong-secret-99".to_owned());

    // Two of them are on green still: the copy came after the first two.
    let at_green = OAuthClient::new(green.address());
    let tried = proxy.command(&["replay-taps"]).await.exits(0);
    assert!(tried.stdout.starts_with("3 revocations of blue recorded, 0 done on green earlier, 3 to do"), "{}", tried.stdout);
    let done = proxy.command(&["replay-taps", "--execute", "--format", "json"]).await.exits(0);
    assert!(done.stdout.contains("\"replayed\": 3"), "{}", done.stdout);
    for (_, refresh, access) in &revoked {
        assert!(!active(&at_green, refresh).await && !active(&at_green, access).await);
    }
    let again = proxy.command(&["replay-taps", "--execute"]).await.exits(0);
    assert!(again.stdout.starts_with("3 revocations of blue recorded, 3 done on green earlier, 0 done"), "{}", again.stdout);

    // No token, secret or key in anything it wrote, with everything logged.
    let written = proxy.everything_written();
    assert!(written.iter().any(|(path, bytes)| path.ends_with("log-2") && !bytes.is_empty()));
    secrets.push(KEY.1.to_owned());
    for secret in secrets.iter().flat_map(|secret| [secret.as_str(), secret.split('.').next_back().unwrap()]) {
        assert!(secret.len() > 8, "{secret}");
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("app:{secret}"));
        for (path, bytes) in &written {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains(secret) && !text.contains(&encoded), "{secret} is in {}", path.display());
        }
    }
}

async fn crossfade_taps(proxy: &Proxy) -> Vec<serde_json::Value> {
    proxy.control().taps().await.unwrap()["taps"].as_array().unwrap().clone()
}
