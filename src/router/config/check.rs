//! Table by table: the keys, their defaults and ranges, and what does not go together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;

use super::section::Section;
use super::{AdminConfig, Canary, Limits, ListenConfig, RouterConfig, SharedConfig, TapConfig, Target, UpstreamConfig};
use crate::router::coalesce::Bounds;
use crate::router::gate::HoldLimits;
use crate::router::oauth::Endpoints;
use crate::terms::Side;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The whole configuration; what is wrong with it is noted.
pub(super) fn config(root: &Section<'_, '_>, folder: &Path) -> RouterConfig {
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
