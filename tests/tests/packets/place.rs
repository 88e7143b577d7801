//! Who is where in the tests of this folder, in both IP versions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use beeline_tests::packets::{Datapath, Outcome, Packet, Service};
use gateway_common::Protocol;

/// An IP version and with it the addresses of everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// A backend's weight and address.
pub type Weighted = (u32, SocketAddr);

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Both, with both protocols.
    pub fn with_protocols() -> impl Iterator<Item = (Self, Protocol)> {
        Self::ALL.into_iter().flat_map(|place| [(place, Protocol::TCP), (place, Protocol::UDP)])
    }

    fn address(self, range: [u8; 3], last: u8) -> IpAddr {
        let [a, b, c] = range;
        match self {
            Self::V4 => Ipv4Addr::new(a, b, c, last).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, a.into(), b.into(), c.into(), 0x1234, 0x5678, last.into()).into(),
        }
    }

    /// A client's socket.
    pub fn client(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address([192, 0, 2], 10), port)
    }

    /// Another client's socket, in the same range of 31 or 127 bits.
    pub fn other_client(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address([192, 0, 2], 11), port)
    }

    /// The node, as Pods elsewhere see it.
    pub fn node(self) -> IpAddr {
        self.address([198, 51, 100], 9)
    }

    /// The VIP.
    pub fn vip(self) -> IpAddr {
        self.address([203, 0, 113], 1)
    }

    /// A frontend of the VIP.
    pub fn frontend(self) -> SocketAddr {
        SocketAddr::new(self.vip(), 8000)
    }

    /// A frontend of another VIP.
    pub fn other_frontend(self) -> SocketAddr {
        SocketAddr::new(self.address([203, 0, 113], 2), 8000)
    }

    /// A backend, counted from 1.
    pub fn pod(self, number: u8) -> SocketAddr {
        SocketAddr::new(self.address([10, 1, 0], 10 + number), 80)
    }

    /// Neither VIP nor backend.
    pub fn stranger(self) -> SocketAddr {
        SocketAddr::new(self.address([198, 51, 100], 7), 8000)
    }

    /// A router on the way.
    pub fn router(self) -> IpAddr {
        self.address([198, 51, 100], 1)
    }

    /// A datapath that serves the frontend by these backends with its id 0.
    pub fn datapath(self, protocol: Protocol, backends: &[Weighted]) -> Result<Datapath> {
        let mut datapath = Datapath::load()?;
        datapath.serve(&Service::new(protocol, self.frontend(), backends))?;
        Ok(datapath)
    }

    /// A datapath with the first Pod alone.
    pub fn with_one_pod(self, protocol: Protocol) -> Result<Datapath> {
        self.datapath(protocol, &[(1, self.pod(1))])
    }

    /// Sends the first packet of a flow to the frontend, and says which backend it was given.
    pub fn open(self, datapath: &mut Datapath, protocol: Protocol, port: u16) -> Result<SocketAddr> {
        let outcome = datapath.ingress(&Packet::first(protocol, self.client(port), self.frontend()))?;
        Ok(self.backend_of(&outcome))
    }

    /// The Pod that a packet without options was sent to.
    pub fn backend_of(self, outcome: &Outcome) -> SocketAddr {
        let destination = outcome.destination();
        (1..=20).map(|number| self.pod(number)).find(|pod| Some(pod.ip()) == destination).unwrap_or_else(|| {
            panic!("it went to no Pod but to {destination:?}: {outcome:?}");
        })
    }
}
