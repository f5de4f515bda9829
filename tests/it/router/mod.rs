//! `crossfade route` as a process, between real clients and real services.

mod coalescing;
mod protocol;
mod route;
mod shared;
mod side;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crossfade::router::{AdminConfig, Control};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{crossfade, eventually};

/// A folder with a configuration, and the router that runs by it.
pub struct Proxy {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    child: Option<Child>,
    starts: usize,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

impl Proxy {
    /// A router with one listener in front of two sides; `more` is added to the configuration.
    pub async fn start(blue: SocketAddr, green: SocketAddr, more: &str) -> Self {
        Self::start_with(&format!("blue = \"http://{blue}\"\ngreen = \"http://{green}\""), more, &[]).await
    }

    /// The same with other keys of the listener, and with an environment.
    pub async fn start_with(listener: &str, more: &str, env: &[(&str, &str)]) -> Self {
        let mut proxy = Self::prepared(listener, more, env);
        proxy.restart().await;
        proxy
    }

    /// The folder and the configuration alone.
    pub fn prepared(listener: &str, more: &str, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (top, tables) = more.split_at(more.find('[').unwrap_or(more.len()));
        let admin = if tables.contains("[admin]") { "" } else { "[admin]\nsocket = \"admin.sock\"\n" };
        let text = format!(
            "format = 1\nstate = \"state\"\n{top}\n{admin}[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listener}\n{tables}"
        );
        std::fs::write(folder.path().join("router.toml"), text).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder, env, child: None, starts: 0, addresses: Vec::new() }
    }

    /// Starts it (again) and waits until it listens.
    pub async fn restart(&mut self) {
        self.starts += 1;
        let log = self.folder.path().join(format!("log-{}", self.starts));
        let file = std::fs::File::create(&log).unwrap();
        let mut command = crossfade();
        command.arg("route").arg(self.config()).envs(self.env.iter().cloned()).env("CROSSFADE_LOG", "trace");
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        self.child = Some(command.spawn().unwrap());
        eventually("the router listens", async || std::fs::read_to_string(&log).unwrap().contains("the route is ")).await;
        let text = std::fs::read_to_string(&log).unwrap();
        let listening = text.lines().filter_map(|line| line.strip_prefix("listening on "));
        self.addresses = listening.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("router.toml")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn control(&self) -> Control {
        Control::new(AdminConfig::Socket(self.folder.path().join("admin.sock")))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap()
    }

    pub async fn kill_9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    /// `crossfade route WORDS CONFIG WORDS`, ended.
    pub async fn command(&self, words: &[&str]) -> crate::support::Ran {
        let mut command = crossfade();
        command.arg("route").arg(words[0]).arg(self.config()).args(&words[1..]).envs(self.env.iter().cloned());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        crate::support::Ran::of(output)
    }

    /// Everything it wrote: what it said, its route, its taps.
    pub fn everything_written(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in crate::support::entries(&folder) {
                match std::fs::metadata(&path) {
                    Ok(what) if what.is_dir() => folders.push(path),
                    Ok(what) if what.is_file() => found.push((path.clone(), std::fs::read(&path).unwrap())),
                    _ => {}
                }
            }
        }
        found
    }

    /// One counter of the router, 0 when it is not there.
    pub async fn count(&self, line: &str) -> u64 {
        let text = self.control().metrics().await.unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends bytes and reads until the other end closes or says nothing for half a second.
pub async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let _ = socket.write_all(request).await;
    read_all(&mut socket).await
}

pub async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(500), socket.read(&mut buffer)).await {
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer's first line; 0 for none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
