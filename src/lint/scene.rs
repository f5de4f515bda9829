//! What a rule looks at, and what it says.

use std::ops::Range;

use super::Level;
use super::act::{Act, What};
use super::changes::Later;
use super::script::{Piece, Script, Within};
use super::state::{State, Transaction};
use crate::sql::{Effect, QualifiedName, Touch};

/// One statement with everything known before it runs.
pub(super) struct Scene<'a> {
    /// The statement.
    pub piece: &'a Piece,
    /// The file.
    pub script: &'a Script,
    /// What is known before the statement.
    pub state: &'a State,
    /// The server's major version.
    pub pg: u32,
    /// Whether this is the end of the file and no statement.
    pub end: bool,
}

/// What a rule says about a place.
#[derive(Debug, Default)]
pub(super) struct Hit {
    pub at: Range<usize>,
    pub message: String,
    pub safe: Option<String>,
    pub query: Option<String>,
    pub level: Option<Level>,
    pub later: Option<Later>,
}

impl Hit {
    /// The safe form of just this statement.
    pub fn safe(&mut self, sql: impl Into<String>) -> &mut Self {
        self.safe = Some(sql.into());
        self
    }

    /// The query that counts rows in the way.
    pub fn query(&mut self, sql: impl Into<String>) -> &mut Self {
        self.query = Some(sql.into());
        self
    }

    /// What is decided when the whole set is known.
    pub fn later(&mut self, later: Later) -> &mut Self {
        self.later = Some(later);
        self
    }

    /// Another level than the rule's.
    pub fn level(&mut self, level: Level) -> &mut Self {
        self.level = Some(level);
        self
    }
}

/// The hits of a rule.
#[derive(Default)]
pub(super) struct Hits(pub Vec<Hit>);

impl Hits {
    /// A new one.
    pub fn at(&mut self, at: &Range<usize>, message: impl Into<String>) -> &mut Hit {
        let index = self.0.len();
        self.0.push(Hit { at: at.clone(), message: message.into(), ..Hit::default() });
        &mut self.0[index]
    }
}

impl Scene<'_> {
    /// The acts of the statement with their places.
    pub fn acts(&self) -> impl Iterator<Item = (&What, &Range<usize>)> {
        self.piece.acts.iter().map(|act| (&act.what, &act.at))
    }

    /// Whether others may use the relation.
    pub fn hot(&self, name: &QualifiedName) -> bool {
        self.state.hot(name)
    }

    /// The running transaction; a `DO` block is always part of one.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.state.transaction.as_ref()
    }

    /// Whether the statement runs in a transaction block or a body.
    pub fn in_transaction(&self) -> bool {
        self.state.transaction.is_some() || self.piece.within == Within::Block
    }

    /// The locks of the statement on relations that others use.
    pub fn hot_touches(&self) -> impl Iterator<Item = &Touch> {
        self.piece.touches.iter().flatten().filter(|touch| self.hot(&touch.relation))
    }

    /// Whether it takes a lock that stops traffic on a table in use, and nothing has set this setting.
    pub fn stops_traffic_without(&self, setting: &str) -> bool {
        !self.state.settings.contains_key(setting) && self.stopping_touches().next().is_some()
    }

    /// Those of them that traffic waits for. The last lock of `DETACH PARTITION CONCURRENTLY` is none: it comes when no query reaches the
    /// partition through its table any more.
    pub fn stopping_touches(&self) -> impl Iterator<Item = &Touch> {
        let detaches = |act: &Act| matches!(act.what, What::DetachPartition { concurrently: true, .. });
        let apart = self.piece.acts.iter().any(detaches);
        self.hot_touches().filter(move |touch| touch.lock.stops_traffic() && !apart)
    }

    /// Whether a limit in milliseconds (`lock_timeout` and its kind) is set and not 0.
    pub fn limited(&self, setting: &str) -> bool {
        self.state
            .settings
            .get(setting)
            .is_some_and(|value| !matches!(value.as_str(), "0" | "0s" | "0ms" | "DEFAULT" | "default"))
    }

    /// The statement's own text.
    pub fn text(&self) -> &str {
        self.script.text.get(self.piece.at.clone()).unwrap_or_default()
    }

    /// Whether it builds or drops an index concurrently, validates, or keeps tables in order.
    pub fn gentle(&self) -> bool {
        !matches!(self.piece.effect, Effect::Other | Effect::SessionSetting | Effect::ClientCopy)
    }
}
