//! The connection service file (PostgreSQL manual 34.17): named groups of settings.

use std::path::PathBuf;

use crate::pg::connection::conninfo::Settings;
use crate::pg::connection::environment::Environment;

/// Where distributions put `pg_service.conf` when `PGSYSCONFDIR` is not set: Debian, Red Hat, and a build from source.
const SYSTEM_FOLDERS: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// The settings of service `name`: from `file` or `~/.pg_service.conf`, else from the system's file.
///
/// # Errors
/// When no file defines the service, or the file that does has a line that cannot be read; names file and line, no values.
pub fn look_up(name: &str, file: Option<&str>, environment: &Environment) -> Result<Settings, String> {
    let own = match file {
        Some(file) => Some(PathBuf::from(file)),
        None => environment.home().map(|home| home.join(".pg_service.conf")),
    };
    let folders = match environment.variable("PGSYSCONFDIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => SYSTEM_FOLDERS.map(PathBuf::from).to_vec(),
    };
    let mut read = Vec::new();
    for path in own.into_iter().chain(folders.into_iter().map(|folder| folder.join("pg_service.conf"))) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.map(PathBuf::from).as_ref() == Some(&path) => {
                return Err(format!("the service file {} cannot be read: {error}", path.display()));
            }
            Err(_) => continue,
        };
        if let Some(settings) = section(&text, name).map_err(|e| format!("{}, {e}", path.display()))? {
            return Ok(settings);
        }
        read.push(path.display().to_string());
    }
    let read = if read.is_empty() { "there is no service file".to_owned() } else { format!("not in {}", read.join(", ")) };
    Err(format!("service `{name}` is not defined ({read}); write a section [{name}] in ~/.pg_service.conf"))
}

/// The group `[name]` of a service file; `None` when there is none. The first value of a keyword counts.
///
/// # Errors
/// Names the line.
fn section(text: &str, name: &str) -> Result<Option<Settings>, String> {
    let mut found: Option<Settings> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_suffix(']') == Some(name) {
                found = Some(Settings::default());
            }
            continue;
        }
        let Some(settings) = found.take() else { continue };
        let wrong = |what: String| format!("line {}: {what}", index + 1);
        let (keyword, value) =
            line.split_once('=').ok_or_else(|| wrong("not `keyword=value` (LDAP look-ups are not supported)".to_owned()))?;
        if keyword.starts_with("service") {
            return Err(wrong("a service cannot name another service".to_owned()));
        }
        let mut one = Settings::default();
        one.set(keyword, value.to_owned(), None).map_err(wrong)?;
        found = Some(settings.or(one));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[blue]\nhost=b\nport=1\nhost=later\n\n[green]\n  host=g  \npassword=a=b\n[bad]\nnonsense\n[worse]\nservice=x\n[wrong]\nhots=x\n";

    #[test]
    fn sections() {
        let blue = section(FILE, "blue").expect("reads").expect("found");
        assert_eq!((blue.get("host"), blue.get("port")), (Some("b"), Some("1")));
        let green = section(FILE, "green").expect("reads").expect("found");
        assert_eq!((green.get("host"), green.get("password")), (Some("g"), Some("a=b")));
        assert_eq!(section(FILE, "none"), Ok(None));
        for (name, expected) in
            [("bad", "line 11: not `keyword"), ("worse", "line 13: a service"), ("wrong", "line 15: unknown keyword `hots`")]
        {
            let error = section(FILE, name).expect_err(name);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Environment::new([("HOME", folder.path().to_str().expect("UTF-8")), ("PGSYSCONFDIR", "/nowhere")]);
        assert!(look_up("blue", None, &home).is_err_and(|e| e.contains("no service file")));
        std::fs::write(folder.path().join(".pg_service.conf"), FILE).expect("written");
        assert_eq!(look_up("blue", None, &home).expect("found").get("host"), Some("b"));
        assert!(look_up("red", None, &home).is_err_and(|e| e.contains("`red` is not defined (not in ")));
        assert!(look_up("blue", Some("/nowhere/at/all"), &home).is_err_and(|e| e.contains("cannot be read")));
    }
}
