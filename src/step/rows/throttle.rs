//! Batches of rows pause while something speaks against the next one.

use std::time::Duration;

use crate::pg::{Pause, Session};
use crate::step::Cx;

/// What the server said last.
#[derive(Debug, Default)]
pub(in crate::step) struct Throttle {
    server: crate::pg::Throttle,
    said: Option<Pause>,
}

impl Throttle {
    /// Waits until nothing speaks against the next batch, saying why at most once per reason. Ends early when asked to stop.
    ///
    /// # Errors
    /// When the observing session is gone.
    pub async fn wait(&mut self, cx: &Cx, observer: &Session) -> anyhow::Result<()> {
        loop {
            let pause = self.server.look(observer, &cx.limits).await?;
            match pause {
                Some(why) if !self.said.is_some_and(|said| said.same_kind(why)) => cx.remark(why.explain(&cx.limits)),
                None if self.said.is_some() => cx.remark("goes on"),
                _ => {}
            }
            self.said = pause;
            if pause.is_none() || cx.interrupt.soft.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = cx.interrupt.soft.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
        }
    }
}
