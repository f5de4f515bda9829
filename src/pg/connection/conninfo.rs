//! Connection strings as libpq reads them (PostgreSQL manual 34.1.1): text to keywords, without touching files or the process.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::pg::connection::keyword::{KEYWORDS, Keyword, nearest};
use crate::pg::connection::quote::conninfo_value;

/// Keywords and their values. Its `Debug` form shows the keywords only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, String>);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Settings {
    /// Reads a connection string: a URI (`postgresql://` or `postgres://`) or `keyword=value` pairs.
    ///
    /// # Errors
    /// Says what is wrong and names the keyword. Values are never repeated, nor is anything that may be part of a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        match ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
            Some(rest) => uri(rest),
            None => pairs(text),
        }
    }

    /// The settings that environment variables give (34.15).
    ///
    /// # Errors
    /// Names the variable whose value crossfade could not honour.
    pub fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = Self::default();
        for keyword in KEYWORDS {
            if let Some((name, value)) = keyword.variable.and_then(|name| Some((name, variable(name)?))) {
                keyword.accept(&value).map_err(|e| format!("{name}: {e}"))?;
                settings.0.insert(keyword.name, value);
            }
        }
        Ok(settings)
    }

    /// Sets a keyword; the last value of a keyword counts. `previous` is the keyword before it in the text.
    ///
    /// # Errors
    /// When there is no such keyword or crossfade could not honour the value.
    pub fn set(&mut self, name: &str, value: String, previous: Option<&str>) -> Result<&'static str, String> {
        let Some(keyword) = Keyword::find(name) else { return Err(unknown(name, previous)) };
        keyword.accept(&value)?;
        self.0.insert(keyword.name, value);
        Ok(keyword.name)
    }

    /// These settings, and `fallback` for the keywords they do not have.
    #[must_use]
    pub fn or(mut self, fallback: Self) -> Self {
        for (name, value) in fallback.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// The value of a keyword; an empty value is none, as in libpq.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the keyword was set, be it to nothing.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of a keyword that is one of `choices`, the first choice when it is not set.
    ///
    /// # Errors
    /// Names the keyword and the choices.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, String> {
        let wanted = self.get(name).unwrap_or(choices[0].0);
        choices.iter().find(|(word, _)| *word == wanted).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            format!("{name} is none of {}", words.join(", "))
        })
    }

    /// The value of a keyword that is a whole number.
    ///
    /// # Errors
    /// Names the keyword.
    pub fn number(&self, name: &str) -> Result<Option<i64>, String> {
        let parsed = self.get(name).map(|value| value.trim().parse::<i32>().map(i64::from));
        parsed.transpose().map_err(|_| format!("{name} is not a whole number"))
    }
}

/// An unknown keyword is named, unless it may be the rest of a password that should have been quoted.
fn unknown(name: &str, previous: Option<&str>) -> String {
    let plain =
        name.len() <= 40 && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if previous.is_some_and(|keyword| keyword.contains("password")) || !plain {
        return "something that is no keyword where one is expected (not shown: it may be part of a password); quote values that \
                hold blanks ('a b'), and write % & = @ / ? # within a URI as %25 %26 %3D %40 %2F %3F %23"
            .to_owned();
    }
    match nearest(name) {
        Some(nearest) => format!("unknown keyword `{name}`: did you mean `{nearest}`?"),
        None => format!("unknown keyword `{name}`"),
    }
}

fn pairs(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let mut previous = None;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(match Keyword::find(name) {
                Some(keyword) => format!("`{}` has no = and value", keyword.name),
                None => unknown("", previous),
            });
        };
        let (value, after) = value(after.trim_start()).ok_or_else(|| match Keyword::find(name) {
            Some(keyword) => format!("the quoted value of {} has no end", keyword.name),
            None => "a quoted value has no end".to_owned(),
        })?;
        previous = Some(settings.set(name, value, previous)?);
        rest = after.trim_start();
    }
    Ok(settings)
}

/// One value, quoted or up to the next blank, and the rest of the text. `None` when a quote is not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Some((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_whitespace() => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// `[user[:password]@][host][:port][,...][/dbname][?keyword=value[&...]]`; the scheme is gone already.
fn uri(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let mut put = |name: &'static str, encoded: &str| -> Result<(), String> {
        if !encoded.is_empty() {
            settings.0.insert(name, decode(name, encoded)?);
        }
        Ok(())
    };
    let authority = text.find('/').map_or(text, |slash| &text[..slash]);
    let rest = match authority.split_once('@') {
        Some((userinfo, _)) => {
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            put("user", user)?;
            put("password", password)?;
            &text[userinfo.len() + 1..]
        }
        None => text,
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, dbname) = path.split_once('/').unwrap_or((path, ""));
    if hosts.contains('@') || dbname.contains('@') || dbname.contains('/') {
        return Err("an @ or / stands where none can: write those of a user, password or database name as %40 and %2F".to_owned());
    }
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(bracketed) => {
                let (address, after) = bracketed.split_once(']').ok_or("an IPv6 address has no closing ]")?;
                let port = after.strip_prefix(':').or(after.is_empty().then_some(""));
                (address, port.ok_or("after the ] of an IPv6 address only a :port can stand")?)
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decode("host", name)?);
        ports.push(decode("port", port)?);
    }
    put("dbname", dbname)?;
    for (name, list) in [("host", names), ("port", ports)] {
        if list.iter().any(|part| !part.is_empty()) {
            settings.0.insert(name, list.join(","));
        }
    }
    let mut previous = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| match Keyword::find(pair) {
            Some(keyword) => format!("`{}` has no = and value", keyword.name),
            None => unknown("", previous),
        })?;
        if value.contains('=') {
            return Err("a parameter holds two =: write the second as %3D".to_owned());
        }
        let name = decode("a parameter's name", name)?;
        previous = Some(match (name.as_str(), value) {
            ("ssl", "true") => settings.set("sslmode", "require".to_owned(), previous)?, // as JDBC writes it
            (name, value) => settings.set(name, decode(name, value)?, previous)?,
        });
    }
    Ok(settings)
}

/// A connection string to another database of the same servers. What is said last holds, in both forms.
pub(super) fn beside(text: &str, dbname: &str) -> String {
    match text.starts_with("postgresql://") || text.starts_with("postgres://") {
        true => {
            let encoded = utf8_percent_encode(dbname, NON_ALPHANUMERIC);
            format!("{text}{}dbname={encoded}", if text.contains('?') { '&' } else { '?' })
        }
        false => format!("{text} dbname={}", conninfo_value(dbname)),
    }
}

fn decode(what: &str, encoded: &str) -> Result<String, String> {
    let hex = |at: usize| encoded.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    let what = if Keyword::find(what).is_some() { what } else { "a parameter" };
    if encoded.match_indices('%').any(|(at, _)| !hex(at + 1) || !hex(at + 2)) {
        return Err(format!("{what}: a % is not followed by two hex digits; write the character % as %25"));
    }
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| format!("{what}: its percent-encoding is not UTF-8"))?;
    if decoded.contains('\0') { Err(format!("{what}: %00 cannot be part of it")) } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_servers() {
        for (text, other) in [
            ("postgresql://u@h:5/d", "dbname=it's host=h port=5 user=u"),
            ("postgres://h/d?sslmode=require", "dbname=it's host=h sslmode=require"),
            ("host=h dbname=d", "dbname=it's host=h"),
            ("", "dbname=it's"),
        ] {
            assert_eq!(plain(&beside(text, "it's")).as_deref(), Ok(other), "{text}");
        }
    }

    fn plain(text: &str) -> Result<String, String> {
        Settings::parse(text).map(|s| s.0.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn connection_strings_mean_what_libpq_means() {
        for (text, expected) in [
            ("", ""),
            ("postgresql://", ""),
            ("postgres://localhost", "host=localhost"),
            ("postgresql://localhost:5433/mydb", "dbname=mydb host=localhost port=5433"),
            ("postgresql://user:secret@localhost", "host=localhost password=secret user=user"),
            ("postgresql://u:p%40ss%2Fw%25rd@h/d", "dbname=d host=h password=p@ss/w%rd user=u"),
            ("postgresql://u:p?w#d@h", "host=h password=p?w#d user=u"),
            ("postgresql://u@h1:1,h2,h3:3/db", "dbname=db host=h1,h2,h3 port=1,,3 user=u"),
            ("postgresql://h1,h2", "host=h1,h2"),
            ("postgresql://[2001:db8::1234]:5433/db", "dbname=db host=2001:db8::1234 port=5433"),
            ("postgresql://[::1],h:1", "host=::1,h port=,1"),
            ("postgresql://%2Fvar%2Frun%2Fpostgresql/db", "dbname=db host=/var/run/postgresql"),
            ("postgresql:///db?host=/tmp/s&port=6", "dbname=db host=/tmp/s port=6"),
            ("postgresql://:7/db", "dbname=db port=7"),
            ("postgresql://h?sslmode=verify-full&user=a%20b", "host=h sslmode=verify-full user=a b"),
            ("postgresql://h?ssl=true", "host=h sslmode=require"),
            ("postgresql://h?options=-c%20geqo%3Doff", "host=h options=-c geqo=off"),
            ("host=h port = 5 dbname='a b'", "dbname=a b host=h port=5"),
            (r"password='it\'s \\ x' user=u\ v", r"password=it's \ x user=u v"),
            ("user='' host=/tmp", "host=/tmp user="),
            ("host=a host=b", "host=b"),
            ("\n host=h\tuser=ü \n", "host=h user=ü"),
        ] {
            assert_eq!(plain(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_values() {
        for (text, expected) in [
            ("sslmod=require", "`sslmod`: did you mean `sslmode`?"),
            ("postgresql://h?frobnicate=1", "unknown keyword `frobnicate`"),
            ("postgresql://h?sslmode", "`sslmode` has no ="),
            ("postgresql://h?sslmode=a=b", "%3D"),
            ("host", "`host` has no ="),
            ("user='abc", "the quoted value of user has no end"),
            ("postgresql://[::1/db", "no closing ]"),
            ("postgresql://[::1]x/db", "only a :port"),
            ("postgresql://u:%zz@h", "password: a %"),
            ("postgresql://u:%00@h", "password: %00"),
            ("postgresql://u:%ff@h", "not UTF-8"),
            ("requirepeer=root", "requirepeer with this value is not supported"),
            ("password=my secret", "not shown"),
            ("password=my secret=x", "not shown"),
            ("postgresql://h?password=my&secret=x", "not shown"),
            ("postgresql://u:my@secret@h/db", "%40"),
            ("postgresql://u:1/secret@h/db", "%40"),
            ("secret word", "not shown"),
        ] {
            let error = plain(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret") && !error.contains("my"), "{error}");
        }
    }

    #[test]
    fn the_first_layer_wins_and_debug_shows_keywords_only() {
        let variables = |name: &str| match name {
            "PGHOST" => Some("from-environment".to_owned()),
            "PGPASSWORD" => Some("secret".to_owned()),
            _ => None,
        };
        let text = Settings::parse("host=given user=''").expect("parses");
        let both = text.or(Settings::of_variables(variables).expect("accepted"));
        assert_eq!(both.get("host"), Some("given"));
        assert_eq!(both.get("password"), Some("secret"));
        assert_eq!(both.get("user"), None, "an empty value is none");
        assert_eq!(format!("{both:?}"), r#"{"host", "password", "user"}"#);
        let refused = Settings::of_variables(|name| (name == "PGREQUIREPEER").then(|| "x".to_owned()));
        assert!(refused.is_err_and(|e| e.starts_with("PGREQUIREPEER")));
    }

    #[test]
    fn numbers_and_choices() {
        let settings = Settings::parse("connect_timeout=' 5 ' port=x sslmode=never").expect("parses");
        assert_eq!(settings.number("connect_timeout"), Ok(Some(5)));
        assert_eq!(settings.number("keepalives"), Ok(None));
        assert!(settings.number("port").is_err());
        assert_eq!(settings.choice("channel_binding", &[("prefer", 1), ("require", 2)]), Ok(1));
        assert_eq!(settings.choice("sslmode", &[("prefer", 1)]), Err("sslmode is none of prefer".to_owned()));
    }
}
