//! A file that says where to connect: replaced as a whole, then a signal or a program tells its reader.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use super::{Participant, Read, Scene, Standing};
use crate::hook::Program;
use crate::terms::Side;

/// As a plan has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    path: PathBuf,
    blue: PathBuf,
    green: PathBuf,
    signal: Option<SignalTo>,
    then: Option<Vec<String>>,
}

/// Who is told, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalTo {
    pid_file: PathBuf,
    #[serde(default)]
    signal: Told,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Told {
    #[default]
    Hup,
    Usr1,
    Usr2,
    Term,
}

/// The file and what it holds on each side.
pub(super) struct FileSwap {
    name: String,
    swap: Swap,
    signal: Option<SignalTo>,
    then: Option<Program>,
}

/// A file with a content per side.
pub(super) struct Swap {
    pub(super) path: PathBuf,
    contents: [Vec<u8>; 2],
}

impl Swap {
    /// Reads what the file is to hold on each side.
    pub(super) fn read(path: &Path, blue: &Path, green: &Path, base: &Path) -> Result<(Self, Vec<Vec<u8>>), Vec<String>> {
        let mut wrong = Vec::new();
        let mut read = |key: &str, file: &Path| {
            std::fs::read(base.join(file)).unwrap_or_else(|e| {
                wrong.push(format!("`{key}`: cannot read {}: {e}", file.display()));
                Vec::new()
            })
        };
        let contents = [read("blue", blue), read("green", green)];
        if wrong.is_empty() && contents[0] == contents[1] {
            wrong.push("`blue` and `green` hold the same: nothing would switch".to_owned());
        }
        let path = std::path::absolute(base.join(path)).map_err(|e| vec![format!("`path`: {e}")])?;
        let files = contents.to_vec();
        if wrong.is_empty() { Ok((Self { path, contents }, files)) } else { Err(wrong) }
    }

    /// What it holds on a side.
    pub(super) fn content(&self, side: Side) -> &[u8] {
        &self.contents[side as usize]
    }

    /// Which side's content the file has now.
    pub(super) fn side(&self) -> anyhow::Result<Option<Side>> {
        let now = std::fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok([Side::Blue, Side::Green].into_iter().find(|side| self.content(*side) == now))
    }

    /// Makes sure that the folder takes a new file.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        let (trial, file) = self.beside()?;
        drop(file);
        std::fs::remove_file(&trial).with_context(|| format!("cannot remove {}", trial.display()))
    }

    /// Replaces the file in one moment, durably, with its owner and mode as they are.
    pub(super) fn put(&self, side: Side) -> anyhow::Result<()> {
        if self.side()? == Some(side) {
            return Ok(());
        }
        let (beside, mut file) = self.beside()?;
        let replaced = || format!("cannot replace {}", self.path.display());
        let put = (|| -> anyhow::Result<()> {
            file.write_all(self.content(side))?;
            let meta = std::fs::metadata(&self.path)?;
            file.set_permissions(std::fs::Permissions::from_mode(meta.mode() & 0o7777))?;
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
                fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
            }
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            Ok(std::fs::File::open(self.folder())?.sync_all()?)
        })();
        if put.is_err() {
            let _ = std::fs::remove_file(&beside); // the rename may have taken it
        }
        put.with_context(replaced)
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A new file in the same folder, for our eyes only.
    fn beside(&self) -> anyhow::Result<(PathBuf, std::fs::File)> {
        use std::os::unix::fs::OpenOptionsExt;
        let name = self.path.file_name().context("the path names no file")?.to_string_lossy();
        let beside = self.folder().join(format!(".{name}.crossfade"));
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
        Ok((beside.clone(), file.with_context(|| format!("cannot write {}", beside.display()))?))
    }
}

impl FileSwap {
    pub(super) fn read(written: Written, base: &Path) -> Read {
        let mut wrong = Vec::new();
        let (mut swap, mut files) = (None, Vec::new());
        match Swap::read(&written.path, &written.blue, &written.green, base) {
            Ok((read, contents)) => {
                swap = Some(read);
                files = contents;
            }
            Err(more) => wrong.extend(more),
        }
        let then = written.then.and_then(|words| match Program::find("then", words, base) {
            Ok((program, content)) => {
                files.extend(content);
                Some(program)
            }
            Err(what) => {
                wrong.push(what);
                None
            }
        });
        let signal = written.signal.map(|to| SignalTo { pid_file: base.join(to.pid_file), ..to });
        match swap {
            Some(swap) if wrong.is_empty() => Ok((Box::new(Self { name: written.name, swap, signal, then }), files)),
            _ => Err(wrong),
        }
    }

    fn pid(to: &SignalTo) -> anyhow::Result<Pid> {
        let file = to.pid_file.display();
        let text = std::fs::read_to_string(&to.pid_file).with_context(|| format!("cannot read {file}"))?;
        match text.trim().parse() {
            Ok(pid) if pid > 1 => Ok(Pid::from_raw(pid)),
            _ => bail!("{file} holds no process number"),
        }
    }
}

#[async_trait]
impl Participant for FileSwap {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        let signal = self.signal.as_ref().map(|to| format!(", {} to {}", signal(to.signal), to.pid_file.display()));
        let then = self.then.as_ref().map(|program| format!(", then {}", program.shown()));
        format!("replace {}{}{}", self.swap.path.display(), signal.unwrap_or_default(), then.unwrap_or_default())
    }

    fn runs_programs(&self) -> bool {
        self.then.is_some()
    }

    async fn standing(&self, _: &Scene) -> anyhow::Result<Standing> {
        let side = self.swap.side()?;
        let says =
            side.map_or_else(|| format!("{} holds neither side's content", self.swap.path.display()), |side| side.to_string());
        Ok(Standing { side, held: false, says })
    }

    async fn prepare(&self, scene: &Scene, _: Side) -> anyhow::Result<()> {
        self.swap.prepare()?;
        if let Some(to) = &self.signal {
            kill(Self::pid(to)?, None)
                .with_context(|| format!("the process of {} cannot be signalled", to.pid_file.display()))?;
        }
        if self.then.is_some() {
            scene.hook()?;
        }
        Ok(())
    }

    /// Tells its reader again each time: the process that replaced the file may have died before it could.
    async fn commit(&self, scene: &Scene, to: Side) -> anyhow::Result<()> {
        self.swap.put(to)?;
        if let Some(told) = &self.signal {
            kill(Self::pid(told)?, signal(told.signal)).with_context(|| format!("cannot signal {}", told.pid_file.display()))?;
        }
        match &self.then {
            Some(program) => program.must(scene.hook()?, scene.patience).await,
            None => Ok(()),
        }
    }
}

fn signal(told: Told) -> Signal {
    match told {
        Told::Hup => Signal::SIGHUP,
        Told::Usr1 => Signal::SIGUSR1,
        Told::Usr2 => Signal::SIGUSR2,
        Told::Term => Signal::SIGTERM,
    }
}
