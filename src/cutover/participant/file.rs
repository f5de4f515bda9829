//! A file that says where to connect: replaced as a whole, then a signal or a program tells its reader.

use std::path::{Path, PathBuf};

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::{Participant, Read, Scene, Standing};
use crate::cutover::replace;
use crate::cutover::signal::SignalTo;
use crate::hook::Program;
use crate::terms::Side;

/// As a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    path: PathBuf,
    blue: PathBuf,
    green: PathBuf,
    signal: Option<SignalTo>,
    then: Option<Vec<String>>,
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
        replace::trial(&self.path)
    }

    /// Replaces the file in one moment, durably, with its owner and mode as they are.
    pub(super) fn put(&self, side: Side) -> anyhow::Result<()> {
        if self.side()? == Some(side) {
            return Ok(());
        }
        replace::replace(&self.path, self.content(side))
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
        let signal = written.signal.map(|to| to.from_folder(base));
        match swap {
            Some(swap) if wrong.is_empty() => Ok((Box::new(Self { name: written.name, swap, signal, then }), files)),
            _ => Err(wrong),
        }
    }
}

#[async_trait]
impl Participant for FileSwap {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        let signal = self.signal.as_ref().map(|to| format!(", {}", to.shown()));
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
            to.reachable()?;
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
            told.send()?;
        }
        match &self.then {
            Some(program) => program.must(scene.hook()?, scene.patience).await,
            None => Ok(()),
        }
    }
}
