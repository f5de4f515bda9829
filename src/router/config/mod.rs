//! The router's configuration file: TOML, unknown keys refused, all problems at once.

mod section;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
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

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

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
        let config = config(&root, folder);
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

fn config(root: &Section<'_, '_>, folder: &Path) -> RouterConfig {
    if root.count("format", 0, 1..=1) != 1 && !root.has("format") {
        root.problem("format", "is missing; this version of crossfade reads format = 1");
    }
    let listen: Vec<ListenConfig> = root.sections("listen").iter().map(|section| listener(section, folder)).collect();
    if listen.is_empty() && !root.has("listen") {
        root.problem("listen", "is missing: at least one [[listen]] with name, address, blue and green");
    }
    for (number, one) in listen.iter().enumerate() {
        if listen[..number].iter().any(|other| other.name == one.name) {
            root.problem("listen", format_args!("two are called `{}`", one.name));
        }
        if listen[..number].iter().any(|other| other.address == one.address && one.address.port() != 0) {
            root.problem("listen", format_args!("two have the address {}", one.address));
        }
    }
    let first = match root.text("first").as_deref() {
        None | Some("blue") => Side::Blue,
        Some("green") => Side::Green,
        Some(other) => {
            root.problem("first", format_args!("expected \"blue\" or \"green\", not \"{other}\""));
            Side::Blue
        }
    };
    RouterConfig {
        name: root.text("name").unwrap_or_else(|| "router".to_owned()),
        state: folder.join(root.required("state")),
        first,
        threads: root.count("threads", std::thread::available_parallelism().map_or(2, usize::from).min(64), 1..=64),
        drain: root.duration("drain", 30 * SECOND, MS..=HOUR),
        admin: admin(&root.section("admin"), folder),
        listen,
        limits: limits(&root.section("limits")),
        upstream: upstream(&root.section("upstream"), folder),
        hold: hold(&root.section("hold")),
        oauth: oauth(&root.section("oauth")),
        coalesce: coalesce(&root.section("coalesce")),
        tap: root.optional("tap").map(|section| tap(&section, folder)),
        canary: canary(&root.section("canary")),
        shared: root.optional("shared").map(|section| shared(&section)),
    }
}

fn address(section: &Section<'_, '_>, key: &'static str) -> SocketAddr {
    let text = section.required(key);
    text.parse().unwrap_or_else(|_| {
        if !text.is_empty() {
            section
                .problem(key, format_args!("`{text}` is no address; expected one such as \"127.0.0.1:4444\" or \"[::]:4444\""));
        }
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn admin(section: &Section<'_, '_>, folder: &Path) -> AdminConfig {
    let socket = section.text("socket");
    let by_address = section.has("address") || section.has("token_file");
    let admin = match socket {
        Some(_) if by_address => {
            section.problem("socket", "give either socket, or address and token_file");
            AdminConfig::Socket(PathBuf::new())
        }
        Some(socket) => AdminConfig::Socket(folder.join(socket)),
        None if by_address => {
            let (address, token_file) = (address(section, "address"), section.required("token_file"));
            if !address.ip().is_loopback() {
                section.problem("address", format_args!("{address} is no loopback address: the route is nobody else's business"));
            }
            AdminConfig::Loopback(address, folder.join(token_file))
        }
        None => {
            section.problem("socket", "is missing: [admin] needs socket, or address and token_file");
            AdminConfig::Socket(PathBuf::new())
        }
    };
    section.done();
    admin
}

fn listener(section: &Section<'_, '_>, folder: &Path) -> ListenConfig {
    let tls = section.optional("tls").map(|tls| {
        let files = (folder.join(tls.required("certificate")), folder.join(tls.required("key")));
        tls.done();
        files
    });
    let health_path = section.text("health_path");
    if health_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        section.problem("health_path", "expected a path such as \"/crossfade/health\"");
    }
    let config = ListenConfig {
        name: section.required("name"),
        address: address(section, "address"),
        tls,
        trust_forwarded: section.flag("trust_forwarded", false),
        health_path,
        blue: target(section, "blue", "blue_http2", "blue_rewrite"),
        green: target(section, "green", "green_http2", "green_rewrite"),
    };
    section.done();
    config
}

fn target(section: &Section<'_, '_>, key: &'static str, http2: &'static str, rewrite: &'static str) -> Target {
    let text = section.required(key);
    let rules = section.sections(rewrite);
    let rewrite = rules.iter().map(|rule| {
        let read = |key| {
            let path = rule.required(key);
            if !path.starts_with('/') || path.ends_with('/') {
                rule.problem(key, "expected the beginning of a path such as \"/clients\", without a slash at its end");
            }
            path
        };
        let both = (read("from"), read("to"));
        rule.done();
        both
    });
    let mut target =
        Target { tls: false, host: String::new(), port: 0, http2: section.flag(http2, false), rewrite: rewrite.collect() };
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/") && !text.contains('@');
        plain && [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme()) && uri.host().is_some()
    });
    match uri {
        Some(uri) => {
            target.tls = uri.scheme() == Some(&Scheme::HTTPS);
            target.host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            target.port = uri.port_u16().unwrap_or(if target.tls { 443 } else { 80 });
        }
        None if text.is_empty() => {}
        None => {
            section.problem(key, "expected the address of a service such as \"http://127.0.0.1:4444\", without path and password")
        }
    }
    target
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let limits = Limits {
        connections: section.count("connections", 20_000, 1..=1_000_000),
        head: section.count("head_bytes", 32 * 1024, 8192..=1024 * 1024),
        body: section.count("body_bytes", 10 * 1024 * 1024, 0..=usize::MAX >> 1),
        head_time: section.duration("head_time", 60 * SECOND, MS..=HOUR),
        body_pause: section.duration("body_pause", 30 * SECOND, MS..=HOUR),
        body_time: section.duration("body_time", 300 * SECOND, MS..=HOUR),
        write_pause: section.duration("write_pause", 30 * SECOND, MS..=HOUR),
    };
    section.done();
    limits
}

fn upstream(section: &Section<'_, '_>, folder: &Path) -> UpstreamConfig {
    let upstream = UpstreamConfig {
        connect: section.duration("connect", 3 * SECOND, MS..=60 * SECOND),
        answer: section.duration("answer", 30 * SECOND, MS..=HOUR),
        requests: section.count("requests", 256, 1..=65_536),
        idle: section.duration("idle", 30 * SECOND, MS..=HOUR),
        ca_file: section.text("ca_file").map(|file| folder.join(file)),
    };
    section.done();
    upstream
}

fn hold(section: &Section<'_, '_>) -> HoldLimits {
    let limits = HoldLimits {
        requests: section.count("requests", 10_000, 0..=1_000_000),
        wait: section.duration("wait", 10 * SECOND, MS..=600 * SECOND),
    };
    section.done();
    limits
}

fn oauth(section: &Section<'_, '_>) -> Endpoints {
    let default = Endpoints::default();
    let paths = |key, default| {
        let paths: Vec<String> = section.texts(key).unwrap_or(default);
        if let Some(wrong) = paths.iter().find(|path| !path.starts_with('/')) {
            section.problem(key, format_args!("`{wrong}` is no path"));
        }
        paths
    };
    let endpoints = Endpoints {
        token: paths("token", default.token),
        revoke: paths("revoke", default.revoke),
        introspect: paths("introspect", default.introspect),
        admin_revoke: paths("admin_revoke", default.admin_revoke),
        read_only: paths("read_only", default.read_only),
    };
    section.done();
    endpoints
}

fn coalesce(section: &Section<'_, '_>) -> Option<Bounds> {
    let enabled = section.flag("enabled", true);
    let bounds = Bounds {
        grace: section.duration("grace", 10 * SECOND, MS..=300 * SECOND),
        entries: section.count("entries", 50_000, 1..=10_000_000),
        bytes: section.count("bytes", 64 * 1024 * 1024, 1..=usize::MAX >> 1),
    };
    section.done();
    enabled.then_some(bounds)
}

fn tap(section: &Section<'_, '_>, folder: &Path) -> TapConfig {
    let tap = TapConfig { folder: folder.join(section.required("folder")), key_env: section.required("key_env") };
    section.done();
    tap
}

fn canary(section: &Section<'_, '_>) -> Canary {
    let percent = u8::try_from(section.count("percent", 0, 0..=100)).unwrap_or_default();
    let header = section.optional("header").and_then(|header| {
        let (name, value) = (header.required("name"), header.required("value"));
        header.done();
        let read = name.parse().ok().zip(value.parse().ok());
        if read.is_none() {
            section.problem("header", "expected { name = \"x-canary\", value = \"1\" }");
        }
        read
    });
    section.done();
    Canary { percent, header }
}

fn shared(section: &Section<'_, '_>) -> SharedConfig {
    let shared = SharedConfig {
        url_env: section.required("url_env"),
        route: section.text("route").unwrap_or_else(|| "main".to_owned()),
        poll: section.duration("poll", 200 * MS, 10 * MS..=10 * SECOND),
        confirm_within: section.duration("confirm_within", 2 * SECOND, 50 * MS..=60 * SECOND),
        hold_for: section.duration("hold_for", 10 * SECOND, MS..=600 * SECOND),
    };
    if shared.confirm_within < 3 * shared.poll {
        section.problem("confirm_within", "must be at least three times `poll`, or one slow answer parks requests");
    }
    section.done();
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

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
