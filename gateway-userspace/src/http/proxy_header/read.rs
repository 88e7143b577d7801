//! Reads a header from a connection, and not a byte more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Ends, SIGNATURE};

/// The shortest header, `PROXY UNKNOWN` with its CRLF: so many bytes may be read before it is clear which version it is.
const SHORTEST: usize = 15;

/// The longest header of version 1 (2.1).
const LONGEST_LINE: usize = 107;

/// What follows the signature of version 2: version and command, family, and the length of the rest.
const FIXED: usize = SIGNATURE.len() + 4;

/// Bytes of addresses and further fields in version 2. Those that balancers send have some hundred.
const LONGEST_REST: usize = 4096;

/// Why a header is none.
#[derive(Debug, thiserror::Error)]
pub enum BadHeader {
    /// The connection ended or broke.
    #[error("the connection ended within its PROXY header")]
    Ended(#[from] std::io::Error),
    /// Something else begins the connection.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It is not as it has to be.
    #[error("the PROXY header is not well formed: {0}")]
    Malformed(&'static str),
}

/// Who speaks on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A client of the proxy, from and to these addresses.
    Client(Ends),
    /// The proxy itself, as in a check of its own (`LOCAL`).
    Proxy,
    /// A client of the proxy that it cannot name (`UNKNOWN` in version 1, an unspecified family in version 2).
    Unknown,
}

/// Reads a header.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Speaker, BadHeader> {
    let mut start = [0; SHORTEST];
    stream.read_exact(&mut start).await?;
    if start.starts_with(&SIGNATURE) {
        read_binary(stream, start).await
    } else if start.starts_with(b"PROXY ") {
        read_line(stream, &start).await
    } else {
        Err(BadHeader::Missing)
    }
}

/// The rest of a line is read byte by byte: what follows it is not ours, and it is short.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<Speaker, BadHeader> {
    let mut line = Vec::with_capacity(LONGEST_LINE);
    line.extend_from_slice(start);
    while line.last() != Some(&b'\n') {
        if line.len() == LONGEST_LINE {
            return Err(BadHeader::Malformed("the line is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line)
}

/// A whole line, with its CRLF.
fn parse_line(line: &[u8]) -> Result<Speaker, BadHeader> {
    let malformed = BadHeader::Malformed;
    let text = line.strip_suffix(b"\r\n").ok_or(malformed("the line does not end with CRLF"))?;
    if text.contains(&b'\r') || text.contains(&b'\n') {
        return Err(malformed("a line within the line"));
    }
    let text = std::str::from_utf8(text).map_err(|_| malformed("the line is no text"))?;
    let mut words = text.split(' ');
    if words.next() != Some("PROXY") {
        return Err(BadHeader::Missing);
    }
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever else the line says is to be passed over.
        return Ok(Speaker::Unknown);
    }
    let rest: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = *rest else {
        return Err(malformed("it needs two addresses and two ports"));
    };
    let address = |text: &str| match family {
        Some("TCP4") => text.parse().map(IpAddr::V4).ok(),
        Some("TCP6") => text.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    let end = |text: &str, number: &str| {
        let address = address(text).ok_or(BadHeader::Malformed("an address is none of its family"))?;
        let port = port(number).ok_or(BadHeader::Malformed("a port is none"))?;
        Ok::<_, BadHeader>(SocketAddr::new(address.to_canonical(), port))
    };
    if !matches!(family, Some("TCP4" | "TCP6")) {
        return Err(malformed("its family is neither TCP4 nor TCP6"));
    }
    Ok(Speaker::Client(Ends { source: end(source, source_port)?, destination: end(destination, destination_port)? }))
}

/// A decimal number without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_number { text.parse().ok() } else { None }
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin), start: [u8; SHORTEST]) -> Result<Speaker, BadHeader> {
    let mut fixed = [0; FIXED];
    fixed[..SHORTEST].copy_from_slice(&start);
    stream.read_exact(&mut fixed[SHORTEST..]).await?;
    let length = usize::from(u16::from_be_bytes([fixed[FIXED - 2], fixed[FIXED - 1]]));
    if length > LONGEST_REST {
        return Err(BadHeader::Malformed("it is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse_binary(fixed[SIGNATURE.len()], fixed[SIGNATURE.len() + 1], &rest)
}

/// Command and family, and what follows the length.
pub fn parse_binary(command: u8, family: u8, rest: &[u8]) -> Result<Speaker, BadHeader> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const UNSPECIFIED: u8 = 0x00;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    match (command, family) {
        // A check of the proxy's own: what it says of addresses is to be passed over.
        (LOCAL, _) => Ok(Speaker::Proxy),
        (PROXY, UNSPECIFIED) => Ok(Speaker::Unknown),
        (PROXY, TCP4) => of_octets(rest, |octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))).map(Speaker::Client),
        (PROXY, TCP6) => of_octets(rest, |octets: [u8; 16]| IpAddr::V6(Ipv6Addr::from(octets))).map(Speaker::Client),
        (PROXY, _) => Err(BadHeader::Malformed("its family is neither TCP over IPv4 nor over IPv6")),
        (_, _) => Err(BadHeader::Malformed("its version is not 2, or its command is not known")),
    }
}

/// Both addresses, both ports, and then further fields of type, length and value, which must be whole.
fn of_octets<const SIZE: usize>(rest: &[u8], address: impl Fn([u8; SIZE]) -> IpAddr) -> Result<Ends, BadHeader> {
    let short = || BadHeader::Malformed("it is shorter than its addresses");
    let (source, rest) = rest.split_first_chunk::<SIZE>().ok_or_else(short)?;
    let (destination, rest) = rest.split_first_chunk::<SIZE>().ok_or_else(short)?;
    let (source_port, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (destination_port, mut fields) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    while let Some(([_, length @ ..], rest)) = fields.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes(*length));
        fields = rest.get(length..).ok_or(BadHeader::Malformed("a field is longer than the header"))?;
    }
    if !fields.is_empty() {
        return Err(BadHeader::Malformed("a field has no length"));
    }
    let end = |octets: &[u8; SIZE], port: &[u8; 2]| {
        SocketAddr::new(address(*octets).to_canonical(), u16::from_be_bytes(*port))
    };
    Ok(Ends { source: end(source, source_port), destination: end(destination, destination_port) })
}
