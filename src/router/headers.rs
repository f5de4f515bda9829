//! What of a message's head goes on, and what we say about its sender. Pure. RFC 9110 section 7.6.1 (hop by hop), RFC 7239
//! (`Forwarded`).

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{CONNECTION, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Takes out what is between two hops only; gives the protocol that an `Upgrade` asks for, when `Connection` names it.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            // `Host` names the resource, not the hop; taking it out would change what is asked for.
            if name == HOST {
                continue;
            }
            let value = headers.remove(&name);
            if name == UPGRADE {
                upgrade = value;
            }
        }
        headers.remove(CONNECTION);
    }
    // Trailers are passed on as such; `TE` may only say that they are understood.
    let trailers = headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &TRAILER, &EXPECT] {
        headers.remove(name);
    }
    if !trailers {
        headers.remove(TE);
    }
    upgrade
}

/// Who sent a request, as we know it.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Its address.
    pub peer: IpAddr,
    /// Whether it spoke TLS to us.
    pub tls: bool,
    /// The port it spoke to.
    pub port: u16,
}

/// Says who sent the request and what it asked for. What the sender says itself is replaced, unless it is trusted: then we add
/// our part.
pub fn forwarded(headers: &mut HeaderMap, sender: Sender, host: Option<&HeaderValue>, trusted: bool) {
    let peer = sender.peer.to_canonical();
    let proto = if sender.tls { "https" } else { "http" };
    let mut for_whom = peer.to_string();
    let node = match peer {
        IpAddr::V4(_) => for_whom.clone(),
        IpAddr::V6(_) => format!("\"[{for_whom}]\""),
    };
    let mut element = format!("for={node};proto={proto}");
    if let Some(host) = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
        element += &format!(";host=\"{host}\"");
    }
    if trusted {
        let joined = |name: &HeaderName| {
            let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            values.join(", ")
        };
        let (before, elements) = (joined(&FORWARDED_FOR), joined(&FORWARDED));
        if !before.is_empty() {
            for_whom = format!("{before}, {for_whom}");
        }
        if !elements.is_empty() {
            element = format!("{elements}, {element}");
        }
    }
    let mut put = |name: HeaderName, value: Result<HeaderValue, _>, keep: bool| {
        if !(keep && headers.contains_key(&name))
            && let Ok(value) = value
        {
            headers.insert(name, value);
        }
    };
    let port = HeaderValue::from(sender.port);
    put(FORWARDED_FOR, HeaderValue::try_from(for_whom), false);
    put(FORWARDED, HeaderValue::try_from(element), false);
    put(FORWARDED_PROTO, Ok(HeaderValue::from_static(proto)), trusted);
    put(FORWARDED_PORT, Ok(port), trusted);
    put(REAL_IP, HeaderValue::try_from(peer.to_string()), trusted);
    match host {
        Some(host) => put(FORWARDED_HOST, Ok(host.clone()), trusted),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn hop_by_hop_stays_between_two_hops() {
        let mut headers = map(&[
            ("connection", "close, x-secret-hop, Upgrade, host"),
            ("x-secret-hop", "1"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("host", "a"),
            ("x-end", "2"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut headers), Some(HeaderValue::from_static("websocket")));
        assert_eq!(headers, map(&[("host", "a"), ("x-end", "2")]));
        let mut headers = map(&[("upgrade", "h2c"), ("te", "trailers")]);
        assert_eq!(strip_hop_by_hop(&mut headers), None, "Connection does not name it");
        assert_eq!(headers, map(&[("te", "trailers")]));
    }

    #[test]
    fn who_sent_it() {
        let sender = Sender { peer: "2001:db8::1".parse().unwrap(), tls: true, port: 443 };
        let host = HeaderValue::from_static("login.example");
        let told = map(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1"), ("x-forwarded-proto", "http")]);
        let mut replaced = told.clone();
        forwarded(&mut replaced, sender, Some(&host), false);
        assert_eq!(
            replaced,
            map(&[
                ("x-forwarded-for", "2001:db8::1"),
                ("forwarded", "for=\"[2001:db8::1]\";proto=https;host=\"login.example\""),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "443"),
                ("x-forwarded-host", "login.example"),
                ("x-real-ip", "2001:db8::1"),
            ])
        );
        let mut kept = told;
        let mapped = Sender { peer: "::ffff:10.0.0.9".parse().unwrap(), tls: false, port: 80 };
        forwarded(&mut kept, mapped, None, true);
        assert_eq!(kept["x-forwarded-for"], "1.1.1.1, 10.0.0.9");
        assert_eq!(kept["forwarded"], "for=1.1.1.1, for=10.0.0.9;proto=http");
        assert_eq!(kept["x-forwarded-proto"], "http");
    }
}
