//! `crossfade hold-snapshot`: started by a copy, for nobody else; see [`crate::copy::serve`].

use std::io::Read;

use crate::copy;
use crate::terms::Exit;

pub(super) async fn hold_snapshot() -> anyhow::Result<Exit> {
    // A signal for the driver's terminal or process group is none for this process. Who leads a group already has its own.
    let _ = nix::unistd::setsid();
    let mut order = Vec::new();
    std::io::stdin().read_to_end(&mut order)?;
    copy::serve(&order).await?;
    Ok(Exit::Done)
}
