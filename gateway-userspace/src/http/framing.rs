//! The framing firewall's upper half: what a request's parsed head may not say, whatever the HTTP version.
//!
//! Whom the request is for must be said once and clearly, and nothing that belongs to one connection may reach across it.
//! `tap` has judged the bytes of HTTP/1.1 before; here are the rules that need the head as a whole. What is removed or
//! added on the way to a Pod and back stands in `hop_by_hop`.

pub mod authority;
pub mod cookies;
pub mod hop_by_hop;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderMap, Method, StatusCode, Version, header, request};

pub use authority::Authority;

use super::token::is_token;

/// What may be allowed that is refused by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// CONNECT to any address. The extended CONNECT of RFC 8441, which is WebSocket over HTTP/2, needs no permission.
    pub allow_connect: bool,
}

/// Why a request was refused. The connection is to be closed after the answer: whoever sends such a head may disagree
/// with us about where it ends. Sections are those of RFC 9112, where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// HTTP/1.1 without `Host` (3.2).
    MissingHost,
    /// `Host` more than once (3.2).
    RepeatedHost,
    /// A host or port that is none, or one with user information (3.2; RFC 9110, 4.2.4).
    InvalidHost,
    /// `Host` that names another host than the target does (3.2.2; for HTTP/2 RFC 9113, 8.3.1).
    HostMismatch,
    /// A form of target that the method does not have, or a scheme that is not HTTP (3.2).
    InvalidTarget,
    /// CONNECT (RFC 9110, 9.3.6).
    ConnectNotAllowed,
    /// `Connection` that is no list of tokens (RFC 9110, 7.6.1).
    InvalidConnection,
    /// `Connection` that names a field which is for more than this connection (RFC 9110, 7.6.1): who forwards would drop it.
    ConnectionNamesField,
    /// A request for another protocol that has a body (RFC 9110, 7.8): where the new protocol begins is not clear.
    UpgradeWithBody,
    /// A field of HTTP/1.1's connections in HTTP/2 (RFC 9113, 8.2.2).
    ConnectionFieldInHttp2,
    /// `TE` other than `trailers` in HTTP/2 (RFC 9113, 8.2.2).
    TeInHttp2,
}

impl Refusal {
    /// The stable name, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::InvalidHost => "invalid_host",
            Self::HostMismatch => "host_mismatch",
            Self::InvalidTarget => "invalid_target",
            Self::ConnectNotAllowed => "connect_not_allowed",
            Self::InvalidConnection => "invalid_connection",
            Self::ConnectionNamesField => "connection_names_field",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::ConnectionFieldInHttp2 => "connection_field_in_http2",
            Self::TeInHttp2 => "te_in_http2",
        }
    }

    /// What the client is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::ConnectNotAllowed => StatusCode::NOT_IMPLEMENTED,
            Self::MissingHost
            | Self::RepeatedHost
            | Self::InvalidHost
            | Self::HostMismatch
            | Self::InvalidTarget
            | Self::InvalidConnection
            | Self::ConnectionNamesField
            | Self::UpgradeWithBody
            | Self::ConnectionFieldInHttp2
            | Self::TeInHttp2 => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the request's head is refused: {}", self.name())
    }
}

impl std::error::Error for Refusal {}

/// Judges a request's head; returns whom it is for. Only HTTP/1.0 may leave that open.
pub fn check(parts: &request::Parts, rules: Rules) -> Result<Option<Authority>, Refusal> {
    check_target(parts, rules)?;
    let authority = check_authority(parts)?;
    if parts.version >= Version::HTTP_2 {
        check_http2_fields(&parts.headers)?;
    } else {
        check_connection(&parts.headers)?;
        check_upgrade(&parts.headers)?;
    }
    Ok(authority)
}

/// The four forms of a target (RFC 9112, 3.2), and CONNECT.
fn check_target(parts: &request::Parts, rules: Rules) -> Result<(), Refusal> {
    let uri = &parts.uri;
    let is_extended_connect = parts.extensions.get::<hyper::ext::Protocol>().is_some();
    if parts.method == Method::CONNECT && !is_extended_connect {
        if !rules.allow_connect {
            return Err(Refusal::ConnectNotAllowed);
        }
        let is_authority_form = uri.scheme().is_none() && uri.path_and_query().is_none_or(|path| path == "");
        return if is_authority_form && uri.port().is_some() { Ok(()) } else { Err(Refusal::InvalidTarget) };
    }
    let is_http = uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let is_whole = uri.scheme().is_some() == uri.authority().is_some();
    let is_path = uri.path().starts_with('/') || (uri.path() == "*" && parts.method == Method::OPTIONS);
    if is_http && is_whole && is_path { Ok(()) } else { Err(Refusal::InvalidTarget) }
}

/// `Host`, and the target's own authority beside it.
fn check_authority(parts: &request::Parts) -> Result<Option<Authority>, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|value| Authority::parse(value.as_bytes())).transpose()?;
    if hosts.next().is_some() {
        return Err(Refusal::RepeatedHost);
    }
    let target = parts.uri.authority().map(|target| Authority::parse(target.as_str().as_bytes())).transpose()?;
    match (target, host) {
        (Some(target), Some(host)) if !target.is_same(&host, parts.uri.scheme()) => Err(Refusal::HostMismatch),
        (_, None) if parts.version == Version::HTTP_11 => Err(Refusal::MissingHost),
        (None, None) if parts.version >= Version::HTTP_2 => Err(Refusal::MissingHost),
        (target, host) => Ok(target.or(host)),
    }
}

/// Fields that have no meaning in HTTP/2, but would have one behind it.
fn check_http2_fields(headers: &HeaderMap) -> Result<(), Refusal> {
    const FORBIDDEN: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    if FORBIDDEN.iter().any(|name| headers.contains_key(*name)) {
        return Err(Refusal::ConnectionFieldInHttp2);
    }
    let is_trailers = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if headers.get_all(header::TE).iter().all(is_trailers) { Ok(()) } else { Err(Refusal::TeInHttp2) }
}

/// `Connection` may name what belongs to the connection, and nothing that is for the Pod or for us.
fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    for option in hop_by_hop::connection_options(headers) {
        // A value that is no text comes as an empty option.
        if !option.bytes().all(is_token) || option.is_empty() {
            return Err(Refusal::InvalidConnection);
        }
        if hop_by_hop::is_end_to_end(option) {
            return Err(Refusal::ConnectionNamesField);
        }
    }
    Ok(())
}

/// A request for another protocol ends with its head. HTTP/2 in the clear is none that anybody here goes over to, and Java's
/// client offers it with whatever it sends.
fn check_upgrade(headers: &HeaderMap) -> Result<(), Refusal> {
    let offers_http2 = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"h2c");
    if headers.get_all(header::UPGRADE).iter().all(offers_http2) {
        return Ok(());
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes().iter().any(|&b| b != b'0'));
    if headers.contains_key(header::UPGRADE) && has_body { Err(Refusal::UpgradeWithBody) } else { Ok(()) }
}
