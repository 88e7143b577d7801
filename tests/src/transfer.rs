//! curl as a client of a gateway: one transfer with all that the test may want to know of it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::peers::Peers;
use crate::process::run;
use crate::topology::VIP;

/// How curl reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The scheme.
    pub scheme: &'static str,
    /// The flag that says the version.
    pub flag: &'static str,
}

impl Way {
    /// HTTP/1.1 and HTTP/2, in the clear and within TLS.
    pub const ALL: [Self; 4] = [
        Self { scheme: "http", flag: "--http1.1" },
        Self { scheme: "http", flag: "--http2-prior-knowledge" },
        Self { scheme: "https", flag: "--http1.1" },
        Self { scheme: "https", flag: "--http2" },
    ];

    /// Whether it is HTTP/2.
    pub fn is_http2(self) -> bool {
        self.flag != "--http1.1"
    }

    /// The port of the gateway.
    pub fn port(self) -> u16 {
        if self.scheme == "http" { 80 } else { 443 }
    }
}

/// What came of a transfer.
#[derive(Debug)]
pub struct Transfer {
    /// curl's exit code.
    pub exit: Option<i32>,
    /// What curl complained of.
    pub error: String,
    /// The last answer's status.
    pub status: u16,
    /// Connections that were made.
    pub connections: u32,
    /// Heads and trailers of all answers, as HTTP/1.1 writes them, names in lower case.
    pub heads: String,
    /// The file with the last answer's body.
    pub body: PathBuf,
}

impl Transfer {
    /// The body as text.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.body).unwrap_or_default()).into_owned())
    }

    /// The body's checksum.
    pub fn sha256(&self) -> Result<String> {
        sha256(&self.body)
    }

    /// The last value of a header or trailer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let of_name = |line: &'_ str| line.split_once(':').is_some_and(|(found, _)| found == name);
        self.heads.lines().rfind(|line| of_name(line)).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }
}

/// A file's checksum.
pub fn sha256(path: &PathBuf) -> Result<String> {
    let line = run(std::process::Command::new("sha256sum").arg(path))?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

/// Runs curl for paths of a host, one after the other.
pub fn fetch(peers: &Peers, way: Way, host: &str, paths: &[&str], flags: &[&str]) -> Result<Transfer> {
    let folder = peers.folder("curl")?;
    let (heads, body) = (folder.join("heads"), folder.join("body"));
    for file in [&heads, &body] {
        // A transfer without body leaves no file.
        let _absent = fs::remove_file(file);
    }
    let frontend: SocketAddr = VIP.sockets(way.port())[usize::from(way.is_http2())];
    let address = frontend.ip().to_string();
    let address = if frontend.is_ipv6() { format!("[{address}]") } else { address };
    let mut command = peers.client("curl")?;
    command.args(["--silent", "--show-error", "--max-time", "60", way.flag, "--cacert"]).arg(peers.certificate());
    command.args(["--resolve", &format!("{host}:{}:{address}", way.port())]);
    command.arg("--dump-header").arg(&heads).args(["--write-out", "%{http_code} %{num_connects}\\n"]).args(flags);
    for path in paths {
        command.arg("--output").arg(&body).arg(format!("{}://{host}{path}", way.scheme));
    }
    let output = command.output().context("cannot run curl: install it")?;
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers =
        |column: usize| written.lines().filter_map(move |line| line.split(' ').nth(column)?.parse::<u32>().ok());
    let lower = |line: &str| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}\n", name.to_ascii_lowercase()),
        None => format!("{line}\n"),
    };
    Ok(Transfer {
        exit: output.status.code(),
        error: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        status: numbers(0).next_back().unwrap_or_default() as u16,
        connections: numbers(1).sum(),
        heads: fs::read_to_string(&heads).unwrap_or_default().lines().map(lower).collect(),
        body,
    })
}
