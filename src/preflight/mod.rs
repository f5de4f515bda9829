//! What must be true before a plan begins, asked of the databases without changing them.

pub mod environment;

use async_trait::async_trait;

use crate::step::Cx;
use crate::terms::Finding;

/// One read-only question to the databases.
#[async_trait]
pub trait Check: Send + Sync {
    /// What it asks, in a few words.
    fn name(&self) -> String;

    /// Asks. Changes nothing.
    ///
    /// # Errors
    /// When the question cannot be asked: the server is gone, or the role may not ask.
    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>>;
}
