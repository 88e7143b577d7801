//! Writes a header for a backend.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Ends, SIGNATURE};
use crate::model::http::ProxyVersion;

/// A header about both ends of a connection; without them, that we speak for ourselves.
pub fn header(version: ProxyVersion, ends: Option<Ends>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => line(ends).into_bytes(),
        ProxyVersion::V2 => binary(ends),
    }
}

fn line(ends: Option<Ends>) -> String {
    let Some(ends) = ends else { return "PROXY UNKNOWN\r\n".to_string() };
    let ports = (ends.source.port(), ends.destination.port());
    let (family, source, destination) = match addresses(ends) {
        Addresses::V4(source, destination) => ("TCP4", IpAddr::from(source), IpAddr::from(destination)),
        Addresses::V6(source, destination) => ("TCP6", IpAddr::from(source), IpAddr::from(destination)),
    };
    format!("PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1)
}

fn binary(ends: Option<Ends>) -> Vec<u8> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    let mut header = SIGNATURE.to_vec();
    let Some(ends) = ends else {
        header.extend_from_slice(&[LOCAL, 0, 0, 0]);
        return header;
    };
    match addresses(ends) {
        Addresses::V4(source, destination) => {
            header.extend_from_slice(&[PROXY, 0x11, 0, 12]);
            header.extend_from_slice(&source);
            header.extend_from_slice(&destination);
        }
        Addresses::V6(source, destination) => {
            header.extend_from_slice(&[PROXY, 0x21, 0, 36]);
            header.extend_from_slice(&source);
            header.extend_from_slice(&destination);
        }
    }
    header.extend_from_slice(&ends.source.port().to_be_bytes());
    header.extend_from_slice(&ends.destination.port().to_be_bytes());
    header
}

/// Source and destination, in one family.
enum Addresses {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// A client that a proxy names may be of another family than the frontend: both are IPv6 then.
fn addresses(Ends { source, destination }: Ends) -> Addresses {
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Addresses::V4(source.octets(), destination.octets()),
        _ => Addresses::V6(mapped(source).octets(), mapped(destination).octets()),
    }
}

fn mapped(end: SocketAddr) -> Ipv6Addr {
    match end.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
