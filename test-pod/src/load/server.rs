//! The Pod's side of the load.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::{CHUNK_BYTES, COUNT, DOWNLOAD, EXCHANGE, MESSAGE_BYTES, UPLOAD};

/// Connections that are served at once.
const WORKERS: usize = 8;

/// Listens on TCP and UDP for both families and serves from threads of its own, until the process ends.
pub fn start(port: u16) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("cannot listen on {port}"))?;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).with_context(|| format!("cannot listen on {port}"))?;
    let listener = Arc::new(listener);
    let datagrams = Arc::new(AtomicU64::new(0));
    for _ in 0..WORKERS {
        let (listener, datagrams) = (Arc::clone(&listener), Arc::clone(&datagrams));
        thread::spawn(move || {
            loop {
                // A client that goes away ends its connection and nothing else.
                let _gone = listener.accept().and_then(|(stream, _)| serve(stream, &datagrams));
            }
        });
    }
    thread::spawn(move || count(&socket, &datagrams));
    Ok(())
}

fn serve(mut stream: TcpStream, datagrams: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut purpose = [0; 1];
    stream.read_exact(&mut purpose)?;
    match purpose[0] {
        UPLOAD => swallow(stream),
        DOWNLOAD => pour(stream),
        EXCHANGE => exchange(stream),
        COUNT => stream.write_all(&datagrams.load(Ordering::Relaxed).to_be_bytes()),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unknown purpose {other}"))),
    }
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&total.to_be_bytes()),
            length => total += length as u64,
        }
    }
}

fn pour(mut stream: TcpStream) -> io::Result<()> {
    let buffer = vec![0; CHUNK_BYTES];
    loop {
        stream.write_all(&buffer)?;
    }
}

fn exchange(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => stream.write_all(&message)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn count(socket: &UdpSocket, datagrams: &AtomicU64) {
    let mut buffer = [0; MESSAGE_BYTES];
    loop {
        if socket.recv(&mut buffer).is_ok() {
            datagrams.fetch_add(1, Ordering::Relaxed);
        }
    }
}
