//! The router in front of both services: `crossfade route`, a process of its own as on your servers.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shadow::{Companion, Folder};
use crate::terms::Side;

/// A running router. Dropping it ends it.
pub(super) struct Door {
    address: SocketAddr,
    _router: Companion,
}

/// What stands behind a router, and how it is to be.
pub(super) struct Doorway<'a> {
    /// The configuration file is `plans/<name>.toml`, the admin socket `plans/<name>-state/admin.sock`.
    pub name: &'a str,
    /// The services of blue and green.
    pub sides: [SocketAddr; 2],
    /// The side that serves first.
    pub first: Side,
    /// Whether identical refreshes are one request upstream.
    pub coalesce: bool,
}

impl Door {
    /// Starts a router, `program route`, and waits until it listens.
    ///
    /// # Errors
    /// The router's own words when it does not start.
    pub(super) async fn open(folder: &Folder, program: &Path, doorway: &Doorway<'_>) -> Result<Self> {
        let Doorway { name, sides: [blue, green], first, coalesce } = doorway;
        let config = folder.path().join("plans").join(format!("{name}.toml"));
        let text = format!(
            "format = 1\nname = \"{name}\"\nstate = \"{name}-state\"\nfirst = \"{first}\"\n\n[admin]\nsocket = \"{name}-state/admin.sock\"\n\n\
             [[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nblue = \"http://{blue}\"\ngreen = \"http://{green}\"\n\n\
             [coalesce]\nenabled = {coalesce}\n"
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let log = folder.path().join(format!("{name}.log"));
        let router = Companion::start(folder, program, &[OsStr::new("route"), config.as_os_str()], &log)?;
        let began = Instant::now();
        loop {
            let said = router.said();
            let listening = said.lines().find_map(|line| line.strip_prefix("listening on ")?.split(' ').next()?.parse().ok());
            match listening {
                Some(address) if said.contains("the route is ") => return Ok(Self { address, _router: router }),
                _ if said.contains("error:") || began.elapsed() > Duration::from_secs(30) => {
                    bail!("the router did not start: {}", said.trim_end())
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Where clients call.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}
