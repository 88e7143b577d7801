//! What nodes of one segment tell each other on the wire: who has which address (ARP for IPv4, NDP for IPv6).
//!
//! Asks for an address, announces one, hears what others answer and announce. What follows from it is not known here, and
//! answers to requests are the kernel's business.

mod frame;
mod socket;

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use gateway_common::Address;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::debug;

pub use self::frame::Hardware;
use self::frame::{ArpForm, Claimed, advertisement, arp, claim_of_advertisement, claim_of_arp, solicitation};
use self::socket::{Destination, Received};

/// More than a frame that matters has.
const LONGEST: usize = 256;

/// An Ethernet device by which a segment is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its own address on the segment.
    pub hardware: Hardware,
}

/// Somebody says that an address is his.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The device by which it was heard.
    pub device: u32,
    /// The address.
    pub address: Address,
    /// Where it is; not every claim of IPv6 says so.
    pub hardware: Option<Hardware>,
}

/// The sockets for all segments of this network namespace.
pub struct Segments {
    arp: AsyncFd<OwnedFd>,
    /// None on a host without IPv6.
    ndp: Option<AsyncFd<OwnedFd>>,
}

impl Segments {
    /// Opens the sockets, which takes `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let ndp = match socket::icmp6() {
            Ok(socket) => Some(watched(socket)?),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { arp: watched(socket::arp()?)?, ndp })
    }

    /// The next claim that anybody makes. May be cancelled.
    pub async fn heard(&self) -> Claim {
        loop {
            let claim = tokio::select! {
                claim = next(&self.arp, socket::receive_arp, claim_of_arp) => claim,
                claim = next_ndp(self.ndp.as_ref()) => claim,
            };
            if let Some(claim) = claim {
                return claim;
            }
        }
    }

    /// Asks the segment for an address. IPv4 needs an address of our own to ask with.
    pub fn ask(&self, link: Link, own: Ipv4Addr, target: IpAddr) -> io::Result<()> {
        match target {
            IpAddr::V4(target) => self.send_arp(link, &arp(ArpForm::Request, link.hardware, own, target)),
            IpAddr::V6(target) => {
                let group = frame::solicited_node(target);
                self.send_ndp(link, group, &solicitation(target, link.hardware))
            }
        }
    }

    /// Tells the segment that an address is here, in each form that some neighbours heed and others do not.
    pub fn announce(&self, link: Link, address: Address) -> io::Result<()> {
        match address.to_ip() {
            IpAddr::V4(ip) => [ArpForm::Request, ArpForm::Reply]
                .into_iter()
                .try_for_each(|form| self.send_arp(link, &arp(form, link.hardware, ip, ip))),
            IpAddr::V6(ip) => self.send_ndp(link, frame::ALL_NODES, &advertisement(ip, link.hardware)),
        }
    }

    fn send_arp(&self, link: Link, frame: &[u8]) -> io::Result<()> {
        socket::send(self.arp.get_ref(), frame, Destination::Segment { device: link.index })
    }

    fn send_ndp(&self, link: Link, group: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        let Some(ndp) = &self.ndp else { return Ok(()) };
        socket::send(ndp.get_ref(), message, Destination::Group { group, device: link.index })
    }
}

fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: whoever owns a descriptor keeps it open, and the same, until it is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// What a socket receives next, if it is a claim.
async fn next(
    socket: &AsyncFd<OwnedFd>,
    receive: fn(&OwnedFd, &mut [u8]) -> io::Result<Option<Received>>,
    read: fn(&[u8]) -> Option<Claimed>,
) -> Option<Claim> {
    let mut buffer = [0; LONGEST];
    let received = socket.async_io(Interest::READABLE, |socket| receive(socket, &mut buffer)).await;
    match received {
        Ok(received) => {
            let Received { length, device } = received?;
            let (address, hardware) = read(buffer.get(..length)?)?;
            Some(Claim { device, address, hardware })
        }
        // A device that went down is told of here, too.
        Err(error) => {
            debug!(%error, "nothing could be received from a segment");
            None
        }
    }
}

async fn next_ndp(socket: Option<&AsyncFd<OwnedFd>>) -> Option<Claim> {
    match socket {
        Some(socket) => next(socket, socket::receive_icmp6, claim_of_advertisement).await,
        None => pending().await,
    }
}
