//! Levers: the old value is in the journal before the new one is set, no secret ever is, and HTTP levers too go there and back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::support::{Ran, TestDb, Workspace};

const HEAD: &str = "format = 1\nname = \"levers\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\n";

fn journal(workspace: &Workspace) -> String {
    let runs = std::fs::read_dir(workspace.folder.path().join("state/levers")).unwrap();
    runs.map(|run| std::fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_refused_and_gets_nowhere() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE setting (value text); INSERT INTO setting VALUES ('s3cret-of-the-service')").await;
    let plan = format!(
        "{HEAD}[[step]]\nid = \"in-sql\"\nphase = \"expand\"\nkind = \"set_lever\"\nname = \"a lever\"\nvalue = \"24h\"\n\
         sql = {{ side = \"blue\", read = \"SELECT value FROM setting\", write = [\"UPDATE setting SET value = {{value}}\"] }}\n"
    );
    let workspace = Workspace::new(&plan, &db, None);
    let preview = workspace.run(&["run"]).exits(0);
    let refused = workspace.run(&["run", "--execute"]).exits(10);
    assert!(refused.stderr.contains("neither shown nor kept"), "{}", refused.stderr);
    for text in [preview.stdout, preview.stderr, refused.stdout, refused.stderr, journal(&workspace)] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert_eq!(db.value("SELECT value FROM setting").await, "s3cret-of-the-service");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_set_since_stays() {
    let db = TestDb::empty().await;
    let plan = format!(
        "{HEAD}[[step]]\nid = \"in-file\"\nphase = \"expand\"\nkind = \"set_lever\"\nname = \"ttl\"\nvalue = \"24h\"\nfile = {{ path = \"a.env\", key = \"TTL\" }}\n"
    );
    let workspace = Workspace::new(&plan, &db, None);
    let file = workspace.folder.path().join("a.env");
    std::fs::write(&file, "TTL=1h\n").unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "TTL=24h\n");
    assert!(journal(&workspace).contains("\"value\":\"1h\""), "{}", journal(&workspace));
    std::fs::write(&file, "TTL=7h\n").unwrap();
    let back = workspace.run(&["rollback", "--execute"]).exits(0);
    assert!(back.stderr.contains("set to something else since"), "{}", back.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "TTL=7h\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_reader_cannot_be_told_is_left_alone() {
    let db = TestDb::empty().await;
    let plan = format!(
        "{HEAD}[[step]]\nid = \"in-file\"\nphase = \"expand\"\nkind = \"set_lever\"\nname = \"ttl\"\nvalue = \"24h\"\n\
         file = {{ path = \"a.env\", key = \"TTL\", signal = {{ pid_file = \"a.pid\" }} }}\n"
    );
    let workspace = Workspace::new(&plan, &db, None);
    let file = workspace.folder.path().join("a.env");
    std::fs::write(&file, "TTL=1h\n").unwrap();
    let ran = workspace.run(&["run", "--execute"]).exits(11);
    assert!(ran.stderr.contains("a.pid"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "TTL=1h\n");
}

/// A service with one value: GET gives it in JSON, PUT sets it, with a bearer token alone.
fn service(value: &Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let value = Arc::clone(value);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() <= 2 {
                    break;
                }
                if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = given.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let allowed = head.contains("Bearer admin-token");
            if allowed && head.starts_with("PUT") {
                let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
                *value.lock().unwrap() = document["ttl"].as_str().unwrap().to_owned();
            }
            let answer = serde_json::json!({"ttl": {"access": *value.lock().unwrap()}}).to_string();
            let status = if allowed { "200 OK" } else { "401 Unauthorized" };
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
            reader.get_mut().write_all(text.as_bytes()).unwrap();
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lever_over_http_goes_there_and_back_after_a_crash() {
    let db = TestDb::empty().await;
    let value = Arc::new(Mutex::new("1h0m0s".to_owned()));
    let url = format!("http://127.0.0.1:{}/ttl", service(&value));
    let plan = format!(
        "{HEAD}[[step]]\nid = \"over-http\"\nphase = \"expand\"\nkind = \"set_lever\"\nname = \"ttl\"\nvalue = \"24h\"\n\
         [step.http]\njson = \"/ttl/access\"\nread = {{ url = \"{url}\", token_env = \"LEVER_TOKEN\" }}\n\
         write = {{ url = \"{url}\", method = \"PUT\", body = '{{\"ttl\": \"{{value}}\"}}', token_env = \"LEVER_TOKEN\" }}\n"
    );
    let mut workspace = Workspace::new(&plan, &db, None);
    workspace.env.push(("LEVER_TOKEN".to_owned(), "admin-token".to_owned()));
    // Killed when the value is set and the journal does not know it yet.
    let killed = workspace.command(&["run", "--execute"]).env("CROSSFADE_CRASH_AT", "over-http/applied").output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", String::from_utf8_lossy(&killed.stderr));
    assert_eq!(*value.lock().unwrap(), "24h");
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(*value.lock().unwrap(), "1h0m0s");
    assert!(!journal(&workspace).contains("admin-token"));
    workspace.env.retain(|(name, _)| name != "LEVER_TOKEN");
    let refused: Ran = workspace.run(&["run", "--execute", "--new"]).exits(11);
    assert!(refused.stderr.contains("LEVER_TOKEN"), "{}", refused.stderr);
}
