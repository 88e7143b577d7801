//! What the HTTP layer may be told, with the values that it has otherwise.
//!
//! All limits stand here, those of the libraries too: none is left to a default that a new version could change.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// The settings of the HTTP layer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runtimes, each with a thread and an accept loop of its own.
    pub workers: usize,
    /// How long a backend may take to accept a connection, TLS included.
    pub connect_timeout: Duration,
    /// How long a client may take for a `ClientHello`, and then for the rest of the handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take for a request's head, which is looked at so often: some take up to twice as long.
    pub header_timeout: Duration,
    /// How long an HTTP/1.1 client may pause within a request's body.
    pub body_timeout: Duration,
    /// How long a connection to a backend is kept without request.
    pub backend_idle_timeout: Duration,
    /// Idle connections of HTTP/1.1 that are kept for each backend and worker.
    pub backend_idle_connections: usize,
    /// How often a client of HTTP/2 is asked whether it is still there.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// How long a client's connection may be without request: longer than load balancers in front keep theirs, which would
    /// send a request in the face of the end.
    pub idle_timeout: Duration,
    /// Fields that a head may have.
    pub max_headers: usize,
    /// Bytes that a head may have.
    pub max_header_bytes: u32,
    /// Streams that a client of HTTP/2 may have open on a connection.
    pub max_streams: u32,
    /// Streams that a client may have reset before they were taken up (CVE-2023-44487).
    pub max_pending_resets: usize,
    /// Streams that we may have reset for a client's errors (`MadeYouReset`).
    pub max_error_resets: usize,
    /// Connections that may be open in all.
    pub max_connections: usize,
    /// Connections that one address may have open; none: no limit of its own.
    pub max_connections_per_client: Option<usize>,
    /// Whose `X-Forwarded-*` and `Forwarded` are believed and added to, and who may begin with the PROXY protocol. Fields of all
    /// others are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a connection without request, which is to end, waits for one that may be under way already. That one is
    /// answered with `Connection: close`.
    pub last_call: Duration,
    /// How long connections are given to end when their listener is gone or the server stops.
    pub drain_timeout: Duration,
}

impl Options {
    /// Whether this peer's word about clients counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|range| range.contains(&peer))
    }
}

/// Fields of a head for which hyper has room without being told.
const HYPERS_MAX_HEADERS: usize = 100;

impl Options {
    /// How many fields a head may have, if that is not what hyper allows anyway: told a number, it makes room anew for each
    /// head, and that costs more than to read one.
    pub fn other_max_headers(&self) -> Option<usize> {
        Some(self.max_headers).filter(|&limit| limit != HYPERS_MAX_HEADERS)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_mins(1),
            backend_idle_timeout: Duration::from_mins(1),
            backend_idle_connections: 128,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(620),
            max_headers: 100,
            max_header_bytes: 64 << 10,
            max_streams: 200,
            max_pending_resets: 20,
            max_error_resets: 1024,
            max_connections: 100_000,
            max_connections_per_client: None,
            trusted_proxies: Vec::new(),
            last_call: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
