//! Who is told of the statements that a step ran, for the record of its run.

use std::sync::Arc;
use std::time::Duration;

/// A statement that ran, or a batch that ran often.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// Its text, with whatever values are in it: whoever keeps it takes its shape.
    pub statement: &'a str,
    /// How long it took in all.
    pub took: Duration,
    /// How often it ran.
    pub times: u64,
    /// The longest time of one.
    pub longest: Duration,
    /// Rows it wrote in all.
    pub rows: u64,
}

/// Who is told.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Heard<'_>) + Send + Sync>);

impl Listener {
    /// One who does this with what is told.
    pub fn new(told: impl Fn(Heard<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(super) fn tell(&self, heard: Heard<'_>) {
        (self.0)(heard);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}
