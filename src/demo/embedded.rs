//! The plans and migrations that this program carries with it, so that the demo needs no other file.

use std::path::Path;

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};

static PLANS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/plans");
static MIGRATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/migrations");

/// Writes `plans/` and `migrations/` into a folder, as they stand in the source tree.
///
/// # Errors
/// When the folder cannot be written.
pub fn unpack(folder: &Path) -> Result<()> {
    for (name, content) in [("plans", &PLANS), ("migrations", &MIGRATIONS)] {
        let target = folder.join(name);
        std::fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        content.extract(&target).with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}
