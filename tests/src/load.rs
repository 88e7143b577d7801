//! The client's side of the benchmark's load: each function keeps one path busy for a time and gives a rate.
//!
//! To be called inside the client's namespace. Every wait is bounded.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use beeline_test_pod::load::{CHUNK_BYTES, COUNT, DOWNLOAD, EXCHANGE, MESSAGE_BYTES, UPLOAD};

use crate::client;
use crate::wait;

/// Bytes per second of one TCP stream to the server.
pub fn upload(target: SocketAddr, duration: Duration) -> Result<f64> {
    let mut stream = begin(target, UPLOAD)?;
    let chunk = vec![0; CHUNK_BYTES];
    let start = Instant::now();
    while start.elapsed() < duration {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let total = read_number(&mut stream)?;
    Ok(rate(total, start.elapsed()))
}

/// Bytes per second of one TCP stream from the server.
pub fn download(target: SocketAddr, duration: Duration) -> Result<f64> {
    let mut stream = begin(target, DOWNLOAD)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total = 0;
    let start = Instant::now();
    while start.elapsed() < duration {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "{target} closed the stream");
        total += length as u64;
    }
    Ok(rate(total, start.elapsed()))
}

/// Requests per second, one at a time, over one TCP connection.
pub fn exchange(target: SocketAddr, duration: Duration) -> Result<f64> {
    let mut stream = begin(target, EXCHANGE)?;
    let mut total = 0;
    let start = Instant::now();
    while start.elapsed() < duration {
        one_exchange(&mut stream)?;
        total += 1;
    }
    Ok(rate(total, start.elapsed()))
}

/// Connections per second, one at a time, each with one request and its response.
pub fn connect_exchange_close(target: SocketAddr, duration: Duration) -> Result<f64> {
    let mut total = 0;
    let start = Instant::now();
    while start.elapsed() < duration {
        let mut stream = begin(target, EXCHANGE)?;
        one_exchange(&mut stream)?;
        total += 1;
    }
    Ok(rate(total, start.elapsed()))
}

/// Datagrams per second that reach the server, of one flow that is sent as fast as the path takes it.
///
/// `received` says how many all servers together have received so far: see [`received`].
pub fn datagrams(target: SocketAddr, received: &dyn Fn() -> Result<u64>, duration: Duration) -> Result<f64> {
    let before = received()?;
    let flow = client::flow(target)?;
    let message = [0; MESSAGE_BYTES];
    let start = Instant::now();
    while start.elapsed() < duration {
        // A look at the clock for each datagram would be a good part of the work.
        for _ in 0..64 {
            flow.send(&message)?;
        }
    }
    let elapsed = start.elapsed();
    let mut last = received()?;
    let settled = || {
        let now = received().ok()?;
        let settled = now == last;
        last = now;
        settled.then_some(now)
    };
    let after = wait::until("the last datagram is counted", Duration::from_secs(2), settled)?;
    ensure!(after > before, "no datagram reached a Pod through {target}");
    Ok(rate(after - before, elapsed))
}

/// Datagrams that a server has received so far. To be asked in the Pod's own namespace, beside the path.
pub fn received(server: SocketAddr) -> Result<u64> {
    read_number(&mut begin(server, COUNT)?)
}

fn begin(target: SocketAddr, purpose: u8) -> Result<TcpStream> {
    let mut stream = client::connect(target).with_context(|| format!("cannot connect to {target}"))?;
    stream.write_all(&[purpose])?;
    Ok(stream)
}

fn one_exchange(stream: &mut TcpStream) -> Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    stream.write_all(&message)?;
    stream.read_exact(&mut message).context("a request was not answered")
}

fn read_number(stream: &mut TcpStream) -> Result<u64> {
    let mut number = [0; 8];
    stream.read_exact(&mut number).context("the server did not say how much it received")?;
    Ok(u64::from_be_bytes(number))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
