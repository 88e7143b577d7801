//! curl as the client: many requests to one frontend in each way that it can speak, and what the Pods saw of each.
//!
//! It verifies certificates, and every answer says in which version of HTTP it came.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::netns::Namespace;
use crate::pod::Answer;

/// How long all requests of a call may take together.
const LIMIT: &str = "60";

/// The first port in URLs that differ by their ports alone.
const FIRST_PORT: usize = 10_001;

/// How curl speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Speech {
    /// HTTP/1.1 in the clear.
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2 by prior knowledge.
    #[serde(rename = "h2c")]
    Http2,
    /// HTTP/1.1 within TLS.
    #[serde(rename = "HTTPS/1.1")]
    Https1,
    /// HTTP/2 within TLS, agreed on by ALPN.
    #[serde(rename = "HTTPS/2")]
    Https2,
}

impl Speech {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Https1, Self::Https2];

    /// `http` or `https`.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http1 | Self::Http2 => "http",
            Self::Https1 | Self::Https2 => "https",
        }
    }

    /// The port that clients expect it at.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http1 | Self::Http2 => 80,
            Self::Https1 | Self::Https2 => 443,
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Http1 | Self::Https1 => "--http1.1",
            Self::Http2 => "--http2-prior-knowledge",
            Self::Https2 => "--http2",
        }
    }

    /// What curl calls the version.
    const fn version(self) -> &'static str {
        match self {
            Self::Http1 | Self::Https1 => "1.1",
            Self::Http2 | Self::Https2 => "2",
        }
    }
}

impl fmt::Display for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2 (h2c)",
            Self::Https1 => "HTTP/1.1, TLS",
            Self::Https2 => "HTTP/2, TLS",
        })
    }
}

/// curl in a namespace, for one host.
pub struct Curl<'a> {
    from: &'a Namespace,
    host: &'a str,
    authority: PathBuf,
}

impl<'a> Curl<'a> {
    /// A client that asks for a host, and trusts those whom a file of PEM names.
    pub fn new(from: &'a Namespace, host: &'a str, authority: &Path) -> Self {
        Self { from, host, authority: authority.to_owned() }
    }

    /// The address that the client has towards another.
    pub fn own_address(&self, other: IpAddr) -> Result<IpAddr> {
        let any: IpAddr = if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let own = self.from.enter(|| {
            let socket = UdpSocket::bind((any, 0))?;
            // Nothing is sent by that.
            socket.connect((other, 9))?;
            socket.local_addr()
        })?;
        Ok(own.with_context(|| format!("there is no way to {other}"))?.ip())
    }

    /// Asks so often for a path, by GET, and gives each answer. The host's address is that of a frontend, at the port of the
    /// scheme. All requests share a connection, but for [`Speech::Http2`]: curl 7.88 cannot use one of these twice.
    pub fn get(&self, address: IpAddr, speech: Speech, path: &str, count: usize) -> Result<Vec<Answer>> {
        let (host, scheme) = (self.host, speech.scheme());
        let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let connect = format!("{host}::{address}:{}", speech.port());
        // curl shares no connection between two ports, wherever it connects to.
        let url = match speech {
            Speech::Http2 => format!("{scheme}://{host}:[{FIRST_PORT}-{}]{path}", FIRST_PORT + count - 1),
            _ => format!("{scheme}://{host}{path}?[1-{count}]"),
        };
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            LIMIT,
            "--write-out",
            "%{stderr}%{http_version}\n",
        ]);
        command.arg("--cacert").arg(&self.authority).args(["--connect-to", &connect, speech.flag(), &url]);
        let output = self.from.enter(|| command.output())?.context("cannot run curl: install it")?;
        let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "curl {speech} {url}: {} {}", said.trim(), text.trim());
        let versions = said.lines().filter(|version| *version == speech.version()).count();
        ensure!(
            versions == count,
            "curl {speech} {url}: {versions} of {count} answers came as HTTP/{}",
            speech.version()
        );
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}
