//! Those who want to know are told what a run comes to: signed, again when they do not answer, and never a secret.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use ring::hmac;
use serde_json::Value;

use crate::support::{TestDb, Workspace};

#[derive(Debug, Clone)]
struct Heard {
    headers: Vec<(String, String)>,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// A webhook that refuses its first `refuses` calls; gives its address and what it hears.
fn webhook(refuses: usize) -> (String, Arc<Mutex<Vec<Heard>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/s3cret-path", listener.local_addr().unwrap());
    let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
    let keep = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut headers = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() <= 2 {
                    break;
                }
                if let Some((name, value)) = line.split_once(':') {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
            let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut heard = keep.lock().unwrap();
            heard.push(Heard { headers, body: String::from_utf8(body).unwrap() });
            let status = if heard.len() <= refuses { "503 Busy" } else { "204 Fine" };
            reader
                .get_mut()
                .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
                .unwrap();
        }
    });
    (url, heard)
}

fn plan(notify: &str) -> String {
    format!(
        "format = 1\nname = \"told\"\nblue = {{ url_env = \"BLUE_DATABASE_URL\" }}\n{notify}\n[[step]]\nid = \"make\"\nphase = \"expand\"\n\
         kind = \"run_sql\"\nside = \"blue\"\nsql = [\"CREATE TABLE t (a int)\"]\nundo_sql = [\"DROP TABLE t\"]\n\
         [[step]]\nid = \"ask\"\nphase = \"expand\"\nkind = \"confirm\"\nquestion = \"Go on?\"\n\
         [[step]]\nid = \"breaks\"\nphase = \"convert\"\nkind = \"run_sql\"\nside = \"blue\"\nsql = [\"INSERT INTO gone VALUES ('s3cret-value')\"]\nundo_sql = [\"SELECT 1\"]\n"
    )
}

fn events(heard: &Arc<Mutex<Vec<Heard>>>) -> Vec<String> {
    let heard = heard.lock().unwrap();
    let event = |body: &str| serde_json::from_str::<Value>(body).unwrap()["event"].as_str().unwrap().to_owned();
    heard.iter().map(|one| event(&one.body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_hears_everything_once_and_signed() {
    let db = TestDb::empty().await;
    let (url, heard) = webhook(1);
    let mut workspace = Workspace::new(&plan("[[notify]]\nurl_env = \"HOOK_URL\"\nsecret_env = \"HOOK_SECRET\"\n"), &db, None);
    workspace.env.extend([("HOOK_URL".to_owned(), url), ("HOOK_SECRET".to_owned(), "s3cret-key".to_owned())]);
    let refused = workspace.run(&["run", "--execute"]).exits(10);
    assert!(refused.stderr.contains("--allow-hooks") && heard.lock().unwrap().is_empty(), "{}", refused.stderr);
    workspace.run(&["run", "--execute", "--allow-hooks"]).exits(12);
    // The first call was refused and came again, as the same delivery.
    assert_eq!(events(&heard), ["run-started", "run-started", "run-waiting"]);
    {
        let heard = heard.lock().unwrap();
        assert_eq!(heard[0].header("crossfade-delivery"), heard[1].header("crossfade-delivery"));
        assert_ne!(heard[1].header("crossfade-delivery"), heard[2].header("crossfade-delivery"));
    }
    let failed = workspace.run(&["run", "--execute", "--allow-hooks", "--approve", "ask"]).exits(11);
    assert!(!failed.stderr.contains("was not told"), "{}", failed.stderr);
    let back = workspace.run(&["rollback", "--execute", "--allow-hooks"]).exits(0);
    assert_eq!(events(&heard)[3..], ["run-stopped", "rollback-started", "run-rolled-back"]);
    let stopped: Value = serde_json::from_str(&heard.lock().unwrap()[3].body).unwrap();
    assert_eq!((&stopped["step"], &stopped["exit"]), (&"breaks".into(), &11.into()), "{stopped}");
    assert!(stopped["reason"].as_str().unwrap().contains("42P01"), "{stopped}");
    for one in heard.lock().unwrap().iter() {
        let (time, tag) = one.header("crossfade-signature").split_once(",v1=").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret-key");
        let tag: Vec<u8> = (0..tag.len()).step_by(2).map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap()).collect();
        hmac::verify(&key, format!("{}.{}", time.strip_prefix("t=").unwrap(), one.body).as_bytes(), &tag).unwrap();
        assert!(!one.body.contains("s3cret") && !one.body.contains(&db.url()), "{}", one.body);
    }
    for ran in [refused, failed, back] {
        assert!(!ran.stderr.contains("s3cret-path") && !ran.stderr.contains("s3cret-key"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_stops_nothing() {
    let db = TestDb::empty().await;
    let notify = "[[notify]]\non = [\"run-waiting\"]\ncommand = [\"sh\", \"-c\", \"echo $CROSSFADE_EVENT >> told\"]\n\
                  [[notify]]\non = [\"run-waiting\"]\nurl_env = \"HOOK_URL\"\n";
    let mut workspace = Workspace::new(&plan(notify), &db, None);
    let missing = workspace.run(&["run", "--execute", "--allow-hooks"]).exits(2);
    assert!(missing.stderr.contains("HOOK_URL is not set"), "{}", missing.stderr);
    // Nobody listens there.
    workspace.env.push(("HOOK_URL".to_owned(), "http://127.0.0.1:9/s3cret-path".to_owned()));
    let ran = workspace.run(&["run", "--execute", "--allow-hooks"]).exits(12);
    assert!(ran.stderr.contains("the webhook in HOOK_URL was not told of run-waiting"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cret-path"), "{}", ran.stderr);
    let told = std::fs::read_to_string(workspace.folder.path().join("told")).unwrap();
    assert_eq!(told.matches("run-waiting").count(), 1, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_is_enough() {
    let db = TestDb::empty().await;
    let (url, heard) = webhook(0);
    let mut workspace = Workspace::new(&plan(""), &db, None);
    workspace.env.push(("HOOK_URL".to_owned(), url));
    workspace.run(&["run", "--execute", "--notify", "HOOK_URL"]).exits(10);
    workspace.run(&["run", "--execute", "--notify", "HOOK_URL", "--allow-hooks"]).exits(12);
    assert_eq!(events(&heard), ["run-started", "run-waiting"]);
}
