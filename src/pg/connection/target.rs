//! A connection string completed to everything that is needed to connect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use super::service;
use crate::pg::connection::conninfo::Settings;
use crate::pg::connection::endpoint::{Endpoint, endpoints};
use crate::pg::connection::environment::Environment;
use crate::pg::connection::passfile::{self, Login, Passfile};
use crate::pg::connection::secret::Secret;
use crate::pg::connection::tls::{Tls, TlsMode};

/// Where, as whom and how to connect. Holds passwords; its `Debug` form shows none.
#[derive(Debug, Clone)]
pub struct Target {
    /// The servers to try, in order.
    pub servers: Vec<Server>,
    /// Try the servers in a random order (`load_balance_hosts=random`).
    pub shuffle: bool,
    /// Role.
    pub user: String,
    /// Database.
    pub dbname: String,
    /// `options` of the startup message.
    pub options: Option<String>,
    /// The longest that one address may take from name resolution to a ready session; `None` is for ever.
    pub connect_timeout: Option<Duration>,
    /// How a dead peer is noticed.
    pub keepalive: Keepalive,
    /// Which servers will do.
    pub session: SessionAttrs,
    /// SCRAM channel binding (RFC 5929 tls-server-end-point).
    pub channel_binding: ChannelBinding,
    /// Encryption and certificates.
    pub tls: Tls,
    /// Why a password file was not used.
    pub passfile_refused: Option<String>,
}

/// One server and the password for it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The password, when there is one.
    pub password: Option<Password>,
}

/// A password and where it came from.
#[derive(Debug, Clone)]
pub struct Password {
    /// The password.
    pub secret: Secret,
    /// `the connection string`, `PGPASSWORD`, ...: for messages.
    pub origin: String,
}

/// TCP keepalive. By default a peer that vanished is noticed within 60 s: 30 s of silence, then 3 probes 10 s apart.
/// `tcp_user_timeout` has no default: Linux also applies it to a peer that lives but does not read, as a server does
/// whose COPY waits for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Whether it is on.
    pub on: bool,
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without answer until the connection counts as lost.
    pub count: u32,
    /// How long sent data may stay without acknowledgement; `None` leaves it to the system.
    pub user_timeout: Option<Duration>,
}

/// `target_session_attrs` (PostgreSQL manual 34.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Every server.
    Any,
    /// One that takes writes by default.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One in recovery.
    Standby,
    /// One in recovery if there is any, else any.
    PreferStandby,
}

impl SessionAttrs {
    /// The rounds over all servers: what must hold in each.
    pub fn rounds(self) -> &'static [SessionAttrs] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// What is missing for a server in this state; `None` when it will do.
    pub fn lacking(self, in_recovery: bool, read_only: bool) -> Option<&'static str> {
        let (fits, lacking) = match self {
            Self::Any | Self::PreferStandby => (true, ""),
            Self::ReadWrite => (!read_only && !in_recovery, "it is read-only"),
            Self::ReadOnly => (read_only || in_recovery, "it is not read-only"),
            Self::Primary => (!in_recovery, "it is a standby in recovery"),
            Self::Standby => (in_recovery, "it is no standby"),
        };
        (!fits).then_some(lacking)
    }
}

impl Target {
    /// Completes `conninfo`: what it does not say comes from its service, then from the environment, then from defaults
    /// (34.1.2). Reads the service file, the password file and the certificates.
    ///
    /// # Errors
    /// Names the keyword, variable or file that is wrong and what to do; never a value that may be secret.
    pub fn resolve(conninfo: &str, environment: &Environment) -> Result<Self, String> {
        let given = Settings::parse(conninfo)?;
        let variables = Settings::of_variables(|name| environment.variable(name).map(str::to_owned))?;
        let named = |keyword: &str| given.get(keyword).or(variables.get(keyword));
        let service = match named("service") {
            Some(name) => service::look_up(name, named("servicefile"), environment)?,
            None => Settings::default(),
        };
        let origin = [(&given, "the connection string"), (&service, "the service file"), (&variables, "PGPASSWORD")]
            .into_iter()
            .find_map(|(layer, origin)| layer.has("password").then(|| origin.to_owned()));
        let settings = given.or(service).or(variables);
        Self::of_settings(&settings, origin, environment)
    }

    fn of_settings(settings: &Settings, origin: Option<String>, environment: &Environment) -> Result<Self, String> {
        let user = settings.get("user").or(environment.user());
        let user = user.ok_or("no user: this account has no name; write user=NAME into the connection string")?.to_owned();
        let dbname = settings.get("dbname").unwrap_or(&user).to_owned();
        let endpoints = endpoints(settings, Path::exists)?;
        let tls = Tls::resolve(settings, environment, endpoints.iter().all(Endpoint::is_socket))?;
        if tls.mode() == TlsMode::VerifyFull
            && let Some(nameless) = endpoints.iter().find(|one| !one.is_socket() && one.certificate_name().is_none())
        {
            return Err(format!(
                "sslmode=verify-full needs a host beside hostaddr: there is no name to check the certificate of {nameless} against"
            ));
        }
        let given = settings.get("password").zip(origin).map(|(text, origin)| Password { secret: Secret::new(text), origin });
        let path = settings.get("passfile").map(PathBuf::from).or_else(|| environment.home().map(|home| home.join(".pgpass")));
        let (lines, passfile_refused) = match (&given, &path) {
            (None, Some(path)) => match passfile::open(path) {
                Passfile::Absent => (None, None),
                Passfile::Refused(why) => (None, Some(why)),
                Passfile::Lines(lines) => (Some(lines), None),
            },
            _ => (None, None),
        };
        let password_for = |endpoint: &Endpoint| {
            let host = endpoint.host_in_passfile();
            let login = Login { host: &host, port: endpoint.port, dbname: &dbname, user: &user };
            let found = lines.as_deref().and_then(|lines| passfile::find(lines, login));
            let origin = || path.as_ref().map(|path| format!("the password file {}", path.display())).unwrap_or_default();
            given.clone().or_else(|| found.map(|secret| Password { secret, origin: origin() }))
        };
        let servers = endpoints.into_iter().map(|endpoint| Server { password: password_for(&endpoint), endpoint }).collect();
        Ok(Self {
            servers,
            shuffle: settings.choice("load_balance_hosts", &[("disable", false), ("random", true)])?,
            options: settings.get("options").map(str::to_owned),
            connect_timeout: match settings.number("connect_timeout")? {
                None => Some(Duration::from_secs(10)),
                Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0).map(Duration::from_secs),
            },
            keepalive: keepalive(settings)?,
            session: settings.choice(
                "target_session_attrs",
                &[
                    ("any", SessionAttrs::Any),
                    ("read-write", SessionAttrs::ReadWrite),
                    ("read-only", SessionAttrs::ReadOnly),
                    ("primary", SessionAttrs::Primary),
                    ("standby", SessionAttrs::Standby),
                    ("prefer-standby", SessionAttrs::PreferStandby),
                ],
            )?,
            channel_binding: settings.choice(
                "channel_binding",
                &[("prefer", ChannelBinding::Prefer), ("disable", ChannelBinding::Disable), ("require", ChannelBinding::Require)],
            )?,
            tls,
            passfile_refused,
            user,
            dbname,
        })
    }
}

/// In libpq 0 stands for the system's value; here for the default above, except for `keepalives` itself.
fn keepalive(settings: &Settings) -> Result<Keepalive, String> {
    let positive = |name: &str, default: u64| -> Result<u64, String> {
        Ok(settings.number(name)?.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0).unwrap_or(default))
    };
    let user_timeout = positive("tcp_user_timeout", 0)?;
    Ok(Keepalive {
        on: settings.number("keepalives")? != Some(0),
        idle: Duration::from_secs(positive("keepalives_idle", 30)?),
        interval: Duration::from_secs(positive("keepalives_interval", 10)?),
        count: u32::try_from(positive("keepalives_count", 3)?).unwrap_or(3),
        user_timeout: (user_timeout > 0).then(|| Duration::from_millis(user_timeout)),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn resolve(conninfo: &str, variables: &[(&str, &str)]) -> Result<Target, String> {
        Target::resolve(conninfo, &Environment::new(variables.iter().copied()).with_user("ann"))
    }

    #[test]
    fn defaults() {
        let target = resolve("host=h", &[]).expect("resolves");
        assert_eq!((target.user.as_str(), target.dbname.as_str()), ("ann", "ann"));
        assert_eq!(target.connect_timeout, Some(Duration::from_secs(10)));
        assert_eq!(target.keepalive.idle + target.keepalive.interval * target.keepalive.count, Duration::from_secs(60));
        assert_eq!((target.tls.mode(), target.session), (TlsMode::Prefer, SessionAttrs::Any));
        assert!(target.servers[0].password.is_none());
        assert!(Target::resolve("host=h", &Environment::default()).is_err_and(|e| e.starts_with("no user")));
    }

    #[test]
    fn text_then_service_then_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("services");
        std::fs::write(&file, "[s]\nhost=service\nuser=service\npassword=from-service\nport=2\n").expect("written");
        let file = file.to_str().expect("UTF-8");
        let variables =
            [("PGSERVICEFILE", file), ("PGHOST", "env"), ("PGPORT", "3"), ("PGDATABASE", "env"), ("PGCONNECT_TIMEOUT", "0")];
        let target = resolve("service=s host=text", &variables).expect("resolves");
        assert_eq!(target.servers[0].endpoint.to_string(), "text:2");
        assert_eq!((target.user.as_str(), target.dbname.as_str()), ("service", "env"));
        assert_eq!(target.connect_timeout, None);
        assert_eq!(target.servers[0].password.as_ref().map(|p| p.origin.as_str()), Some("the service file"));
        let target = resolve("", &[("PGSERVICE", "s"), ("PGSERVICEFILE", file)]).expect("resolves");
        assert_eq!(target.servers[0].endpoint.to_string(), "service:2");
        assert!(!format!("{target:?}").contains("from-service"));
    }

    #[test]
    fn password_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pass");
        std::fs::write(&path, "a:*:*:*:for-a\nlocalhost:*:*:*:for-socket\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let variables = [("PGPASSFILE", path.to_str().expect("UTF-8"))];
        let passwords = |conninfo: &str| -> Vec<Option<String>> {
            let target = resolve(conninfo, &variables).expect("resolves");
            target.servers.iter().map(|s| s.password.as_ref().map(|p| p.secret.reveal().to_owned())).collect()
        };
        assert_eq!(passwords("host=a,b"), [Some("for-a".to_owned()), None]);
        assert_eq!(passwords("host=/tmp"), [Some("for-socket".to_owned())]);
        assert_eq!(passwords("host=a password=own"), [Some("own".to_owned())]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let target = resolve("host=a", &variables).expect("resolves");
        assert!(target.servers[0].password.is_none() && target.passfile_refused.is_some_and(|why| why.contains("0644")));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (conninfo, expected) in [
            ("host=h connect_timeout=soon", "connect_timeout is not a whole number"),
            ("host=h target_session_attrs=best", "target_session_attrs is none of any, read-write"),
            ("host=h channel_binding=maybe", "channel_binding is none of"),
            ("host=h sslmode=always", "sslmode is none of"),
            ("host=h sslmode=verify-full", "sslmode=verify-full needs root certificates"),
            ("host=h sslrootcert=system sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
            ("hostaddr=127.0.0.1 sslrootcert=system", "sslmode=verify-full needs a host beside hostaddr"),
            ("host=h sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require"),
            ("service=x", "service `x` is not defined"),
        ] {
            let error = resolve(conninfo, &[]).expect_err(conninfo);
            assert!(error.starts_with(expected), "{conninfo}: {error}");
        }
    }

    #[test]
    fn which_servers_will_do() {
        use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        // (in recovery, read-only): a primary, a primary that is read-only by default, a standby
        let states = [(false, false), (false, true), (true, true)];
        for (wanted, expected) in [
            (Any, [true, true, true]),
            (ReadWrite, [true, false, false]),
            (ReadOnly, [false, true, true]),
            (Primary, [true, true, false]),
            (Standby, [false, false, true]),
        ] {
            assert_eq!(states.map(|(recovery, read_only)| wanted.lacking(recovery, read_only).is_none()), expected, "{wanted:?}");
        }
        assert_eq!(PreferStandby.rounds(), [Standby, Any]);
    }
}
