//! The way of a session once more, for a client that speaks the protocol itself.
//!
//! The replication client knows neither lists of hosts nor TLS as libpq means it. It talks in plain text to a Unix socket that
//! only this user can reach; what it says goes on to the server as the session's own words do: same address, same TLS, same
//! checks of the certificate.

use std::fs::File;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_postgres::config::{ChannelBinding, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::connect::{Session, Way, within};
use super::endpoint::Place;

/// The port that the socket's name ends in; see [`Relay::folder`].
const PORT: u16 = 5432;

/// What the name of its folder begins with.
const NAME: &str = "crossfade-relay-";

/// How long the socket waits for somebody.
const FIRST: Duration = Duration::from_secs(30);

/// A socket behind which the server of a session listens, for one connection.
pub struct Relay {
    folder: PathBuf,
    /// The role.
    pub user: String,
    /// The database.
    pub dbname: String,
    /// The password; empty where there is none.
    pub password: String,
    /// `options` of the connection string.
    pub options: Option<String>,
}

impl Session {
    /// Opens the relay to this session's server. Whoever connects to it logs in itself.
    ///
    /// # Errors
    /// When the server cannot be reached any more, or the connection string demands channel binding, which the other end
    /// cannot do.
    pub async fn relay(&self) -> anyhow::Result<Relay> {
        let (way, target) = (self.way(), self.database().target());
        let name = self.database().name();
        if target.channel_binding == ChannelBinding::Require {
            bail!(
                "a replication connection to {name} cannot bind its login to the TLS channel; next: channel_binding=prefer, with \
                 sslmode=verify-full, or capture by triggers"
            );
        }
        let late = || anyhow::Error::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"));
        let far = within(target.connect_timeout, open(way, target)).await.unwrap_or_else(|| Err(late()));
        let far = far.with_context(|| format!("a replication connection to {name}"))?;
        let folder = Folder::make(&std::env::temp_dir())?;
        let listener = UnixListener::bind(folder.socket()).context("a socket for replication")?;
        let path = folder.path.clone();
        tokio::spawn(async move {
            let near = tokio::time::timeout(FIRST, listener.accept()).await;
            drop((listener, folder));
            if let Ok(Ok((mut near, _))) = near {
                let mut far = far;
                if let Err(error) = copy_bidirectional_with_sizes(&mut near, &mut far, 8 << 10, 128 << 10).await {
                    tracing::debug!(%error, "replication connection ended");
                }
            }
        });
        let password = way.server.password.as_ref().map(|password| password.secret.reveal().to_owned());
        Ok(Relay {
            folder: path,
            user: target.user.clone(),
            dbname: target.dbname.clone(),
            password: password.unwrap_or_default(),
            options: target.options.clone(),
        })
    }
}

impl Relay {
    /// Removes what relays of killed processes left in the folder for temporary files. What cannot be removed stays.
    pub fn sweep() {
        sweep(&std::env::temp_dir());
    }

    /// The folder of the socket; it goes when somebody has connected.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port in the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }
}

/// A folder for one socket, that only this user may enter. Locked as long as its process lives, by which [`Relay::sweep`] knows it.
struct Folder {
    path: PathBuf,
    alone: File,
}

impl Folder {
    fn make(within: &Path) -> anyhow::Result<Self> {
        let path = within.join(format!("{NAME}{:016x}", fastrand::u64(..)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path).and_then(|()| File::open(&path));
        let alone = made.context("a folder for the socket of a replication connection")?;
        let folder = Self { path, alone };
        folder.alone.lock().context("a lock on the folder of a socket")?; // who sweeps may be looking at it
        Ok(folder)
    }

    fn socket(&self) -> PathBuf {
        socket_in(&self.path, PORT)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path); // the system clears its folder for temporary files
    }
}

/// Where a server, or who stands for it, listens in a folder (PostgreSQL manual 20.3.1).
fn socket_in(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// Removes the folders that killed processes left, as far as this user may. One without a socket may be about to be locked, unless it is old.
fn sweep(within: &Path) {
    for path in std::fs::read_dir(within).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME)) {
            continue;
        }
        let Ok(folder) = File::open(&path) else { continue };
        let socket = socket_in(&path, PORT).exists();
        let old = || folder.metadata().and_then(|it| it.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > 2 * FIRST));
        if folder.try_lock().is_ok() && (socket || old()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Bytes there and back.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn open(way: &Way, target: &super::target::Target) -> anyhow::Result<Box<dyn Stream>> {
    let endpoint = &way.server.endpoint;
    let name = match &endpoint.place {
        Place::Socket(folder) => return Ok(Box::new(socket(folder, endpoint.port).await?)),
        Place::Host(name) | Place::Address(_, Some(name)) => name.clone(),
        Place::Address(address, None) => address.to_string(),
    };
    let address = way.address.context("a TCP session without an address")?;
    let mut plain = TcpStream::connect((address, endpoint.port)).await?;
    plain.set_nodelay(true)?;
    if !way.encrypted {
        return Ok(Box::new(plain));
    }
    if target.tls.negotiation() == SslNegotiation::Postgres {
        // SSLRequest (PostgreSQL manual 55.7): length, code.
        plain.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
        if plain.read_u8().await? != b'S' {
            bail!("the server does not take TLS any more");
        }
    }
    let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut target.tls.connector(), &name)?;
    let encrypted = TlsConnect::connect(connect, plain).await?;
    Ok(Box::new(encrypted))
}

/// A socket in a folder, or in the abstract namespace.
async fn socket(folder: &Path, port: u16) -> anyhow::Result<UnixStream> {
    let file = format!(".s.PGSQL.{port}");
    let Some(name) = folder.to_str().and_then(|folder| folder.strip_prefix('@')) else {
        return Ok(UnixStream::connect(folder.join(file)).await?);
    };
    let address = std::os::unix::net::SocketAddr::from_abstract_name(format!("{name}/{file}"))?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_one_uses_is_not() {
        let within = tempfile::tempdir().unwrap();
        let [used, begun, left] = [(); 3].map(|()| Folder::make(within.path()).unwrap());
        for folder in [&used, &left] {
            std::fs::write(folder.socket(), "").unwrap();
        }
        left.alone.unlock().unwrap();
        begun.alone.unlock().unwrap();
        sweep(within.path());
        assert_eq!([&used, &begun, &left].map(|folder| folder.path.exists()), [true, true, false]);
    }
}
