//! A file that is replaced as a whole, in one moment.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Makes sure that the folder takes a new file.
///
/// # Errors
/// When it does not.
pub fn trial(path: &Path) -> anyhow::Result<()> {
    let (trial, file) = beside(path)?;
    drop(file);
    std::fs::remove_file(&trial).with_context(|| format!("cannot remove {}", trial.display()))
}

/// Replaces the file durably, with its owner and mode as they are.
///
/// # Errors
/// When it cannot be replaced; then it is as it was.
pub fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let (new, mut file) = beside(path)?;
    let put = (|| -> anyhow::Result<()> {
        file.write_all(content)?;
        let meta = std::fs::metadata(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (meta.uid(), meta.gid()) {
            fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
        }
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        Ok(std::fs::File::open(folder(path))?.sync_all()?)
    })();
    if put.is_err() {
        let _ = std::fs::remove_file(&new); // the rename may have taken it
    }
    put.with_context(|| format!("cannot replace {}", path.display()))
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// A new file in the same folder, for our eyes only.
fn beside(path: &Path) -> anyhow::Result<(PathBuf, std::fs::File)> {
    let name = path.file_name().context("the path names no file")?.to_string_lossy();
    let beside = folder(path).join(format!(".{name}.crossfade"));
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    Ok((beside.clone(), file.with_context(|| format!("cannot write {}", beside.display()))?))
}
