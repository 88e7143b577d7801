//! Internet checksums of whole packets (RFC 1071), computed and checked without any of the datapath's arithmetic.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};

/// The ones' complement sum of bytes in network order, not yet inverted.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    sum
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of bytes whose checksum field is zero.
pub(super) fn of(bytes: &[u8]) -> [u8; 2] {
    (!fold(sum(bytes))).to_be_bytes()
}

/// The checksum of bytes whose checksum field is zero, with the pseudo-header of RFC 9293 section 3.1 and RFC 8200
/// section 8.1.
pub(super) fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> [u8; 2] {
    (!fold(pseudo_header(source, destination, protocol, bytes.len()) + sum(bytes))).to_be_bytes()
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let address = |address| match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    address(source) + address(destination) + u32::from(protocol) + length as u32
}

/// Checks every checksum of an Ethernet frame that carries one IP packet, also those of the packet that an ICMP error
/// quotes as far as it is quoted. Anything but IP has none.
pub fn verify(frame: &[u8]) -> Result<()> {
    let mut ether_type = half_word(frame, 12)?;
    let mut offset = 14;
    if ether_type == 0x8100 {
        ether_type = half_word(frame, 16)?;
        offset += 4;
    }
    match ether_type {
        0x0800 | 0x86dd => verify_ip(&frame[offset..]),
        _ => Ok(()),
    }
}

/// Checks every checksum of an IP packet without a link-layer header.
pub(super) fn verify_ip(packet: &[u8]) -> Result<()> {
    let version = packet.first().context("an empty packet has no checksums")? >> 4;
    let headers = if version == 4 { Headers::v4(packet)? } else { Headers::v6(packet)? };
    let Headers { source, destination, protocol, offset, length, is_fragment } = headers;
    if is_fragment {
        return Ok(());
    }
    let Some(content) = packet.get(offset..length) else { return Ok(()) };
    let pseudo = pseudo_header(source, destination, protocol, content.len());
    match protocol {
        6 => check("TCP", pseudo + sum(content)),
        17 if half_word(content, 6)? == 0 => {
            ensure!(version == 4, "UDP over IPv6 without a checksum");
            Ok(())
        }
        17 => check("UDP", pseudo + sum(content)),
        1 if version == 4 => check("ICMP", sum(content)).and_then(|()| verify_quoted(content, &[3, 11, 12])),
        58 if version == 6 => {
            check("ICMPv6", pseudo + sum(content)).and_then(|()| verify_quoted(content, &[1, 2, 3, 4]))
        }
        _ => Ok(()),
    }
}

fn verify_quoted(message: &[u8], errors: &[u8]) -> Result<()> {
    if errors.contains(&message[0]) { verify_ip(&message[8..]).context("in the quoted packet") } else { Ok(()) }
}

fn check(what: &str, sum: u32) -> Result<()> {
    let folded = fold(sum);
    ensure!(folded == 0xffff, "the {what} checksum is wrong: all words together are {folded:#06x}, not 0xffff");
    Ok(())
}

/// What is to know of an IP header and its extension headers.
struct Headers {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    offset: usize,
    length: usize,
    is_fragment: bool,
}

impl Headers {
    fn v4(packet: &[u8]) -> Result<Self> {
        let offset = usize::from(packet[0] & 0x0f) * 4;
        let header = packet.get(..offset).context("the IPv4 header is cut off")?;
        check("IPv4 header", sum(header))?;
        Ok(Self {
            source: IpAddr::from(array::<4>(packet, 12)?),
            destination: IpAddr::from(array::<4>(packet, 16)?),
            protocol: packet[9],
            offset,
            length: half_word(packet, 2)?.into(),
            is_fragment: half_word(packet, 6)? & 0x3fff != 0,
        })
    }

    fn v6(packet: &[u8]) -> Result<Self> {
        let (mut protocol, mut offset, mut is_fragment) = (array::<7>(packet, 0)?[6], 40, false);
        loop {
            let [next, length, field @ ..] = match protocol {
                0 | 43 | 44 | 51 | 60 => array::<4>(packet, offset)?,
                59 => bail!("there is nothing after the IPv6 headers"),
                _ => break,
            };
            is_fragment |= protocol == 44 && u16::from_be_bytes(field) & 0xfff9 != 0;
            offset += match protocol {
                44 => 8,
                51 => (usize::from(length) + 2) * 4,
                _ => (usize::from(length) + 1) * 8,
            };
            protocol = next;
        }
        Ok(Self {
            source: IpAddr::from(array::<16>(packet, 8)?),
            destination: IpAddr::from(array::<16>(packet, 24)?),
            protocol,
            offset,
            length: 40 + usize::from(half_word(packet, 4)?),
            is_fragment,
        })
    }
}

fn half_word(bytes: &[u8], offset: usize) -> Result<u16> {
    array(bytes, offset).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N]> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().with_context(|| format!("the packet ends before byte {}", offset + N))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071 section 3.
    #[test]
    fn the_sum_of_the_example_of_the_rfc_is_as_it_says() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn a_wrong_checksum_is_found() {
        // A header of which the checksum is known: 192.168.0.1 to 192.168.0.199, UDP, nothing in it.
        let mut header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];

        assert!(Headers::v4(&header).is_ok());
        header[11] ^= 1;
        assert!(Headers::v4(&header).is_err());
    }
}
