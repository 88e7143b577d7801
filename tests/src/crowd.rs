//! Very many connections that are open at once: each from a client's address and port that are given, and with tokens of
//! its own, so that two whose packets were mixed up would be found out.
//!
//! A connection that is refused is counted; whatever else goes wrong is kept as text. Every wait is bounded.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::netns::Namespace;

/// How long a connection may take to be made and to return its token, and later to return another or to end.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections that are being made at once, fewer than a listener keeps waiting.
const AT_ONCE: usize = 256;

/// Connections to one echo that are open.
pub struct Crowd<'a> {
    from: &'a Namespace,
    runtime: Runtime,
    /// Each with the token that it was opened with.
    open: Vec<(u64, TcpStream)>,
}

/// How opening them went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Those that returned their token.
    pub open: usize,
    /// Those that were refused.
    pub refused: usize,
    /// What else went wrong.
    pub failures: Vec<String>,
}

impl<'a> Crowd<'a> {
    /// Nobody yet, but room for as many; servers that are started later inherit it.
    pub fn gather(from: &'a Namespace, most: u64) -> Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < most {
            setrlimit(Resource::RLIMIT_NOFILE, most, hard.max(most))
                .with_context(|| format!("cannot open {most} files: raise the hard limit of files (`ulimit -Hn`)"))?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { from, runtime, open: Vec::new() })
    }

    /// Opens a connection from each of these to an echo, many at a time.
    pub fn open(&mut self, sources: impl IntoIterator<Item = SocketAddr> + Send, echo: SocketAddr) -> Result<Opened> {
        let Self { from, runtime, open } = self;
        from.enter(|| {
            runtime.block_on(async {
                let (mut opened, mut tasks) = (Opened::default(), JoinSet::new());
                let turns = Arc::new(Semaphore::new(AT_ONCE));
                for source in sources {
                    // It ends with the task.
                    let turn = Arc::clone(&turns).acquire_owned().await?;
                    while let Some(outcome) = tasks.try_join_next() {
                        opened.add(outcome?, open);
                    }
                    let token = token(source);
                    tasks.spawn(async move {
                        let _turn = turn;
                        (source, begin(source, echo, token).await.map(|stream| (token, stream)))
                    });
                }
                while let Some(outcome) = tasks.join_next().await {
                    opened.add(outcome?, open);
                }
                Ok(opened)
            })
        })?
    }

    /// Has each connection return another token; gives what went wrong.
    pub fn exchange(&mut self) -> Result<Vec<String>> {
        let Self { from, runtime, open } = self;
        from.enter(|| {
            runtime.block_on(async {
                let mut failures = Vec::new();
                for (token, stream) in open {
                    if let Err(error) = in_time(exchange(stream, token.rotate_left(32))).await {
                        failures.push(error.to_string());
                    }
                }
                failures
            })
        })
    }

    /// Ends each connection from this side and then waits for the other's end; gives what went wrong.
    pub fn close(&mut self) -> Result<Vec<String>> {
        let Self { from, runtime, open } = self;
        from.enter(|| {
            runtime.block_on(async {
                let mut failures = Vec::new();
                for (_, stream) in &mut *open {
                    if let Err(error) = stream.shutdown().await {
                        failures.push(error.to_string());
                    }
                }
                for (_, mut stream) in open.drain(..) {
                    match in_time(stream.read(&mut [0; 8])).await {
                        Ok(0) => {}
                        Ok(_) => failures.push("more came after the last token".to_owned()),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        })
    }
}

impl Opened {
    fn add(&mut self, outcome: (SocketAddr, io::Result<(u64, TcpStream)>), open: &mut Vec<(u64, TcpStream)>) {
        match outcome {
            (_, Ok(connection)) => {
                self.open += 1;
                open.push(connection);
            }
            (_, Err(error)) if error.kind() == ErrorKind::ConnectionRefused => self.refused += 1,
            (source, Err(error)) => self.failures.push(format!("{source}: {error}")),
        }
    }
}

/// A number that no other client's address and port give, in one family: the end of the address tells clients apart.
fn token(source: SocketAddr) -> u64 {
    let address = match source {
        SocketAddr::V4(v4) => v4.ip().to_bits(),
        SocketAddr::V6(v6) => v6.ip().to_bits() as u32,
    };
    u64::from(address) << 16 | u64::from(source.port())
}

async fn begin(source: SocketAddr, echo: SocketAddr, token: u64) -> io::Result<TcpStream> {
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(source)?;
    in_time(async {
        let mut stream = socket.connect(echo).await?;
        stream.set_nodelay(true)?;
        exchange(&mut stream, token).await?;
        Ok(stream)
    })
    .await
}

async fn exchange(stream: &mut TcpStream, token: u64) -> io::Result<()> {
    stream.write_u64(token).await?;
    let received = stream.read_u64().await?;
    if received == token {
        return Ok(());
    }
    Err(io::Error::other(format!("the token {received:#x} came back for {token:#x}")))
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, step).await.unwrap_or_else(|_| Err(io::Error::other(format!("nothing came within {LIMIT:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_sources_have_one_token() {
        let sources = ["172.20.0.2:1", "172.20.0.2:2", "172.20.0.3:1", "[fd00:20::2]:1", "[fd00:20::3]:1"];
        let tokens = sources.map(|source| token(source.parse().unwrap()));

        assert_eq!(std::collections::BTreeSet::from(tokens).len(), sources.len());
    }
}
