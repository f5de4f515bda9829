//! A TCP proxy in front of a test's server, on which the network fails as it is told. It reads the frames of PostgreSQL's protocol
//! (manual, chapter 55) as far as it must to know its place: requests, commits, bytes of COPY.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{oneshot, watch};

use crate::support::TestDb;

/// Where in the traffic of all connections together a fault strikes; the first is number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A request of any sort: a simple query, or the end of an extended one.
    Request(u64),
    /// A request that commits.
    Commit(u64),
    /// A simple query with these words in it.
    Query(&'static str),
    /// So many bytes of rows have gone to the server by COPY.
    CopyIn(u64),
    /// So many bytes of rows have come from the server by COPY.
    CopyOut(u64),
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The server gets the request and answers; the answer is thrown away and the connection reset.
    LoseAnswer,
    /// Half of what was being sent goes through, then the connection is reset in both directions.
    Reset,
    /// Nothing goes through any more, and nobody is told.
    Freeze,
}

/// A fault that waits for its moment.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its moment, counted from when it is armed.
    pub at: At,
    /// What happens then.
    pub blow: Blow,
    /// Whether every other connection is struck too.
    pub everywhere: bool,
}

/// How the network is when no fault strikes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Each piece of data arrives so much later.
    pub latency: Duration,
    /// At most so many bytes are passed on at a time.
    pub drip: Option<usize>,
}

/// What has passed since the last fault was armed.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub requests: AtomicU64,
    /// Requests that commit.
    pub commits: AtomicU64,
    /// Bytes of COPY to the server.
    pub copy_in: AtomicU64,
    /// Bytes of COPY from it.
    pub copy_out: AtomicU64,
}

struct Shared {
    server: PathBuf,
    weather: Mutex<Weather>,
    fault: Mutex<Option<Fault>>,
    counts: Counts,
    struck: AtomicU64,
    /// What happens to every open connection: a number that grows, and the blow.
    all: watch::Sender<(u64, Option<Blow>)>,
}

/// The proxy. It ends, with its connections, when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _lifeline: oneshot::Sender<()>,
}

impl Proxy {
    /// In front of the server of a database.
    pub fn before(db: &TestDb) -> Self {
        let shared = Arc::new(Shared {
            server: db.cluster().folder().join(".s.PGSQL.5432"),
            weather: Mutex::default(),
            fault: Mutex::default(),
            counts: Counts::default(),
            struck: AtomicU64::new(0),
            all: watch::Sender::new((0, None)),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lifeline, ended) = oneshot::channel::<()>();
        let own = Arc::clone(&shared);
        // A thread of its own: a test may wait for a command and let nothing else of its runtime go on.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(TcpListener::from_std(listener).unwrap(), own) => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, shared, _lifeline: lifeline }
    }

    /// The connection string of a database behind it.
    pub fn url(&self, db: &TestDb) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable&connect_timeout=5", self.port, db.name())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a moment from now on.
    pub fn arm(&self, fault: Fault) {
        let Counts { requests, commits, copy_in, copy_out } = &self.shared.counts;
        for count in [requests, commits, copy_in, copy_out] {
            count.store(0, Ordering::SeqCst);
        }
        *self.shared.fault.lock().unwrap() = Some(fault);
    }

    /// From now on.
    pub fn weather(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// Strikes every open connection now.
    pub fn strike(&self, blow: Blow) {
        self.shared.all.send_modify(|(number, what)| (*number, *what) = (*number + 1, Some(blow)));
    }

    /// How often a fault struck so far.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// What has passed since the last fault was armed: requests, commits, bytes of COPY in, out.
    pub fn passed(&self) -> [u64; 4] {
        let Counts { requests, commits, copy_in, copy_out } = &self.shared.counts;
        [requests, commits, copy_in, copy_out].map(|count| count.load(Ordering::SeqCst))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(server) = UnixStream::connect(&shared.server).await else {
                let _ = client.set_zero_linger(); // refused, as a server that is away does
                return;
            };
            let _ = client.set_nodelay(true);
            let mut wire =
                Wire { client, server, up: Frames::of_client(), down: Frames::default(), owed: 0, extended: false, shared };
            wire.carry().await;
        });
    }
}

/// One connection through the proxy.
struct Wire {
    client: TcpStream,
    server: UnixStream,
    up: Frames,
    down: Frames,
    /// Requests without an answer yet.
    owed: u64,
    /// Whether the last request was an extended one, whose Sync the server passes over when it goes on with COPY FROM STDIN
    /// (PostgreSQL manual 55.2.6).
    extended: bool,
    shared: Arc<Shared>,
}

impl Wire {
    /// Until it ends.
    async fn carry(&mut self) {
        let (mut from_client, mut from_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut all = self.shared.all.subscribe();
        loop {
            let blow = tokio::select! {
                _ = all.changed() => all.borrow_and_update().1,
                read = self.client.read(&mut from_client) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => self.forward_query(&from_client[..read]).await,
                },
                read = self.server.read(&mut from_server) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => self.forward_answer(&from_server[..read]).await,
                },
            };
            if blow.is_none() {
                continue;
            }
            if blow == Some(Blow::Freeze) {
                thawed(&mut all).await; // both ends stay open until then
            }
            let _ = self.client.set_zero_linger(); // closing it sends RST
            return;
        }
    }

    async fn forward_query(&mut self, bytes: &[u8]) -> Option<Blow> {
        let counts = &self.shared.counts;
        let (mut before, mut struck) = (0, None);
        for frame in self.up.read(bytes) {
            let moment = match (frame.kind, &frame.text) {
                (b'Q', Some(text)) => {
                    self.owed += 1;
                    self.extended = false;
                    let text = String::from_utf8_lossy(text);
                    let request = At::Request(1 + counts.requests.fetch_add(1, Ordering::SeqCst));
                    let commits = text.split(';').any(|part| part.trim_matches(['\0', ' ', '\n']).eq_ignore_ascii_case("COMMIT"));
                    let commit = commits.then(|| At::Commit(1 + counts.commits.fetch_add(1, Ordering::SeqCst)));
                    self.shared
                        .take(|at| at == request || Some(at) == commit || matches!(at, At::Query(words) if text.contains(words)))
                }
                (b'S', Some(_)) => {
                    self.owed += 1;
                    self.extended = true;
                    let request = At::Request(1 + counts.requests.fetch_add(1, Ordering::SeqCst));
                    self.shared.take(|at| at == request)
                }
                (b'd', _) => {
                    let so_far = frame.size + counts.copy_in.fetch_add(frame.size, Ordering::SeqCst);
                    self.shared.take(|at| matches!(at, At::CopyIn(bytes) if bytes <= so_far))
                }
                _ => None,
            };
            if moment.is_some() {
                struck = moment.map(|blow| (blow, before, frame.end));
                break;
            }
            before = frame.end;
        }
        let Some((blow, before, end)) = struck else {
            let weather = *self.shared.weather.lock().unwrap();
            return pass(&mut self.server, bytes, weather).await.err().map(|_| Blow::Reset);
        };
        match blow {
            Blow::LoseAnswer => {
                let _ = self.server.write_all(&bytes[..end]).await;
                self.hear_out().await;
            }
            Blow::Reset => {
                let _ = self.server.write_all(&bytes[..before + (end - before) / 2]).await;
            }
            Blow::Freeze => {}
        }
        Some(blow)
    }

    /// Takes what the server answers until it has answered everything, or waits for us.
    async fn hear_out(&mut self) {
        let mut bytes = vec![0; 64 * 1024];
        while self.owed > 0 {
            let Ok(read @ 1..) = self.server.read(&mut bytes).await else { return };
            for frame in self.down.read(&bytes[..read]) {
                match frame.kind {
                    b'Z' if frame.text.is_some() => self.owed = self.owed.saturating_sub(1),
                    b'G' | b'W' => return,
                    _ => {}
                }
            }
        }
    }

    async fn forward_answer(&mut self, bytes: &[u8]) -> Option<Blow> {
        for frame in self.down.read(bytes) {
            match frame.kind {
                b'Z' if frame.text.is_some() => self.owed = self.owed.saturating_sub(1),
                b'G' if frame.text.is_some() && self.extended => self.owed = self.owed.saturating_sub(1),
                b'd' => {
                    let so_far = frame.size + self.shared.counts.copy_out.fetch_add(frame.size, Ordering::SeqCst);
                    if let Some(blow) = self.shared.take(|at| matches!(at, At::CopyOut(bytes) if bytes <= so_far)) {
                        let _ = self.client.write_all(&bytes[..frame.end / 2]).await;
                        return Some(blow);
                    }
                }
                _ => {}
            }
        }
        let weather = *self.shared.weather.lock().unwrap();
        pass(&mut self.client, bytes, weather).await.err().map(|_| Blow::Reset)
    }
}

impl Shared {
    /// Takes the fault when its moment has come; strikes the others.
    fn take(&self, come: impl Fn(At) -> bool) -> Option<Blow> {
        let mut fault = self.fault.lock().unwrap();
        let Fault { blow, everywhere, .. } = fault.take_if(|fault| come(fault.at))?;
        self.struck.fetch_add(1, Ordering::SeqCst);
        if everywhere {
            self.all.send_modify(|(number, what)| (*number, *what) = (*number + 1, Some(blow)));
        }
        Some(blow)
    }
}

/// Waits until frozen connections are cut.
async fn thawed(all: &mut watch::Receiver<(u64, Option<Blow>)>) {
    while all.changed().await.is_ok() && all.borrow_and_update().1 == Some(Blow::Freeze) {}
}

/// Sends it on as the weather is.
async fn pass(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], weather: Weather) -> std::io::Result<()> {
    if !weather.latency.is_zero() {
        tokio::time::sleep(weather.latency).await;
    }
    let Some(drip) = weather.drip else { return to.write_all(bytes).await };
    for drop in bytes.chunks(drip) {
        to.write_all(drop).await?;
        to.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Cuts a stream of bytes into frames of the protocol.
#[derive(Default)]
struct Frames {
    /// Whether the first message, which has no kind, is still to come.
    startup: bool,
    head: Vec<u8>,
    inside: bool,
    kind: u8,
    left: usize,
    text: Vec<u8>,
}

/// A piece of a frame, up to its end or to the end of what was read.
struct Piece {
    kind: u8,
    /// Where it ends in what was read.
    end: usize,
    /// Bytes of its content in what was read.
    size: u64,
    /// The beginning of its content, once it is whole.
    text: Option<Vec<u8>>,
}

impl Frames {
    const TEXT: usize = 64 * 1024;

    fn of_client() -> Self {
        Self { startup: true, ..Self::default() }
    }

    fn read(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let (mut pieces, mut at) = (Vec::new(), 0);
        loop {
            if !self.inside {
                let whole = if self.startup { 4 } else { 5 };
                let taken = (whole - self.head.len()).min(bytes.len() - at);
                self.head.extend(&bytes[at..at + taken]);
                at += taken;
                if self.head.len() < whole {
                    return pieces;
                }
                let length = u32::from_be_bytes(self.head[whole - 4..].try_into().unwrap());
                self.kind = if self.startup { 0 } else { self.head[0] };
                self.left = usize::try_from(length).unwrap() - 4;
                (self.startup, self.inside) = (false, true);
                self.head.clear();
            }
            let taken = self.left.min(bytes.len() - at);
            let room = Self::TEXT.saturating_sub(self.text.len()).min(taken);
            self.text.extend(&bytes[at..at + room]);
            at += taken;
            self.left -= taken;
            let whole = self.left == 0;
            let text = whole.then(|| std::mem::take(&mut self.text));
            self.inside = !whole;
            if taken > 0 || whole {
                pieces.push(Piece { kind: self.kind, end: at, size: taken as u64, text });
            }
            if at == bytes.len() {
                return pieces;
            }
        }
    }
}

#[test]
fn frames_are_found_however_the_bytes_come() {
    let mut stream = vec![0, 0, 0, 8, 1, 2, 3, 4];
    for (kind, text) in [(b'Q', &b"COMMIT\0"[..]), (b'S', b""), (b'd', &[7; 300])] {
        stream.push(kind);
        stream.extend(u32::try_from(text.len() + 4).unwrap().to_be_bytes());
        stream.extend(text);
    }
    for size in [1, 2, 3, 5, 7, 64, 1000] {
        let mut frames = Frames::of_client();
        let pieces: Vec<Piece> = stream.chunks(size).flat_map(|bytes| frames.read(bytes)).collect();
        let whole: Vec<(u8, usize)> = pieces.iter().filter_map(|piece| Some((piece.kind, piece.text.as_ref()?.len()))).collect();
        assert_eq!(whole, [(0, 4), (b'Q', 7), (b'S', 0), (b'd', 300)], "{size} bytes at a time");
        let copied: u64 = pieces.iter().filter(|piece| piece.kind == b'd').map(|piece| piece.size).sum();
        assert_eq!(copied, 300);
    }
}
