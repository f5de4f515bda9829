//! The ways to clone a database, each as the shell script an operator would write.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, bail};
use crossfade::shadow::Cluster;

use crate::measure::{Cost, measure};

/// Where everything is.
pub struct Place {
    pub blue: Arc<Cluster>,
    pub green: Arc<Cluster>,
    pub scratch: PathBuf,
    pub jobs: usize,
}

/// A way to clone a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Crossfade,
    DumpRestore,
    /// The same without compression.
    DumpRestorePlain,
    Pgcopydb,
    PlainCopy,
}

impl Way {
    const ALL: [Way; 5] = [Way::Crossfade, Way::DumpRestore, Way::DumpRestorePlain, Way::Pgcopydb, Way::PlainCopy];

    /// Those whose programs are on this machine; says what is missing.
    pub fn found() -> Vec<Way> {
        Way::ALL
            .into_iter()
            .filter(|way| {
                let there = Command::new(way.program()).arg("--version").output().is_ok_and(|output| output.status.success());
                if !there {
                    println!("{} is not on this machine: left out", way.program());
                }
                there
            })
            .collect()
    }

    fn program(self) -> &'static str {
        match self {
            Way::Crossfade => env!("CARGO_BIN_EXE_crossfade"),
            Way::DumpRestore | Way::DumpRestorePlain => "pg_restore",
            Way::Pgcopydb => "pgcopydb",
            Way::PlainCopy => "psql",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Crossfade => "crossfade",
            Way::DumpRestore => "pg_dump -Fd | pg_restore",
            Way::DumpRestorePlain => "pg_dump -Fd -Z0 | pg_restore",
            Way::Pgcopydb => "pgcopydb clone",
            Way::PlainCopy => "psql COPY | psql COPY, then indexes",
        }
    }

    /// Clones into the database `clone` of green.
    pub fn clone_database(self, place: &Place, database: &str) -> Result<Cost> {
        let folder = tempfile::tempdir_in(&place.scratch)?;
        let environment = [
            ("BLUE", place.blue.url(database)),
            ("GREEN", place.green.url("clone")),
            ("JOBS", place.jobs.to_string()),
            ("DIR", folder.path().display().to_string()),
            ("CROSSFADE", env!("CARGO_BIN_EXE_crossfade").to_owned()),
        ];
        measure(self.script(), &environment)
    }

    fn script(self) -> &'static str {
        match self {
            Way::Crossfade => {
                r#""$CROSSFADE" copy --execute --no-owner --jobs "$JOBS" --quiet --blue "$BLUE" --green "$GREEN" --state "$DIR/state" >&2"#
            }
            Way::DumpRestore => {
                r#"pg_dump -Fd -j "$JOBS" --no-owner -f "$DIR/dump" "$BLUE"
                   pg_restore -j "$JOBS" --no-owner -d "$GREEN" "$DIR/dump"
                   psql -qXc ANALYZE "$GREEN""#
            }
            Way::DumpRestorePlain => {
                r#"pg_dump -Fd -j "$JOBS" -Z0 --no-owner -f "$DIR/dump" "$BLUE"
                   pg_restore -j "$JOBS" --no-owner -d "$GREEN" "$DIR/dump"
                   psql -qXc ANALYZE "$GREEN""#
            }
            Way::Pgcopydb => {
                r#"pgcopydb clone --source "$BLUE" --target "$GREEN" --table-jobs "$JOBS" --index-jobs "$JOBS" --no-owner --dir "$DIR/work" >&2
                   psql -qXc ANALYZE "$GREEN""#
            }
            Way::PlainCopy => {
                r#"pg_dump -Fc -s --no-owner -f "$DIR/schema" "$BLUE"
                   pg_restore --section=pre-data --no-owner -d "$GREEN" "$DIR/schema"
                   list="SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                         WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY pg_table_size(format('%I.%I', schemaname, tablename)::regclass) DESC"
                   psql -qXAtc "$list" "$BLUE" | xargs -P "$JOBS" -I TABLE sh -c \
                      'psql -qXc "COPY TABLE TO STDOUT (FORMAT binary)" "$BLUE" | psql -qXc "COPY TABLE FROM STDIN (FORMAT binary)" "$GREEN"'
                   pg_restore --section=post-data -j "$JOBS" --no-owner -d "$GREEN" "$DIR/schema"
                   psql -qXc ANALYZE "$GREEN""#
            }
        }
    }
}

/// Compares both schemas as `pg_dump -s` writes them, our own schema aside.
pub fn same_schema(place: &Place, database: &str) -> Result<()> {
    let dump = |url: String| -> Result<String> {
        let output = Command::new("pg_dump").args(["-s", "--no-owner", "-N", "crossfade", &url]).output()?;
        let text = String::from_utf8(output.stdout)?;
        // Newer servers give each dump a random key.
        Ok(text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n"))
    };
    let (there, here) = (dump(place.blue.url(database))?, dump(place.green.url("clone"))?);
    if there != here || there.is_empty() {
        bail!("the clone has another schema than blue");
    }
    Ok(())
}
