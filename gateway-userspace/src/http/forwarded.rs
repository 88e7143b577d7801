//! Tells backends who asked, and how: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! What a client says of these itself is believed only if it is a trusted proxy; then ours is added behind it, and who asks is
//! taken from there (`chain`). Values that are the same for all requests of a connection are made once.

mod chain;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOSTS: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What there is to tell of one connection.
#[derive(Debug)]
pub struct Forwarded {
    is_trusted: bool,
    client: HeaderValue,
    port: HeaderValue,
    scheme: &'static str,
    node: String,
    /// `Forwarded` for the host that was asked for last.
    last: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

impl Forwarded {
    /// For a connection from `peer`, whose word counts or not, to `local`.
    pub fn new(peer: SocketAddr, local: SocketAddr, is_tls: bool, is_trusted: bool) -> Self {
        let node = match peer.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            is_trusted,
            client: text(peer.ip().to_string()),
            port: text(local.port().to_string()),
            scheme: if is_tls { "https" } else { "http" },
            node,
            last: Mutex::new(None),
        }
    }

    /// The scheme that the client used.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Whom a trusted proxy names as the client, if the peer is one.
    pub fn client(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
        if self.is_trusted { chain::client(headers, trusted) } else { None }
    }

    /// Adds all to a request's headers, `Host` being what the client sent.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let host = headers.get(HOST).cloned();
        if self.is_trusted {
            append(headers, FOR, &self.client);
            keep(headers, PROTO, HeaderValue::from_static(self.scheme));
            keep(headers, PORT, self.port.clone());
            if let Some(host) = host {
                append(headers, FORWARDED, &self.forwarded(&host));
                keep(headers, HOSTS, host);
            }
            return;
        }
        headers.insert(FOR, self.client.clone());
        headers.insert(PROTO, HeaderValue::from_static(self.scheme));
        headers.insert(PORT, self.port.clone());
        if let Some(host) = host {
            headers.insert(FORWARDED, self.forwarded(&host));
            headers.insert(HOSTS, host);
        } else {
            headers.remove(FORWARDED);
            headers.remove(HOSTS);
        }
    }

    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, forwarded)) = &*last
            && of == host
        {
            return forwarded.clone();
        }
        let name = host.to_str().unwrap_or_default();
        let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let quote = if is_token { "" } else { "\"" };
        let text = format!("for={};host={quote}{name}{quote};proto={}", self.node, self.scheme);
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        *last = Some((host.clone(), value.clone()));
        value
    }
}

/// Adds to the list that is there.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let lists: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    if lists.is_empty() {
        headers.insert(name, value.clone());
        return;
    }
    let list = [&lists.join(&b", "[..]), &b", "[..], value.as_bytes()].concat();
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// Says it unless it was said.
fn keep(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_trusted: bool, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4711));
        let local = SocketAddr::from(([198, 51, 100, 1], 443));
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Forwarded::new(peer, local, true, is_trusted).tell(&mut headers);
        headers
    }

    #[test]
    fn a_client_cannot_say_who_it_is() {
        let headers = told(false, &[("host", "a"), ("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]);

        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-host"], "a");
        assert_eq!(headers["x-forwarded-port"], "443");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=a;proto=https");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_added_to() {
        let sent = [
            ("host", "a:8"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "http"),
        ];
        let headers = told(true, &sent);

        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"a:8\";proto=https");
    }
}
