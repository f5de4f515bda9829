//! Where a server listens, and the lists of hosts that a connection string may hold.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::pg::connection::conninfo::Settings;
use crate::pg::connection::quote::conninfo_value;

/// Folders where servers put their sockets, in the order they are looked for when no host is given.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// One server to try: a Unix socket, or a TCP host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Socket folder or host.
    pub place: Place,
    /// 1 to 65535; for a socket, the end of its name.
    pub port: u16,
}

/// Socket folder or host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The folder of the socket `.s.PGSQL.<port>`; `@name` for one in the abstract namespace.
    Socket(PathBuf),
    /// A name that is resolved, and that a certificate is checked against.
    Host(String),
    /// An address; the name, if any, is what a certificate is checked against.
    Address(IpAddr, Option<String>),
}

impl Endpoint {
    /// The host as a password file names it (PostgreSQL manual 34.16).
    pub fn host_in_passfile(&self) -> String {
        match &self.place {
            Place::Socket(folder) if SOCKET_FOLDERS.iter().any(|known| Path::new(known) == folder) => "localhost".to_owned(),
            Place::Socket(folder) => folder.display().to_string(),
            Place::Host(name) | Place::Address(_, Some(name)) => name.clone(),
            Place::Address(address, None) => address.to_string(),
        }
    }

    /// What a certificate must be made out to; `None` for sockets and for bare addresses.
    pub fn certificate_name(&self) -> Option<&str> {
        match &self.place {
            Place::Host(name) | Place::Address(_, Some(name)) => Some(name),
            Place::Socket(_) | Place::Address(_, None) => None,
        }
    }

    /// Whether it is a socket, where TLS is never used.
    pub fn is_socket(&self) -> bool {
        matches!(self.place, Place::Socket(_))
    }

    /// `host=... port=...` as a connection string for `psql`.
    pub fn conninfo(&self) -> String {
        let host = match &self.place {
            Place::Socket(folder) => format!("host={}", conninfo_value(&folder.display().to_string())),
            Place::Host(name) => format!("host={}", conninfo_value(name)),
            Place::Address(address, Some(name)) => format!("host={} hostaddr={address}", conninfo_value(name)),
            Place::Address(address, None) => format!("hostaddr={address}"),
        };
        format!("{host} port={}", self.port)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port;
        match &self.place {
            Place::Socket(folder) => write!(f, "socket {}/.s.PGSQL.{port}", folder.display()),
            Place::Host(name) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Place::Host(name) => write!(f, "{name}:{port}"),
            Place::Address(address, Some(name)) => write!(f, "{name}:{port} ({address})"),
            Place::Address(address, None) => write!(f, "{}", std::net::SocketAddr::new(*address, port)),
        }
    }
}

/// The servers that `host`, `hostaddr` and `port` name, in their order (34.1.1.3). Without a host: the first known folder in
/// which `exists` finds the socket, else `localhost`.
///
/// # Errors
/// Names the keyword whose list has a wrong length or a wrong entry; never the entry.
pub fn endpoints(settings: &Settings, exists: impl Fn(&Path) -> bool) -> Result<Vec<Endpoint>, String> {
    let list = |name: &str| settings.get(name).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>()).unwrap_or_default();
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(format!("host lists {} and hostaddr {}: both must list the same servers", hosts.len(), addresses.len()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!("port lists {}, but there are {count} hosts: give one port, or one for each", ports.len()));
    }
    let mut endpoints = Vec::with_capacity(count);
    for index in 0..count {
        let port =
            match ports.get(index).or(ports.first()).copied().unwrap_or_default() {
                "" => 5432,
                port => port.parse().ok().filter(|port| *port != 0).ok_or(
                    "port is not a number from 1 to 65535 (if it is part of a password, write : / @ in it as %3A %2F %40)",
                )?,
            };
        let host = hosts.get(index).copied().filter(|host| !host.is_empty());
        let address = addresses.get(index).copied().filter(|address| !address.is_empty());
        let place = match (host, address) {
            (Some(folder), None) if folder.starts_with(['/', '@']) => Place::Socket(PathBuf::from(folder)),
            (host, Some(address)) => {
                let address = address.parse().map_err(|_| "hostaddr is not an IP address")?;
                Place::Address(address, host.filter(|host| !host.starts_with(['/', '@'])).map(str::to_owned))
            }
            (Some(host), None) => Place::Host(host.to_owned()),
            (None, None) => {
                let socket = |folder: &&&str| exists(&Path::new(folder).join(format!(".s.PGSQL.{port}")));
                match SOCKET_FOLDERS.iter().find(socket) {
                    Some(folder) => Place::Socket(PathBuf::from(folder)),
                    None => Place::Host("localhost".to_owned()),
                }
            }
        };
        endpoints.push(Endpoint { place, port });
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(conninfo: &str, existing: &str) -> Result<String, String> {
        let settings = Settings::parse(conninfo)?;
        let all = endpoints(&settings, |path| !existing.is_empty() && path.starts_with(existing))?;
        Ok(all.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn lists_of_hosts() {
        for (conninfo, existing, expected) in [
            ("", "/tmp", "socket /tmp/.s.PGSQL.5432"),
            ("port=6", "/var/run/postgresql", "socket /var/run/postgresql/.s.PGSQL.6"),
            ("", "", "localhost:5432"),
            ("host=/dir port=1", "", "socket /dir/.s.PGSQL.1"),
            ("host=@abstract", "", "socket @abstract/.s.PGSQL.5432"),
            ("host=a,b port=1", "", "a:1 b:1"),
            ("host=a,,b port=1,,3", "/tmp", "a:1 socket /tmp/.s.PGSQL.5432 b:3"),
            ("hostaddr=127.0.0.1,::1", "", "127.0.0.1:5432 [::1]:5432"),
            ("host=db.example hostaddr=10.0.0.1", "", "db.example:5432 (10.0.0.1)"),
            ("postgresql://[::1]:7/x", "", "[::1]:7"),
        ] {
            assert_eq!(shown(conninfo, existing).as_deref(), Ok(expected), "{conninfo}");
        }
        for (conninfo, expected) in [
            ("host=a,b hostaddr=1.2.3.4", "host lists 2 and hostaddr 1"),
            ("host=a,b,c port=1,2", "port lists 2, but there are 3 hosts"),
            ("port=0", "port is not"),
            ("port=65536", "port is not"),
            ("postgresql://user:half/x", "port is not"),
            ("hostaddr=db.example", "hostaddr is not an IP address"),
        ] {
            let error = shown(conninfo, "").expect_err(conninfo);
            assert!(error.starts_with(expected) && !error.contains("half"), "{error}");
        }
    }

    #[test]
    fn names_for_passfile_and_psql() {
        for (conninfo, passfile, psql) in [
            ("host=/tmp", "localhost", "host=/tmp port=5432"),
            ("host='/a b'", "/a b", "host='/a b' port=5432"),
            ("host=h hostaddr=::1", "h", "host=h hostaddr=::1 port=5432"),
            ("hostaddr=::1", "::1", "hostaddr=::1 port=5432"),
        ] {
            let settings = Settings::parse(conninfo).expect("parses");
            let endpoint = endpoints(&settings, |_| false).expect("one").remove(0);
            assert_eq!((endpoint.host_in_passfile().as_str(), endpoint.conninfo().as_str()), (passfile, psql));
        }
    }
}
