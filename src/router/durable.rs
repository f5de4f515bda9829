//! The route on disk: written whole to a new file, forced out, and put in place of the old one, so that a crash at any moment
//! leaves the one or the other.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::router::route::Route;
use crate::terms::Side;

/// The folder that a router keeps its route in. One router at a time.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    id: String,
    alone: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    #[serde(flatten)]
    route: Route,
}

/// A copy of the descriptor in a child process that is being started would keep the lock after this.
impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.alone.unlock();
    }
}

impl Kept {
    /// Opens or makes the folder, and reads the route in it; `first` is the side that serves when there is none yet.
    ///
    /// # Errors
    /// When another router has the folder, or what is in it is not a route of ours: nobody may guess then.
    pub fn open(folder: &Path, first: Side) -> anyhow::Result<(Self, Route)> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = folder.join("lock");
        let alone = private(&lock, false).with_context(|| format!("cannot open {}", lock.display()))?;
        if alone.try_lock().is_err() {
            bail!("{} belongs to a router that is running; stop it first, or give this one another `state`", folder.display());
        }
        let kept = Self { folder: folder.to_owned(), id: id(folder)?, alone };
        let path = kept.path();
        let route = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let written: Written = serde_json::from_str(&text).with_context(|| {
                    format!("{} holds no route; look at the metrics of both sides before you write one", path.display())
                })?;
                if written.format != 1 {
                    bail!("{} has format {}, this version of crossfade reads format 1", path.display(), written.format);
                }
                written.route
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let route = Route::first(first);
                kept.write(&route)?;
                route
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok((kept, route))
    }

    /// What tells this folder from those of other routers: eight hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn path(&self) -> PathBuf {
        self.folder.join("route.json")
    }

    /// Puts a route in place of the one before it; when this returns it is on disk.
    ///
    /// # Errors
    /// When the disk does not take it; the route before it is still there then.
    pub fn write(&self, route: &Route) -> anyhow::Result<()> {
        let (path, new) = (self.path(), self.folder.join("route.json.new"));
        let text = serde_json::to_string(&Written { format: 1, route: *route })?;
        let put = || -> std::io::Result<()> {
            let mut file = private(&new, true)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        put().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Reads the folder's id, or draws one.
fn id(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("instance");
    if let Ok(text) = std::fs::read_to_string(&path)
        && text.len() == 8
    {
        return Ok(text);
    }
    let text = format!("{:08x}", fastrand::u32(..));
    let write = || -> std::io::Result<()> {
        let mut file = private(&path, true)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(text)
}

/// Opens a file that nobody else may read, for writing.
pub(super) fn private(path: &Path, empty: bool) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(empty).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::route::{Change, Position};

    #[test]
    fn a_route_outlasts_its_router_and_a_torn_write() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, route) = Kept::open(folder.path(), Side::Blue).unwrap();
        assert_eq!(route, Route::first(Side::Blue));
        let busy = Kept::open(folder.path(), Side::Blue).unwrap_err().to_string();
        assert!(busy.contains("belongs to a router that is running"), "{busy}");
        let next = route.changed(&Change { epoch: 1, to: Position::Green, hold_ms: 0 }, 5).unwrap();
        kept.write(&next).unwrap();
        std::fs::write(folder.path().join("route.json.new"), "{\"form").unwrap();
        drop(kept);
        let (_kept, read) = Kept::open(folder.path(), Side::Blue).unwrap();
        assert_eq!(read, next);
    }

    #[test]
    fn what_is_no_route_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", "{\"format\":2,\"epoch\":1,\"position\":\"blue\",\"side\":\"blue\",\"deadline_ms\":0}"] {
            std::fs::write(folder.path().join("route.json"), text).unwrap();
            assert!(Kept::open(folder.path(), Side::Blue).is_err(), "{text}");
        }
    }
}
