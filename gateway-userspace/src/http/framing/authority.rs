//! Whom a request is for: a host and perhaps a port, in the one form that routing compares.
//!
//! Stricter than a URI's grammar: no user information, no percent-encoding, no empty port. No name that DNS or Gateway API
//! knows is lost by that.

use std::net::Ipv6Addr;

use http::uri::Scheme;

use super::Refusal;

/// A host in lower case, and the port if one was named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A name or an address; one of IPv6 stands in brackets.
    pub host: String,
    /// The port, if one was named.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(value: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(value).map_err(|_| Refusal::InvalidHost)?;
        let host_end = match text.strip_prefix('[') {
            Some(literal) => literal.find(']').ok_or(Refusal::InvalidHost)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_end);
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits).ok_or(Refusal::InvalidHost)?),
            None if rest.is_empty() => None,
            None => return Err(Refusal::InvalidHost),
        };
        if !is_host(host) {
            return Err(Refusal::InvalidHost);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Whether both mean the same: a port that is the scheme's own may be left out.
    pub fn is_same(&self, other: &Self, scheme: Option<&Scheme>) -> bool {
        let default = scheme.map(|scheme| if *scheme == Scheme::HTTPS { 443 } else { 80 });
        self.host == other.host && self.port.or(default) == other.port.or(default)
    }
}

fn port(digits: &str) -> Option<u16> {
    // `parse` takes a sign, too.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(is_in_name),
    }
}

/// What names have in practice; `_` and `~` are a URI's, and the former is in use.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
