//! The router's configuration file: TOML, unknown keys refused, all problems at once.

mod check;
mod section;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::{HeaderName, HeaderValue};
use toml::de::DeTable;

pub use section::{Problem, Problems};
use section::{Section, Text};

use crate::router::coalesce::Bounds;
use crate::router::gate::HoldLimits;
use crate::router::oauth::Endpoints;
use crate::terms::Side;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// What this router calls itself among others.
    pub name: String,
    /// The folder of its route.
    pub state: PathBuf,
    /// The side that serves when there is no route yet.
    pub first: Side,
    /// Threads that serve.
    pub threads: usize,
    /// How long a shutdown waits for requests to end.
    pub drain: Duration,
    /// Where it is asked and told.
    pub admin: AdminConfig,
    /// Where it listens.
    pub listen: Vec<ListenConfig>,
    /// Bounds of requests and clients.
    pub limits: Limits,
    /// How it speaks to the sides.
    pub upstream: UpstreamConfig,
    /// What may be parked.
    pub hold: HoldLimits,
    /// Where the OAuth endpoints are.
    pub oauth: Endpoints,
    /// Repeated answers; `None` when refreshes are not coalesced.
    pub coalesce: Option<Bounds>,
    /// Where revocations are recorded.
    pub tap: Option<TapConfig>,
    /// Which reads go to green while blue serves.
    pub canary: Canary,
    /// The route shared with other routers.
    pub shared: Option<SharedConfig>,
}

/// Where the router is asked and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminConfig {
    /// A Unix socket of mode 0600.
    Socket(PathBuf),
    /// A loopback address, and the file (mode 0600) with the token that callers show.
    Loopback(SocketAddr, PathBuf),
}

/// One address to listen on, and where its requests go.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenConfig {
    /// Its name in messages and records.
    pub name: String,
    /// The address.
    pub address: SocketAddr,
    /// Certificate chain and key in PEM files; `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether `Forwarded` and `X-Forwarded-*` of the caller are kept and added to.
    pub trust_forwarded: bool,
    /// A path that says whether this router may get requests.
    pub health_path: Option<String>,
    /// Blue's address for these requests.
    pub blue: Target,
    /// Green's.
    pub green: Target,
}

impl ListenConfig {
    /// Where requests of a side go.
    pub fn target(&self, side: Side) -> &Target {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }
}

/// Where a side answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether it speaks HTTP/2 (without TLS: with prior knowledge).
    pub http2: bool,
    /// Paths that have other names there: beginning, and what stands in its place.
    pub rewrite: Vec<(String, String)>,
}

impl Target {
    /// The path that has this name there.
    pub fn path(&self, path: &str) -> Option<String> {
        self.rewrite.iter().find_map(|(from, to)| {
            let rest = path.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        })
    }
}

/// Bounds of requests and clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of clients.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Time for a request's head, idle connections included.
    pub head_time: Duration,
    /// Longest pause within a body.
    pub body_pause: Duration,
    /// Longest time in which a client takes nothing of its answer.
    pub write_pause: Duration,
    /// Time for a whole request body.
    pub body_time: Duration,
}

/// How the router speaks to the sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Time for a connection, TLS included.
    pub connect: Duration,
    /// Time until an answer begins.
    pub answer: Duration,
    /// Requests in flight per target and thread; the others wait in order.
    pub requests: usize,
    /// How long a connection may be idle before it is not used any more.
    pub idle: Duration,
    /// PEM file of the authorities that targets' certificates must come from; the system's when `None`.
    pub ca_file: Option<PathBuf>,
}

/// Where revocations are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapConfig {
    /// The folder of the records.
    pub folder: PathBuf,
    /// The environment variable with the key that seals them: 64 hex digits.
    pub key_env: String,
}

/// Which reads go to green while blue serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Of a hundred reads this many.
    pub percent: u8,
    /// Reads with this header and value.
    pub header: Option<(HeaderName, HeaderValue)>,
}

/// The route shared with other routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedConfig {
    /// The environment variable with the connection string of the database it is in.
    pub url_env: String,
    /// Its name there.
    pub route: String,
    /// How often it is read, beside notifications.
    pub poll: Duration,
    /// How long the router serves without having read it.
    pub confirm_within: Duration,
    /// How long it parks requests then, before it goes where the route last pointed.
    pub hold_for: Duration,
}

impl RouterConfig {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Problems`]: all that is wrong with it, each with its line.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let problems = |problems| Problems { file: path.to_owned(), problems };
        let text = std::fs::read_to_string(path)
            .map_err(|error| problems(vec![Problem { line: 1, what: format!("cannot be read: {error}") }]))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self::read(&text, folder).map_err(problems)?)
    }

    /// The same from the text of a file in this folder.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let notes = Text::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            notes.problem(error.span().map_or(0, |span| span.start), error.message());
        }
        let root = Section::root(&notes, table.get_ref());
        let config = check::config(&root, folder);
        root.done();
        let problems = notes.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The settings that a reload cannot change, by name, that differ.
    pub fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let addresses =
            |config: &Self| config.listen.iter().map(|listen| (listen.name.clone(), listen.address)).collect::<Vec<_>>();
        let differs = [
            ("name", self.name != other.name),
            ("state", self.state != other.state),
            ("threads", self.threads != other.threads),
            ("admin", self.admin != other.admin),
            ("listen: names and addresses", addresses(self) != addresses(other)),
            ("coalesce: on or off", self.coalesce.is_some() != other.coalesce.is_some()),
            ("tap", self.tap != other.tap),
            ("shared", self.shared != other.shared),
            ("limits.connections", self.limits.connections != other.limits.connections),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SMALL: &str = "format = 1\nstate = \"s\"\n[admin]\nsocket = \"a.sock\"\n[[listen]]\nname = \"public\"\n\
        address = \"127.0.0.1:0\"\nblue = \"http://127.0.0.1:1\"\ngreen = \"https://[::1]\"\n";

    #[test]
    fn the_least_that_is_a_configuration() {
        let config = RouterConfig::read(SMALL, Path::new("/f")).unwrap();
        assert_eq!((config.state.to_str(), config.first), (Some("/f/s"), Side::Blue));
        let green = &config.listen[0].green;
        assert_eq!((green.tls, green.host.as_str(), green.port), (true, "::1", 443));
        assert_eq!(config.hold, HoldLimits { requests: 10_000, wait: 10 * SECOND });
        assert!(config.coalesce.is_some() && config.shared.is_none());
    }

    #[test]
    fn all_problems_at_once() {
        let text = "format = 1\nstaet = \"s\"\nfirst = \"red\"\n[admin]\naddress = \"0.0.0.0:1\"\n[[listen]]\nname = \"a\"\n\
            address = \"here\"\nblue = \"ftp://x\"\ngreen = 5\n[hold]\nwait = \"1y\"\nrequests = -1\n[canary]\npercent = 101\n[odd]\n";
        let problems = RouterConfig::read(text, Path::new("/")).unwrap_err();
        let said: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.line, problem.what)).collect();
        let said = said.join("\n");
        for (line, words) in [
            (2, "staet: there is no such key; did you mean `state`?"),
            (1, "state: is missing"),
            (3, "first: expected \"blue\" or \"green\""),
            (5, "admin.address: 0.0.0.0:1 is no loopback"),
            (4, "admin.token_file: is missing"),
            (8, "listen.address: `here` is no address"),
            (9, "listen.blue: expected the address of a service"),
            (10, "listen.green: expected a text"),
            (12, "hold.wait: expected a duration"),
            (13, "hold.requests: expected a whole number"),
            (15, "canary.percent: expected a whole number from 0 to 100"),
            (16, "odd: there is no such key"),
        ] {
            assert!(said.contains(&format!("{line}: {words}")), "{line}: {words} is missing in\n{said}");
        }
    }

    #[test]
    fn paths_that_have_other_names_on_a_side() {
        let config = RouterConfig::read(
            &SMALL.replace("green =", "green_rewrite = [{ from = \"/clients\", to = \"/admin/clients\" }]\ngreen ="),
            Path::new("/"),
        )
        .unwrap();
        let green = &config.listen[0].green;
        assert_eq!(green.path("/clients/a").as_deref(), Some("/admin/clients/a"));
        assert_eq!([green.path("/clientsx"), green.path("/x/clients")], [None, None]);
    }
}
