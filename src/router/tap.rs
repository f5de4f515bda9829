//! The revocation tap: every revocation is on disk before its client gets an answer, sealed, and can be done again on green.
//!
//! A folder of segments, one per start of a router, JSON lines, mode 0600. A revocation is one line, written and forced out before
//! the side is asked; a second line says what the side answered. Without a second line nobody knows whether it was done, so a replay
//! does it: a revocation done twice is one. Tokens and secrets are inside the sealed part only (ChaCha20-Poly1305, RFC 8439).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::router::durable::private;
use crate::terms::Side;

/// What is needed to do a revocation again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// `POST` or `DELETE`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<Zeroizing<String>>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// One recorded revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// Counts the taps of a folder, from 1.
    pub tap: u64,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The side that was asked to do it.
    pub side: Side,
    /// The listener it came by.
    pub listener: String,
    /// `revoke` or `admin_revoke`.
    pub kind: String,
    /// Tells equal revocations apart from others, and nothing else: a keyed digest, 24 hex digits.
    pub digest: String,
    nonce: String,
    sealed: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    answered: u64,
    status: u16,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Tap(Tap),
    Answered(Answered),
}

/// The key that seals the records.
pub struct TapKey {
    seal: LessSafeKey,
    digest: hmac::Key,
}

impl TapKey {
    /// From 64 hex digits; `variable` is where they come from.
    ///
    /// # Errors
    /// When it is not that; never shows it.
    pub fn parse(variable: &str, text: &str) -> anyhow::Result<Self> {
        let wrong =
            || anyhow!("{variable} must hold 64 hex digits (openssl rand -hex 32): the key that seals recorded revocations");
        let text = text.trim();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let bytes: Result<Vec<u8>, _> = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16)).collect();
        let bytes = Zeroizing::new(bytes.map_err(|_| wrong())?);
        let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let derived = |role: &[u8]| hmac::sign(&root, role);
        let seal = UnboundKey::new(&CHACHA20_POLY1305, derived(b"seal").as_ref()).map_err(|_| wrong())?;
        Ok(Self { seal: LessSafeKey::new(seal), digest: hmac::Key::new(hmac::HMAC_SHA256, derived(b"digest").as_ref()) })
    }

    /// The key that this environment variable holds.
    ///
    /// # Errors
    /// When it is not set, or is no key.
    pub fn from_env(variable: &str) -> anyhow::Result<Self> {
        let text = std::env::var(variable).map(Zeroizing::new);
        let text = text.map_err(|_| anyhow!("{variable} is not set; it must hold 64 hex digits (openssl rand -hex 32)"))?;
        Self::parse(variable, &text)
    }

    fn digest(&self, revocation: &Revocation) -> String {
        let mut context = hmac::Context::with_key(&self.digest);
        for part in [revocation.method.as_bytes(), revocation.path.as_bytes(), &revocation.body] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.sign().as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn seal(&self, number: u64, revocation: &Revocation) -> anyhow::Result<(String, String)> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| anyhow!("the system gives no random numbers"))?;
        let mut text = Zeroizing::new(serde_json::to_vec(revocation)?);
        let tag = self
            .seal
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound(number), &mut text)
            .map_err(|_| anyhow!("a revocation cannot be sealed"))?;
        text.extend_from_slice(tag.as_ref());
        Ok((BASE64.encode(nonce), BASE64.encode(&*text)))
    }

    /// What a record says.
    ///
    /// # Errors
    /// When it was sealed with another key, or changed.
    pub fn open(&self, tap: &Tap) -> anyhow::Result<Revocation> {
        let open = || -> Option<Revocation> {
            let nonce = Nonce::try_assume_unique_for_key(&BASE64.decode(&tap.nonce).ok()?).ok()?;
            let mut text = Zeroizing::new(BASE64.decode(&tap.sealed).ok()?);
            let plain = self.seal.open_in_place(nonce, bound(tap.tap), &mut text).ok()?;
            serde_json::from_slice(plain).ok()
        };
        open().with_context(|| format!("tap {} was sealed with another key, or changed since", tap.tap))
    }
}

/// A record cannot be moved to another number.
fn bound(number: u64) -> Aad<String> {
    Aad::from(format!("crossfade tap {number}"))
}

struct Order {
    line: String,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// Records revocations. One thread writes; what came meanwhile is forced out together.
pub struct Recorder {
    key: TapKey,
    last: AtomicU64,
    writer: mpsc::Sender<Order>,
}

impl Recorder {
    /// Begins a new segment in the folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: &Path, key: TapKey) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let taps = read(folder)?;
        let last = taps.keys().next_back().copied().unwrap_or_default();
        let number = segments(folder)?.len() + 1;
        let path = folder.join(format!("taps-{number:08}.jsonl"));
        let file = private(&path, false).with_context(|| format!("cannot write {}", path.display()))?;
        File::open(folder)?.sync_all()?;
        Self::on(file, key, last)
    }

    fn on(file: File, key: TapKey, last: u64) -> anyhow::Result<Self> {
        let (writer, orders) = mpsc::channel();
        std::thread::Builder::new().name("tap".to_owned()).spawn(move || write(file, &orders))?;
        Ok(Self { key, last: AtomicU64::new(last), writer })
    }

    /// Records a revocation that this side is about to be asked for; when it returns, the record is on disk.
    ///
    /// # Errors
    /// When it is not on disk: the side must not be asked then.
    pub async fn record(&self, side: Side, listener: &str, kind: &str, revocation: &Revocation) -> anyhow::Result<u64> {
        let number = self.last.fetch_add(1, SeqCst) + 1;
        let (nonce, sealed) = self.key.seal(number, revocation)?;
        let digest = self.key.digest(revocation);
        let (listener, kind) = (listener.to_owned(), kind.to_owned());
        let tap = Tap { tap: number, at_ms: crate::router::route::now_ms(), side, listener, kind, digest, nonce, sealed };
        let (done, written) = oneshot::channel();
        let order = Order { line: serde_json::to_string(&tap)?, done: Some(done) };
        self.writer.send(order).map_err(|_| anyhow!("the writer of taps has ended"))?;
        written
            .await
            .map_err(|_| anyhow!("the writer of taps has ended"))?
            .map_err(|error| anyhow!("cannot write a tap: {error}"))?;
        Ok(number)
    }

    /// Notes what the side answered.
    pub fn answered(&self, tap: u64, status: u16) {
        if let Ok(line) = serde_json::to_string(&Answered { answered: tap, status }) {
            let _ = self.writer.send(Order { line, done: None }); // without the note a replay does it again
        }
    }
}

fn write(mut file: File, orders: &mpsc::Receiver<Order>) {
    let mut broken: Option<String> = None;
    while let Ok(first) = orders.recv() {
        let batch: Vec<Order> = std::iter::once(first).chain(orders.try_iter()).collect();
        let text: String = batch.iter().map(|order| format!("{}\n", order.line)).collect();
        let forced = batch.iter().any(|order| order.done.is_some());
        if broken.is_none() {
            let written = file.write_all(text.as_bytes()).and_then(|()| if forced { file.sync_data() } else { Ok(()) });
            // After a failed write nobody knows what is in the file: nothing more is written to this segment.
            broken = written.err().map(|error| error.to_string());
        }
        for done in batch.into_iter().filter_map(|order| order.done) {
            let _ = done.send(broken.clone().map_or(Ok(()), Err));
        }
    }
}

fn segments(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("taps-") && name.ends_with(".jsonl") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The recorded revocations by number, with what their side answered; `None` when nobody knows.
///
/// # Errors
/// When a segment cannot be read, or holds in its middle what is no record.
pub fn read(folder: &Path) -> anyhow::Result<BTreeMap<u64, (Tap, Option<u16>)>> {
    let mut taps = BTreeMap::new();
    for path in segments(folder)? {
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut torn = None;
        for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            if let Some(number) = torn {
                bail!("{}:{number}: this is no record of a revocation; only the last line may be torn", path.display());
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Tap(tap)) => drop(taps.insert(tap.tap, (tap, None))),
                Ok(Line::Answered(Answered { answered, status })) => {
                    if let Some((_, known)) = taps.get_mut(&answered) {
                        *known = Some(status);
                    }
                }
                Err(_) => torn = Some(number + 1),
            }
        }
    }
    Ok(taps)
}

/// Which taps were done again on green, in a file beside them.
pub struct Replayed {
    file: File,
    done: BTreeSet<u64>,
}

impl Replayed {
    /// Reads the file, and opens it for more.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("replayed");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let done = text.lines().filter_map(|line| line.parse().ok()).collect();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        Ok(Self { file: file.with_context(|| format!("cannot write {}", path.display()))?, done })
    }

    /// Whether this tap was done again.
    pub fn has(&self, tap: u64) -> bool {
        self.done.contains(&tap)
    }

    /// Notes that this tap was done again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, tap: u64) -> anyhow::Result<()> {
        self.file.write_all(format!("{tap}\n").as_bytes())?;
        self.done.insert(tap);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(digit: &str) -> TapKey {
        TapKey::parse("K", &digit.repeat(64)).unwrap()
    }

    fn revocation(token: &str) -> Revocation {
        Revocation {
            method: "POST".to_owned(),
            path: "/oauth2/revoke".to_owned(),
            authorization: Some(Zeroizing::new("Basic c2VjcmV0".to_owned())),
            content_type: Some("application/x-www-form-urlencoded".to_owned()),
            body: Zeroizing::new(format!("token={token}").into_bytes()),
        }
    }

    #[tokio::test]
    async fn what_was_recorded_can_be_read_by_who_has_the_key_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        for (start, token) in ["first-token", "second-token"].iter().enumerate() {
            let recorder = Recorder::open(folder.path(), key("a")).unwrap();
            let number = recorder.record(Side::Blue, "public", "revoke", &revocation(token)).await.unwrap();
            assert_eq!(number, start as u64 + 1);
        }
        let segment = folder.path().join("taps-00000002.jsonl");
        assert_eq!(std::fs::metadata(&segment).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&segment).unwrap();
        assert!(!text.contains("second") && !text.contains("c2VjcmV0"), "{text}");
        // A torn last line is no record; a torn line in the middle is damage.
        std::fs::write(&segment, format!("{text}{{\"answered\":1,\"status\":200}}\n{{\"tap\":3,\"at")).unwrap();
        let taps = read(folder.path()).unwrap();
        assert_eq!(taps.iter().map(|(number, (_, status))| (*number, *status)).collect::<Vec<_>>(), [(1, Some(200)), (2, None)]);
        assert!(key("a").open(&taps[&2].0).unwrap() == revocation("second-token"));
        assert_ne!(taps[&1].0.digest, taps[&2].0.digest);
        assert!(key("b").open(&taps[&2].0).is_err());
        let moved = Tap { tap: 1, ..taps[&2].0.clone() };
        assert!(key("a").open(&moved).is_err());
        std::fs::write(&segment, format!("torn\n{text}")).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("taps-00000002.jsonl:1:"));
    }

    /// Linux has a device that is always full.
    #[tokio::test]
    async fn what_is_not_on_disk_is_not_recorded() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let recorder = Recorder::on(full, key("a"), 0).unwrap();
        for _ in 0..2 {
            let refused = recorder.record(Side::Blue, "public", "revoke", &revocation("t")).await.unwrap_err().to_string();
            assert!(refused.starts_with("cannot write a tap: No space left"), "{refused}");
        }
    }
}
