//! Participants of every kind switch together or not at all, also through a crash at every beat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bouncer::Bouncer;
use super::stage::{Link, Server, Stage, Switchboard};
use crate::support::{Ran, eventually};

/// The stage with one participant of each kind that needs no router.
struct All {
    stage: Stage,
    bouncer: Bouncer,
    server: Server,
    board: Switchboard,
    link: Link,
}

impl All {
    async fn start() -> Self {
        Self::and("").await
    }

    /// The same with more steps after the switch.
    async fn and(more: &str) -> Self {
        let (blue, green) = Stage::databases().await;
        let (bouncer, server) = (Bouncer::start(&blue, &green).await, Server::start().await);
        let (board, link) = (Switchboard::start().await, Link::new());
        let participants = [bouncer.participant(), server.participant(), board.participant(), link.participant()];
        let mut stage = Stage::over(blue, green, &format!("hold_for = \"60s\"\n{}{more}", participants.concat()));
        stage.workspace.env.push(("CONSOLE_URL".to_owned(), bouncer.url("pgbouncer")));
        Self { stage, bouncer, server, board, link }
    }

    /// Where each of them stands.
    async fn sides(&self) -> [String; 4] {
        let behind = self.bouncer.behind().await;
        let bouncer = if behind == self.stage.green.name() { "green" } else { "blue" };
        [bouncer.to_owned(), self.server.side(), self.board.side(), self.link.side()]
    }

    /// All stand here; the server of the file may take a moment to read it.
    async fn all_on(&self, side: &str) {
        eventually("all on one side", async || self.sides().await.iter().all(|found| found == side)).await;
    }
}

const GO: &[&str] = &["cutover", "--execute", "--approve", "cutover", "--allow-hooks"];

#[tokio::test(flavor = "multi_thread")]
async fn all_switch_or_none_and_a_client_of_pgbouncer_notices_nothing() {
    let all = All::start().await;
    all.stage.ready().await;
    // A client that stays connected, in front of everything that follows.
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let client = all.bouncer.database("app").console("client").await.unwrap();
    let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
    let writer = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            let number = count.load(Ordering::Relaxed);
            let sql = format!("INSERT INTO entry (account, tag) VALUES (1 + {number} % 100, 'new {number}')");
            client.simple_query(&sql).await.unwrap_or_else(|error| panic!("the client noticed: {error:?}"));
            count.fetch_add(1, Ordering::Relaxed);
            // Some hundred writes a second: as many as a server takes would be more than anybody can follow.
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    });
    let more = async |than: u64| eventually("the client writes", async || written.load(Ordering::Relaxed) > than + 20).await;
    more(0).await;

    // Without approval it waits; a program needs --allow-hooks.
    all.stage.run(&["cutover", "--execute", "--allow-hooks"]).await.exits(12);
    let ran = all.stage.run(&["cutover", "--execute", "--approve", "cutover"]).await.exits(10);
    assert!(ran.stderr.contains("--allow-hooks"), "{}", ran.stderr);
    let ran = all.stage.run(&["cutover", "--allow-hooks"]).await.exits(0);
    assert!(ran.stdout.contains("point of no return: release") && ran.stdout.contains("PAUSE app"), "{}", ran.stdout);

    // The last participant fails, then one in the middle: everything is as it was, and the client writes to blue.
    std::fs::write(all.link.folder.path().join("broken"), "").unwrap();
    let ran = all.stage.run(GO).await.exits(11);
    assert!(ran.stderr.contains("participant link"), "{}", ran.stderr);
    all.all_on("blue").await;
    more(written.load(Ordering::Relaxed)).await;
    assert!(Stage::writable(&all.stage.blue).await && Stage::writable(&all.stage.green).await);
    std::fs::remove_file(all.link.folder.path().join("broken")).unwrap();
    all.board.breaks(true);
    let ran = all.stage.run(GO).await.exits(11);
    assert!(ran.stderr.contains("participant board") && ran.stderr.contains("status 500"), "{}", ran.stderr);
    all.all_on("blue").await;
    more(written.load(Ordering::Relaxed)).await;
    Stage::assert_no_triggers(&all.stage.green).await;
    assert_eq!(all.stage.blue.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_fence'").await, "0");
    all.board.breaks(false);

    all.stage.run(GO).await.exits(0);
    all.all_on("green").await;
    more(written.load(Ordering::Relaxed)).await;
    assert!(!Stage::writable(&all.stage.blue).await && Stage::writable(&all.stage.green).await);
    assert_eq!(all.stage.figure("writes_after_fence"), Some(0));
    let held = all.stage.figure("hold_ms").unwrap();
    eprintln!("held for {held} ms");

    // And back again: what the client wrote to green is on blue.
    all.stage.run(&["rollback", "--execute", "--allow-hooks"]).await.exits(0);
    all.all_on("blue").await;
    more(written.load(Ordering::Relaxed)).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let there = all.stage.blue.value("SELECT count(*) FROM entry WHERE tag LIKE 'new %'").await;
    assert_eq!(there, written.load(Ordering::Relaxed).to_string(), "writes were lost");
    Stage::assert_no_triggers(&all.stage.blue).await;
    Stage::assert_no_triggers(&all.stage.green).await;
    assert_eq!(all.stage.green.value("SELECT count(*) FROM entry").await, "0", "the copy is undone too");
}

/// Runs the command until it ends by itself, killed at a new place each time; looks after each death.
async fn crash_through(all: &All, words: &[&str], seen: &str, end: i32) -> Vec<String> {
    let seen = all.stage.workspace.folder.path().join(seen);
    for _ in 0..300 {
        let mut command = all.stage.workspace.command(words);
        command.env("CROSSFADE_CRASH_SEEN", &seen);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let ran = Ran::of(output);
        if ran.code.is_some() {
            ran.exits(end);
            return std::fs::read_to_string(&seen).unwrap_or_default().lines().map(str::to_owned).collect();
        }
        let (blue, green) = (Stage::writable(&all.stage.blue).await, Stage::writable(&all.stage.green).await);
        let others = [all.board.side(), all.link.side()];
        let place = std::fs::read_to_string(&seen).unwrap_or_default().lines().last().unwrap_or_default().to_owned();
        // Participants that do not hold their traffic send it on all the time: it must never reach two writable sides.
        for side in &others {
            let both = blue && green;
            assert!(!both || side == "blue", "killed at {place}: {others:?}, blue writable {blue}, green writable {green}");
        }
    }
    panic!("{words:?} was killed 300 times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_beat_there_and_back_ends_on_one_side() {
    let all = All::start().await;
    all.stage.ready().await;
    let places = crash_through(&all, &["run", "--execute", "--approve", "to-green", "--allow-hooks"], "there", 0).await;
    for beat in crossfade::cutover::beat::BEATS {
        assert!(places.iter().any(|place| place.ends_with(&format!("to-green/{beat}"))), "{beat} is not in {places:?}");
    }
    for beat in ["commit", "guard", "fence", "hold", "prepare"] {
        assert!(places.iter().any(|place| place.ends_with(&format!("undo-{beat}"))), "undo-{beat} is not in {places:?}");
    }
    all.all_on("green").await;
    assert!(!Stage::writable(&all.stage.blue).await && Stage::writable(&all.stage.green).await);
    all.stage.assert_equal().await;
    all.stage.green.sql("INSERT INTO entry (account, tag) VALUES (7, 'on green'); UPDATE account SET n = 5 WHERE id = 3; DELETE FROM account WHERE id = 4").await;
    let places = crash_through(&all, &["rollback", "--execute", "--allow-hooks"], "back", 0).await;
    assert!(places.iter().any(|place| place.ends_with("to-blue/release")), "{places:?}");
    all.all_on("blue").await;
    assert!(Stage::writable(&all.stage.blue).await);
    let found = "SELECT concat_ws(' ', (SELECT count(*) FROM entry WHERE tag = 'on green'), (SELECT n FROM account WHERE id = 3), \
                                  (SELECT count(*) FROM account WHERE id = 4))";
    assert_eq!(all.stage.blue.value(found).await, "1 5 0");
    Stage::assert_no_triggers(&all.stage.blue).await;
}

/// After the switch `follow` leads the other way; what ends the way back waits for a person, survives a crash anywhere and is final.
#[tokio::test(flavor = "multi_thread")]
async fn blue_is_kept_close_until_somebody_ends_the_way_back() {
    let all = All::and("[[step]]\nid = \"finish\"\nphase = \"contract\"\nkind = \"end_way_back\"\n").await;
    all.stage.ready().await;
    all.stage.run(GO).await.exits(0);
    let waits = all.stage.run(&["run", "--execute", "--allow-hooks"]).await.exits(12);
    assert!(waits.stderr.contains("--approve finish"), "{}", waits.stderr);
    let write = async |tag: &str| {
        all.stage
            .green
            .sql(&format!("INSERT INTO entry (account, tag) VALUES (7, '{tag}'); DELETE FROM entry WHERE tag = 'old 9'"))
            .await
    };
    let read =
        async |tag: &str| all.stage.blue.value(&format!("SELECT count(*) FROM entry WHERE tag IN ('{tag}', 'old 9')")).await;
    write("close").await;
    let ran = all.stage.run(&["follow", "--until-caught-up"]).await.exits(0);
    assert!(ran.stdout.contains("to blue"), "{}", ran.stdout);
    assert_eq!(read("close").await, "1", "blue has it before anybody goes back");
    assert!(!Stage::writable(&all.stage.blue).await, "only the run itself writes to blue");

    // There and back once more: the undo takes what `follow` has not brought yet.
    write("later").await;
    all.stage.run(&["rollback", "--execute", "--allow-hooks"]).await.exits(0);
    assert_eq!((read("later").await, read("close").await), ("1".to_owned(), "1".to_owned()));
    let again = all.stage.run(&["run", "--execute", "--allow-hooks", "--new"]).await.exits(12);
    assert!(again.stderr.contains("--approve to-green"), "{}", again.stderr);
    all.stage.run(GO).await.exits(0);

    let places = crash_through(&all, &["run", "--execute", "--allow-hooks", "--approve", "finish"], "end", 0).await;
    assert!(
        places.iter().any(|place| place.ends_with("released")) && places.iter().any(|place| place.ends_with("emptied")),
        "{places:?}"
    );
    Stage::assert_no_triggers(&all.stage.green).await;
    assert_eq!(all.stage.green.value("SELECT count(*) FROM crossfade.outbox").await, "0");
    let ran = all.stage.run(&["follow", "--until-caught-up"]).await.exits(2);
    assert!(ran.stderr.contains("gave up the way back"), "{}", ran.stderr);
    let ran = all.stage.run(&["rollback", "--execute", "--allow-hooks"]).await;
    assert!(ran.code != Some(0) && ran.stderr.contains("is not kept for blue any more"), "{:?}: {}", ran.code, ran.stderr);
    all.all_on("green").await;
    assert!(!Stage::writable(&all.stage.blue).await && Stage::writable(&all.stage.green).await);
}
