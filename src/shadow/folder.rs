//! A throw-away folder: it goes away with the process that made it, even when that one is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A folder that nobody else may look into. Dropping it removes it with all it holds.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keeper: Child,
    lifeline: Option<ChildStdin>,
}

/// Makes the folder, so that there is no moment without somebody to remove it, and waits for its own standard input to end,
/// which happens when everybody who holds the other end of it is gone. The word `keep` lets the folder stand.
const KEEPER: &str = r#"
trap : HUP INT TERM
trap '' PIPE
if ! why=$(mkdir -m 700 "$1" 2>&1); then
    echo "$why"
    exit 1
fi
echo made
word=
read -r word
[ "$word" = keep ] || rm -rf "$1"
"#;

impl Folder {
    /// Makes a folder where temporary files belong (`TMPDIR`), named `prefix` and some letters.
    ///
    /// # Errors
    /// Names the folder and what is in the way.
    pub fn make(prefix: &str) -> Result<Self> {
        let letters: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
        let path = std::env::temp_dir().join(format!("{prefix}{letters}"));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "crossfade-keeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .context("cannot run sh, which keeps the throw-away folders")?;
        let lifeline = keeper.stdin.take();
        let mut answer = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut answer)?;
        }
        let folder = Self { path, keeper, lifeline };
        match answer.trim_end() {
            "made" => Ok(folder),
            why => bail!("cannot make a throw-away folder ({why}); set TMPDIR to a folder that can be written"),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Something for another process to hold: as long as it does, the folder stands even without us. Nothing where it stands anyway.
    pub(super) fn hold(&self) -> Result<Stdio> {
        use std::os::fd::AsFd;
        let Some(lifeline) = &self.lifeline else { return Ok(Stdio::null()) };
        Ok(lifeline.as_fd().try_clone_to_owned()?.into())
    }

    /// Lets the folder stand when this process ends.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub fn keep(&mut self) -> Result<()> {
        let mut lifeline = self.lifeline.take().context("the throw-away folder is already let go")?;
        Ok(lifeline.write_all(b"keep\n")?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.keeper.wait();
    }
}
