//! Why a connection could not be opened, and what to do about it.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use tokio_postgres::Error;

use crate::pg::connection::endpoint::{Endpoint, Place};
use crate::pg::connection::quote::{conninfo_value, shell_word};
use crate::pg::connection::target::Target;
use crate::pg::connection::tls::TlsMode;
use crate::pg::fault::message_of;

/// Why one server did not give us a session. Holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing listens on the port.
    Refused,
    /// There is no such socket.
    NoSocket,
    /// We may not open the socket.
    SocketForbidden,
    /// The name has no address; the text is the resolver's.
    Unresolved(String),
    /// No session within `connect_timeout`.
    Timeout(Duration),
    /// The server wants a password and we have none.
    NoPassword,
    /// The server says no: SQLSTATE and message.
    Server(String, String),
    /// `channel_binding=require`, and the login came without it.
    NoChannelBinding,
    /// The server does no TLS.
    NoTls,
    /// The TLS handshake failed.
    Tls(String),
    /// `target_session_attrs` asks for another kind of server.
    Unfit(&'static str),
    /// Anything else.
    Other(String),
}

impl Reason {
    /// Reads the client's error.
    pub fn of(error: &Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::Server(db.code().code().to_owned(), message_of(db));
        }
        let cause = error.source();
        let text = cause.map(ToString::to_string).unwrap_or_default();
        let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
        let tls = io.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<rustls::Error>());
        // the client's kinds of errors are told apart by their texts only
        match (error.to_string().as_str(), text.as_str(), io.map(std::io::Error::kind)) {
            (_, "password missing", _) => Self::NoPassword,
            (_, "server did not use channel binding", _) => Self::NoChannelBinding,
            (_, "server does not support TLS", _) => Self::NoTls,
            ("error performing TLS handshake", ..) => Self::Tls(tls_fault(&text)),
            _ if tls.is_some() => Self::Tls(tls_fault(&text)),
            (_, _, Some(ErrorKind::ConnectionRefused)) => Self::Refused,
            (_, _, Some(ErrorKind::NotFound)) => Self::NoSocket,
            (_, _, Some(ErrorKind::PermissionDenied)) => Self::SocketForbidden,
            (kind, "", _) => Self::Other(kind.to_owned()),
            (kind, ..) => Self::Other(format!("{kind}: {text}")),
        }
    }

    /// Whether libpq would try the same address again with the other answer to "TLS or not": the handshake failed, or the
    /// server refused us before it asked who we are (28000 is what `pg_hba.conf` says).
    pub fn invites_other_encryption(&self) -> bool {
        matches!(self, Self::NoTls | Self::Tls(_)) || matches!(self, Self::Server(code, _) if code == "28000")
    }

    /// Whether libpq would try the next host: not when this one was reached and said no, unless it is only starting or
    /// stopping (57P03).
    pub fn invites_next_host(&self) -> bool {
        match self {
            Self::Server(code, _) => code == "57P03",
            Self::NoPassword | Self::NoChannelBinding | Self::NoTls | Self::Tls(_) => false,
            _ => true,
        }
    }
}

/// The TLS library's words, with its names for what people meet most put into a sentence.
fn tls_fault(text: &str) -> String {
    for (name, sentence) in [
        ("UnknownIssuer", "the server's certificate comes from an authority we do not know"),
        ("CaUsedAsEndEntity", "the server's certificate is self-signed and we do not know it"),
        ("UnsupportedCertVersion", "the server's certificate is not of X.509 version 3, and only that can be checked"),
        ("Revoked", "the server's certificate is revoked"),
        ("certificate expired", "the server's certificate is out of date"),
        ("received fatal alert: UnknownCA", "the server does not know the authority of our certificate"),
    ] {
        if text.contains(name) {
            return format!("{sentence} ({name})");
        }
    }
    text.to_owned()
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: nothing listens there"),
            Self::NoSocket => f.write_str("there is no such socket"),
            Self::SocketForbidden => f.write_str("permission denied for the socket"),
            Self::Unresolved(why) => write!(f, "the host name cannot be resolved ({why})"),
            Self::Timeout(limit) => write!(f, "no session within {} (connect_timeout)", humantime::format_duration(*limit)),
            Self::NoPassword => f.write_str("the server asks for a password, and none is given"),
            Self::Server(code, message) => write!(f, "{message} (SQLSTATE {code})"),
            Self::NoChannelBinding => {
                f.write_str("the server did not use channel binding, and channel_binding=require asks for it")
            }
            Self::NoTls => f.write_str("the server does not support TLS"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Unfit(why) => write!(f, "target_session_attrs: {why}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A connection that could not be opened: who wanted what, why each server said no, and the next command.
#[derive(Debug)]
pub struct ConnectFailure {
    text: String,
}

impl std::fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConnectFailure {}

/// One try: where, with TLS or without, and how it ended.
#[derive(Debug)]
pub struct Try {
    /// The server.
    pub endpoint: Endpoint,
    /// Where its password came from.
    pub password: Option<String>,
    /// Whether it was tried with TLS.
    pub encrypted: bool,
    /// How it ended.
    pub reason: Reason,
}

impl ConnectFailure {
    /// Puts the tries into words. `name` is what messages call the database.
    pub fn new(name: &str, target: &Target, tries: &[Try]) -> Self {
        let mut said: Vec<String> = Vec::new();
        for one in tries {
            let tls = match (one.endpoint.is_socket(), one.encrypted) {
                (true, _) => "",
                (false, true) => ", with TLS",
                (false, false) => ", without TLS",
            };
            let says_so = matches!(one.reason, Reason::Tls(_) | Reason::NoTls);
            let reached = !says_so && !matches!(one.reason, Reason::Refused | Reason::Unresolved(_) | Reason::Timeout(_));
            said.push(format!("{}{}: {}", one.endpoint, if reached { tls } else { "" }, one.reason));
        }
        said.dedup();
        let mut text =
            format!("cannot connect to {name} (database {}, user {}): {}", target.dbname, target.user, said.join("; "));
        if let Some(last) = tries.last() {
            text += &format!("\n  next: {}", next(last, target));
        }
        Self { text }
    }
}

fn next(last: &Try, target: &Target) -> String {
    let endpoint = &last.endpoint;
    let probe = |dbname: &str| {
        let mode = match target.tls.mode() {
            _ if endpoint.is_socket() => String::new(),
            TlsMode::Prefer => String::new(),
            mode => format!(" sslmode={mode}"),
        };
        let (dbname, user) = (conninfo_value(dbname), conninfo_value(&target.user));
        let what = format!("{} dbname={dbname} user={user}{mode}", endpoint.conninfo());
        format!("psql {}", shell_word(&what))
    };
    let ready = || format!("pg_isready -d {}", shell_word(&endpoint.conninfo()));
    match &last.reason {
        Reason::Refused => format!("{}; if the server runs, look at its listen_addresses and port", ready()),
        Reason::NoSocket | Reason::SocketForbidden => match &endpoint.place {
            Place::Socket(folder) => format!(
                "ls -la {}; the server's unix_socket_directories and port say where its socket is",
                shell_word(&folder.display().to_string())
            ),
            _ => ready(),
        },
        Reason::Unresolved(_) => match &endpoint.place {
            Place::Host(host) => format!("getent hosts {}", shell_word(host)),
            _ => ready(),
        },
        Reason::Timeout(_) => format!("{}; look for a firewall in between, or raise connect_timeout", ready()),
        Reason::NoPassword => match &target.passfile_refused {
            Some(why) => why.clone(),
            None => format!(
                "set PGPASSWORD, or add the line {}:{}:{}:{}:PASSWORD to ~/.pgpass (mode 0600)",
                passfile_field(&endpoint.host_in_passfile()),
                endpoint.port,
                passfile_field(&target.dbname),
                passfile_field(&target.user)
            ),
        },
        Reason::Server(code, _) => match (code.as_str(), &last.password) {
            ("28P01", Some(origin)) => format!("check the password (it came from {origin}): {}", probe(&target.dbname)),
            ("28P01" | "28000", _) => format!("check the role and the server's pg_hba.conf: {}", probe(&target.dbname)),
            ("3D000", _) => format!("{} -c '\\l'", probe("postgres")),
            ("53300", _) => "free connections on the server, or raise its max_connections".to_owned(),
            ("57P03", _) => format!("{}; wait until it accepts connections", ready()),
            _ => probe(&target.dbname),
        },
        Reason::NoChannelBinding => {
            "use scram-sha-256 in pg_hba.conf and password_encryption, over TLS; or channel_binding=prefer".to_owned()
        }
        Reason::NoTls => "turn on ssl on the server (ssl = on in postgresql.conf), or use sslmode=prefer".to_owned(),
        Reason::Tls(why) if why.contains("not valid for name") => {
            "write the name that the certificate is made out to as host (hostaddr may hold the address)".to_owned()
        }
        Reason::Tls(why) if why.contains("certificate expired") => {
            "renew the server's certificate, or set this machine's clock right".to_owned()
        }
        Reason::Tls(why) if why.contains("UnsupportedCertVersion") => {
            "make the server's certificate anew with subjectAltName (openssl req -addext, openssl x509 -extfile)".to_owned()
        }
        Reason::Tls(why) if why.contains("alert: UnknownCA") => {
            "compare sslcert with the server's ssl_ca_file: openssl verify -CAfile SSL_CA_FILE SSLCERT".to_owned()
        }
        Reason::Tls(why) if why.contains("UnknownIssuer") || why.contains("CaUsedAsEndEntity") => {
            "name the authority's certificate with sslrootcert=FILE (by default ~/.postgresql/root.crt)".to_owned()
        }
        Reason::Tls(_) => {
            let host = endpoint.certificate_name().map_or_else(|| endpoint.host_in_passfile(), str::to_owned);
            let address = shell_word(&format!("{host}:{}", endpoint.port));
            format!("openssl s_client -starttls postgres -connect {address} -showcerts")
        }
        Reason::Unfit(_) => "name the right server in host, or change target_session_attrs".to_owned(),
        Reason::Other(_) => ready(),
    }
}

fn passfile_field(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::connection::environment::Environment;

    fn failure(conninfo: &str, reason: Reason) -> String {
        let target = Target::resolve(conninfo, &Environment::default()).expect("resolves");
        let server = target.servers.last().expect("a server");
        let tried = Try {
            endpoint: server.endpoint.clone(),
            password: server.password.as_ref().map(|password| password.origin.clone()),
            encrypted: true,
            reason,
        };
        ConnectFailure::new("blue", &target, &[tried]).to_string()
    }

    #[test]
    fn every_failure_says_where_who_why_and_what_next() {
        let server = |code: &str| Reason::Server(code.to_owned(), "no".to_owned());
        for (conninfo, reason, expected) in [
            (
                "host=h user=u dbname=d",
                Reason::Refused,
                &[
                    "cannot connect to blue (database d, user u): h:5432: connection refused",
                    "next: pg_isready -d 'host=h port=5432'",
                ][..],
            ),
            ("host=/s user=u", Reason::NoSocket, &["socket /s/.s.PGSQL.5432: there is no such socket", "ls -la /s"]),
            ("host=h user=u", Reason::Unresolved("x".to_owned()), &["getent hosts h"]),
            ("host=h user=u", Reason::Timeout(Duration::from_secs(10)), &["no session within 10s", "firewall"]),
            ("host=h user=u:v", Reason::NoPassword, &["add the line h:5432:u\\:v:u\\:v:PASSWORD to ~/.pgpass"]),
            (
                "host=h user=u password=hunter2",
                server("28P01"),
                &["no (SQLSTATE 28P01)", "it came from the connection string", "psql 'host=h port=5432 dbname=u user=u'"],
            ),
            ("host=h user=u", server("28000"), &["pg_hba.conf"]),
            ("host=h user=u dbname=d", server("3D000"), &["psql 'host=h port=5432 dbname=postgres user=u' -c '\\l'"]),
            ("host=h user=u", server("53300"), &["max_connections"]),
            ("host=h user=u", server("57P03"), &["wait until"]),
            ("host=h user=u", Reason::NoTls, &["h:5432: the server does not support TLS", "ssl = on"]),
            ("host=h user=u", Reason::Tls(tls_fault("invalid peer certificate: UnknownIssuer")), &["sslrootcert=FILE"]),
            ("host=h user=u", Reason::Tls("eof".to_owned()), &["openssl s_client -starttls postgres -connect h:5432"]),
            ("host=h user=u", Reason::NoChannelBinding, &["scram-sha-256"]),
            ("host=h user=u", Reason::Unfit("it is read-only"), &["target_session_attrs: it is read-only"]),
        ] {
            let text = failure(conninfo, reason);
            for part in expected {
                assert!(text.contains(part), "{part} is not in {text}");
            }
            assert!(text.contains("\n  next: ") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_is_tried_after_a_failure() {
        let server = |code: &str| Reason::Server(code.to_owned(), String::new());
        for (reason, encryption, host) in [
            (Reason::Refused, false, true),
            (Reason::NoTls, true, false),
            (server("28000"), true, false),
            (server("28P01"), false, false),
            (server("57P03"), false, true),
            (Reason::Unfit("x"), false, true),
        ] {
            assert_eq!((reason.invites_other_encryption(), reason.invites_next_host()), (encryption, host), "{reason:?}");
        }
    }
}
