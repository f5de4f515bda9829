//! The stream of a logical replication slot (PostgreSQL manual 47 and 53.5), plugin pgoutput.

use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent};

use super::Session;

/// What a server said that ended the stream, or why it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream of replication slot {slot} ended: {what}")]
pub struct StreamEnded {
    /// The slot.
    pub slot: String,
    /// The server's message with its SQLSTATE, or what happened to the connection.
    pub what: String,
    /// Whether it ends by itself: a connection that is gone, a server that restarts, a reader that has not let go yet.
    pub passes: bool,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A transaction that was committed.
    Begin {
        /// Where its commit record is in the log.
        commit: u64,
        /// The lower half of its id.
        transaction: u32,
        /// When it was committed, by the server's clock, in microseconds since 2000-01-01.
        at: i64,
    },
    /// A message of pgoutput about a row or a table.
    Change(bytes::Bytes),
    /// The transaction is complete.
    Commit {
        /// Where the log goes on after it.
        end: u64,
    },
    /// What somebody said by `pg_logical_emit_message`, outside of transactions.
    Said {
        /// Where it is in the log.
        at: u64,
        /// The prefix.
        prefix: String,
        /// The words.
        words: bytes::Bytes,
    },
    /// The server is there.
    Alive,
}

/// Messages that wait in memory at most: rows may be large.
const WAITING: usize = 64;

/// Under these settings a value has one text, as in [`super::Database::connect`].
const SETTINGS: &str = "-c datestyle=ISO,MDY -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex \
                        -c statement_timeout=0 -c lock_timeout=0";

/// An open stream. Dropping it ends the connection.
pub struct Replication {
    client: ReplicationClient,
    slot: String,
}

impl Replication {
    /// Begins to read a slot where `from` says, or where its last reader confirmed if that is later. The connection takes the
    /// way of `session`.
    ///
    /// # Errors
    /// [`StreamEnded`] with the server's words; otherwise when the server cannot be reached.
    pub async fn start(session: &Session, slot: &str, publication: &str, from: u64, application: &str) -> anyhow::Result<Self> {
        let relay = session.relay().await?;
        let folder = relay.folder().display().to_string();
        let options = match &relay.options {
            Some(options) => format!("{options} {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        let config =
            ReplicationConfig::unix(folder, relay.port(), &relay.user, &relay.password, &relay.dbname, slot, publication)
                .with_application_name(application)
                .with_options(options)
                .with_buffer_size(WAITING)
                .with_status_interval(Duration::from_secs(1))
                .with_start_lsn(Lsn::from_u64(from));
        let ended = |error: PgWireError| ended(slot, &error);
        let mut client = ReplicationClient::connect(config).await.map_err(ended)?;
        client.wait_started().await.map_err(ended)?;
        Ok(Self { client, slot: slot.to_owned() })
    }

    /// The next thing that comes; waits for it.
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub async fn next(&mut self) -> Result<Received, StreamEnded> {
        let event = self.client.recv().await.map_err(|error| ended(&self.slot, &error))?;
        Ok(match event {
            Some(ReplicationEvent::Begin { final_lsn, xid, commit_time_micros }) => {
                Received::Begin { commit: final_lsn.as_u64(), transaction: xid, at: commit_time_micros }
            }
            Some(ReplicationEvent::XLogData { data, .. }) => Received::Change(data),
            Some(ReplicationEvent::Commit { end_lsn, .. }) => Received::Commit { end: end_lsn.as_u64() },
            Some(ReplicationEvent::Message { transactional: false, lsn, prefix, content }) => {
                Received::Said { at: lsn.as_u64(), prefix, words: content }
            }
            Some(_) => Received::Alive,
            None => {
                return Err(StreamEnded { slot: self.slot.clone(), what: "the server closed it".to_owned(), passes: true });
            }
        })
    }

    /// Tells the server that it may forget the log before this place.
    pub fn confirm(&self, to: u64) {
        self.client.update_applied_lsn(Lsn::from_u64(to));
    }
}

/// What the client's error means. Its server errors are text with the SQLSTATE in it.
fn ended(slot: &str, error: &PgWireError) -> StreamEnded {
    let what = match error {
        PgWireError::Server(text) => text.clone(),
        other => other.to_string(),
    };
    let passes = match error {
        PgWireError::Io(_) | PgWireError::Task(_) => true,
        PgWireError::Server(text) => {
            // Connection trouble, resources, operator intervention, and a slot that another connection still holds.
            ["08", "53", "57", "55006"].iter().any(|class| text.contains(&format!("SQLSTATE {class}")))
        }
        _ => false,
    };
    StreamEnded { slot: slot.to_owned(), what, passes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_by_itself() {
        let passes = |text: &str| ended("s", &PgWireError::Server(text.to_owned())).passes;
        assert!(passes("terminating connection due to administrator command (SQLSTATE 57P01)"));
        assert!(passes("replication slot \"s\" is active for PID 7 (SQLSTATE 55006)"));
        assert!(!passes("replication slot \"s\" does not exist (SQLSTATE 42704)"));
        assert!(!passes("can no longer get changes from replication slot \"s\" (SQLSTATE 55000)"));
        assert!(!ended("s", &PgWireError::Auth("no".to_owned())).passes);
        assert!(ended("s", &PgWireError::Io(std::sync::Arc::new(std::io::ErrorKind::BrokenPipe.into()))).passes);
    }
}
