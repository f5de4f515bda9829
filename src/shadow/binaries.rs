//! Where PostgreSQL's server programs are on this machine, or what to install.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder with `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds them: `CROSSFADE_PG_BINDIR` alone when it is set; else `PATH`, `pg_config --bindir` and the usual
    /// folders of distributions, where the newest version from 13 on wins.
    ///
    /// # Errors
    /// Says exactly what to install, by the package manager this machine has.
    pub fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os("CROSSFADE_PG_BINDIR") {
            let folder = PathBuf::from(folder);
            return Self::at(&folder)
                .with_context(|| format!("CROSSFADE_PG_BINDIR is {}: no usable initdb and postgres there", folder.display()));
        }
        candidates()
            .iter()
            .filter_map(|folder| Self::at(folder))
            .filter(|found| found.major >= 13)
            .max_by_key(|found| found.major)
            .with_context(|| {
                format!("no PostgreSQL server programs (initdb, postgres; version 13 or later) on this machine; {}", advice())
            })
    }

    /// One of each major version from 13 on, the oldest first: of the folders in `CROSSFADE_PG_BINDIRS`, separated like those of
    /// `PATH`, when it is set; else those of `CROSSFADE_PG_BINDIR`, or all that this machine has.
    ///
    /// # Errors
    /// When there is none, or a folder in a variable holds none.
    pub fn find_all() -> Result<Vec<Self>> {
        let mut found = match std::env::var_os("CROSSFADE_PG_BINDIRS") {
            Some(folders) => std::env::split_paths(&folders)
                .map(|folder| {
                    let found = Self::at(&folder).filter(|binaries| binaries.major >= 13);
                    found.with_context(|| format!("no usable initdb and postgres from 13 on in {}", folder.display()))
                })
                .collect::<Result<Vec<_>>>()
                .context("CROSSFADE_PG_BINDIRS")?,
            None if std::env::var_os("CROSSFADE_PG_BINDIR").is_some() => Vec::new(),
            None => candidates().iter().filter_map(|folder| Self::at(folder)).collect(),
        };
        found.retain(|binaries| binaries.major >= 13);
        found.sort_by_key(|binaries| binaries.major);
        found.dedup_by_key(|binaries| binaries.major);
        if found.is_empty() { Ok(vec![Self::find()?]) } else { Ok(found) }
    }

    /// The programs in this folder, if they are there and run.
    pub fn at(folder: &Path) -> Option<Self> {
        if !folder.join("initdb").exists() {
            return None;
        }
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(Self { folder: folder.to_owned(), major: major_of(&text)? })
    }

    /// One program's path.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The major version, 15 for 15.18.
    pub fn major(&self) -> u32 {
        self.major
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian ...)` → 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for (parent, child) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr", "bin"),
        ("/usr/local", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/libexec", ""),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        folders.extend(entries.flatten().map(|entry| entry.path().join(child)));
    }
    folders
}

/// The package managers we know: the program that tells, and the commands that install a server.
const MANAGERS: [(&str, &[&[&str]]); 5] = [
    ("apt-get", &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]]),
    ("dnf", &[&["dnf", "install", "-y", "postgresql-server", "postgresql-contrib"]]),
    ("apk", &[&["apk", "add", "postgresql"]]),
    ("zypper", &[&["zypper", "--non-interactive", "install", "postgresql-server"]]),
    ("pacman", &[&["pacman", "-Sy", "--noconfirm", "postgresql"]]),
];

fn manager() -> Option<&'static [&'static [&'static str]]> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    MANAGERS.iter().find(|(program, _)| folders.iter().any(|folder| folder.join(program).exists())).map(|(_, commands)| *commands)
}

fn advice() -> String {
    match manager() {
        Some(commands) => {
            let lines: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
            format!("install them with `{}` (as root), or run `crossfade demo --install`", lines.join(" && "))
        }
        None => "install PostgreSQL's server package, or set CROSSFADE_PG_BINDIR to the folder that holds them".to_owned(),
    }
}

/// Installs the server programs by this machine's package manager (through `sudo -n` when we are not root).
///
/// # Errors
/// When there is no known package manager, or it fails; says the commands to run by hand.
pub fn install() -> Result<()> {
    let Some(commands) = manager() else {
        bail!("no known package manager on this machine; {}", advice());
    };
    for words in commands {
        let mut words: Vec<&str> = words.to_vec();
        if !nix::unistd::geteuid().is_root() {
            words.splice(0..0, ["sudo", "-n"]);
        }
        eprintln!("running: {}", words.join(" "));
        // Our stdout is for results: the package manager's goes to stderr.
        let status = Command::new(words[0])
            .args(&words[1..])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(std::process::Stdio::null())
            .stdout(std::io::stderr())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            bail!("`{}` failed; {}", words.join(" "), advice());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_read() {
        assert_eq!(super::major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(super::major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(super::major_of("nothing"), None);
    }
}
