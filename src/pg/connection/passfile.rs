//! The password file (PostgreSQL manual 34.16): lines of `host:port:database:user:password`.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::pg::connection::secret::Secret;

/// Whose password is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// Host name or address; `localhost` for a Unix socket in the default folder, the folder for any other.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Database name.
    pub dbname: &'a str,
    /// User name.
    pub user: &'a str,
}

/// What a password file is good for.
pub enum Passfile {
    /// There is none.
    Absent,
    /// It must not be used; the text says why and what to do.
    Refused(String),
    /// Its lines.
    Lines(String),
}

/// Reads the file at `path`, unless others may read it too.
pub fn open(path: &Path) -> Passfile {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Passfile::Absent,
        Err(error) => return Passfile::Refused(format!("the password file {shown} cannot be read: {error}")),
    };
    if !metadata.is_file() && !metadata.file_type().is_fifo() {
        return Passfile::Refused(format!("the password file {shown} is not used: it is no plain file"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Passfile::Refused(format!(
            "the password file {shown} is not used: group or others may read it (mode {mode:04o}); chmod 0600 {shown}"
        ));
    }
    match std::fs::read_to_string(path) {
        Ok(lines) => Passfile::Lines(lines),
        Err(error) => Passfile::Refused(format!("the password file {shown} cannot be read: {error}")),
    }
}

/// The password of the first line that fits.
pub fn find(lines: &str, login: Login<'_>) -> Option<Secret> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.dbname, login.user];
    lines.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for want in wanted {
            let (field, after) = field(rest);
            if field.raw != "*" && field.text != want {
                return None;
            }
            rest = after?;
        }
        // libpq reads the password to the end of the line, or to a further unescaped colon
        Some(Secret::new(field(rest).0.text)).filter(|password| !password.reveal().is_empty())
    })
}

struct Field<'a> {
    raw: &'a str,
    text: String,
}

/// The field up to the next unescaped colon, and what follows that colon.
fn field(line: &str) -> (Field<'_>, Option<&str>) {
    let mut text = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.push(chars.next().map_or('\\', |(_, escaped)| escaped)),
            ':' => return (Field { raw: &line[..at], text }, Some(&line[at + 1..])),
            c => text.push(c),
        }
    }
    (Field { raw: line, text }, None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_that_fits() {
        let lines = "# db:5432:app:ann:comment\n\
                     db:5432:app:ann:first\n\
                     db:5432:app:ann:second\n\
                     \\:\\:1:*:*:ann:six\n\
                     localhost:*:odd\\:name:a\\\\b:with\\:colon\\\\\n\
                     short:line\n\
                     other:5432:*:empty:\n\
                     \\*:1:*:star:literal\n\
                     *:*:*:any:ends:here\n";
        for (host, port, dbname, user, expected) in [
            ("db", 5432, "app", "ann", Some("first")),
            ("db", 5433, "app", "ann", None),
            ("::1", 1, "x", "ann", Some("six")),
            ("localhost", 9, "odd:name", "a\\b", Some("with:colon\\")),
            ("short", 1, "x", "x", None),
            ("other", 5432, "x", "empty", None),
            ("x", 1, "x", "star", None),
            ("*", 1, "x", "star", Some("literal")),
            ("x", 1, "x", "any", Some("ends")),
        ] {
            let found = find(lines, Login { host, port, dbname, user });
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{host}:{port}:{dbname}:{user}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        assert!(matches!(open(&path), Passfile::Absent));
        std::fs::write(&path, "*:*:*:*:secret").expect("written");
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let Passfile::Refused(why) = open(&path) else { panic!("mode {mode:o} was accepted") };
            assert!(why.contains("chmod 0600") && !why.contains("secret"), "{why}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(matches!(open(&path), Passfile::Lines(_)));
        assert!(matches!(open(folder.path()), Passfile::Refused(_)));
    }
}
