//! The stream of a slot, read up to a snapshot.
//!
//! After the snapshot is taken a message is written into blue's log. What the snapshot sees was committed before, so it stands
//! before the message there; what else stands there waits in the inbox for a later snapshot. The log is confirmed only as far
//! as the inbox on green is committed: whoever dies, nothing is lost, and what comes twice is passed over.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;

use super::change::{Described, Kept, Lacking};
use super::inbox::{Inbox, Transaction};
use super::pgoutput::Message;
use super::seen::Seen;
use super::slot::end_reader;
use super::slot_state::slot_state;
use super::table::CapturedTable;
use super::{Backlog, Changed};
use crate::pg::{Opener, Received, Replication, Session, StreamEnded};
use crate::sql::Literal;
use crate::terms::{Finding, RunId, Severity};

/// Rows in one transaction of green, at least: it ends with one of blue.
const MANY: u64 = 50_000;

/// The prefix of our messages in the log.
const PREFIX: &str = "crossfade";

/// After so much silence the server is asked whether it still serves the stream.
const SILENCE: Duration = Duration::from_secs(60);

/// What a slot gives, on its way into the inbox.
pub(super) struct Stream {
    blue: Opener,
    slot: String,
    inbox: Inbox,
    open: Option<Open>,
}

/// A connection to the slot.
struct Open {
    replication: Replication,
    /// Says where a snapshot is.
    speaker: Session,
    /// Tables as the stream described them, by their oid.
    described: HashMap<u32, Result<Described, Lacking>>,
    /// Up to here everything is in the inbox.
    position: u64,
}

impl Stream {
    pub fn new(blue: Opener, green: Opener, run: &RunId, slot: &str) -> Self {
        Self { blue, slot: slot.to_owned(), inbox: Inbox::new(green, run.clone()), open: None }
    }

    /// Brings everything into the inbox that the snapshot of this text sees. It must be younger than all before.
    ///
    /// # Errors
    /// [`Changed`] when the slot is gone or a table lost what is needed; [`StreamEnded`] and others when a server is away: the
    /// next call goes on from what is committed.
    pub async fn arrive(&mut self, tables: &[CapturedTable], to: &str) -> anyhow::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if !open.speaker.is_closed() => open,
            _ => self.connect().await?,
        };
        let words = format!("{:032x}", fastrand::u128(..));
        // With an id of its own the transaction is written through to the disk at once, and the message with it.
        let say = format!(
            "SET LOCAL synchronous_commit = local; SELECT pg_logical_emit_message(false, {}, {}), pg_current_xact_id()",
            Literal::new(PREFIX),
            Literal::new(&words)
        );
        open.speaker.batch_execute(&format!("BEGIN; {say}; COMMIT")).await.context("writing a message into blue's log")?;
        let seen = Seen::parse(to)?;
        self.read(&mut open, tables, &seen, words.as_bytes()).await?;
        self.open = Some(open);
        Ok(())
    }

    /// How much of blue's log the slot keeps.
    ///
    /// # Errors
    /// When blue cannot be reached.
    pub async fn backlog(&self, session: &Session, backlog: Backlog) -> anyhow::Result<Backlog> {
        Ok(Backlog { slot: slot_state(session, &self.slot).await?, ..backlog })
    }

    async fn connect(&mut self) -> anyhow::Result<Open> {
        let speaker = self.blue.open().await?;
        self.present(&speaker).await?;
        end_reader(&speaker, &self.slot).await?;
        let position = self.inbox.position().await?;
        let started =
            Replication::start(&speaker, &self.slot, &self.slot, position, &format!("{}/slot", self.blue.application())).await;
        let replication = match started {
            Ok(replication) => replication,
            Err(error) => {
                self.present(&speaker).await?;
                return Err(error);
            }
        };
        Ok(Open { replication, speaker, described: HashMap::new(), position })
    }

    /// Whether the slot can be read.
    async fn present(&self, session: &Session) -> anyhow::Result<()> {
        let what = match slot_state(session, &self.slot).await? {
            None => "is gone",
            Some(state) if state.lost => {
                "is lost: blue threw the log away that it had not given yet (max_slot_wal_keep_size, idle_replication_slot_timeout)"
            }
            Some(_) => return Ok(()),
        };
        let finding = Finding {
            severity: Severity::Blocks,
            object: format!("replication slot {} on blue", self.slot),
            what: format!("{what}; changes since then are not known"),
            next:
                "`crossfade rollback PLAN --execute`, then run the plan again, so that a new slot and a new copy begin together"
                    .to_owned(),
        };
        Err(Changed { findings: vec![finding] }.into())
    }

    async fn read(&mut self, open: &mut Open, tables: &[CapturedTable], seen: &Seen, until: &[u8]) -> anyhow::Result<()> {
        let (mut current, mut read) = (None, open.position);
        loop {
            match self.next(open).await? {
                Received::Begin { commit, transaction, at } => {
                    // What is in the inbox comes again when its confirmation was lost.
                    current = (commit >= open.position).then(|| Transaction { id: seen.whole(transaction), at });
                }
                Received::Change(data) => {
                    for (place, kept) in changes(&mut open.described, tables, data, current.is_some())? {
                        if let Some(of) = current {
                            self.inbox.add(of, tables[place].id, &kept).await?;
                        }
                    }
                }
                Received::Commit { end } => {
                    current = None;
                    read = read.max(end);
                    if self.inbox.rows() >= MANY {
                        self.inbox.commit(open.position, read).await?;
                        open.position = read;
                        open.replication.confirm(read);
                    }
                }
                Received::Said { at, prefix, words } if prefix == PREFIX && words == until => {
                    let to = read.max(at);
                    if self.inbox.rows() > 0 {
                        self.inbox.commit(open.position, to).await?;
                        open.position = to;
                    }
                    // Where nothing came there is nothing to keep: the log may go all the same.
                    open.replication.confirm(to);
                    return Ok(());
                }
                Received::Said { .. } | Received::Alive => {}
            }
        }
    }

    /// The next thing that comes. A server that is silent for long is asked.
    async fn next(&self, open: &mut Open) -> anyhow::Result<Received> {
        loop {
            if let Ok(received) = tokio::time::timeout(SILENCE, open.replication.next()).await {
                return Ok(received?);
            }
            let sql = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active";
            if open.speaker.query_one(sql, &[&self.slot]).await?.get::<_, i64>(0) == 0 {
                let what = "nothing came for a minute, and the server does not serve it any more".to_owned();
                return Err(StreamEnded { slot: self.slot.clone(), what, passes: true }.into());
            }
        }
    }
}

/// What a message tells of captured tables; with `wanted` false only what tables look like.
fn changes(
    described: &mut HashMap<u32, Result<Described, Lacking>>,
    tables: &[CapturedTable],
    data: bytes::Bytes,
    wanted: bool,
) -> anyhow::Result<Vec<(usize, Kept)>> {
    let place = |oid: u32| tables.iter().position(|captured| captured.oid == oid);
    let message = match Message::parse(data)? {
        Message::Relation(relation) => {
            if let Some(place) = place(relation.table) {
                described.insert(relation.table, Described::of(place, &tables[place], &relation));
            }
            return Ok(Vec::new());
        }
        message if wanted => message,
        _ => return Ok(Vec::new()),
    };
    let (oid, kept) = match &message {
        Message::Truncate { tables } => {
            return Ok(tables.iter().filter_map(|oid| place(*oid)).map(|place| (place, (b't', None))).collect());
        }
        Message::Insert { table, new } => (*table, described.get(table).map(|known| known.as_ref().map(|t| t.insert(new)))),
        Message::Update { table, old, new } => {
            (*table, described.get(table).map(|known| known.as_ref().map(|t| t.update(old.as_deref(), new))))
        }
        Message::Delete { table, old } => (*table, described.get(table).map(|known| known.as_ref().map(|t| t.delete(old)))),
        Message::Relation(_) | Message::Other => return Ok(Vec::new()),
    };
    let Some(place) = place(oid) else { return Ok(Vec::new()) };
    let kept = kept.with_context(|| format!("the stream did not say what table {} is like", tables[place].table.plain()))?;
    let kept = match kept {
        Ok(kept) => kept,
        Err(lacking) => Err(lacking.clone()),
    };
    match kept {
        Ok(kept) => Ok(kept.into_iter().map(|kept| (place, kept)).collect()),
        Err(Lacking { what }) => {
            let finding = Finding {
                severity: Severity::Blocks,
                object: format!("table {} on blue", tables[place].table.plain()),
                what: format!("{what} since capture began: its changes cannot be followed"),
                next: "`crossfade rollback PLAN --execute`, then run the plan again, so that capture and copy see the table as it is"
                    .to_owned(),
            };
            Err(Changed { findings: vec![finding] }.into())
        }
    }
}
