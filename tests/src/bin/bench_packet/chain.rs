//! Frontends that hand a new flow on to each other: the backend of each is the next frontend.
//!
//! So each run of a SYN meets a frontend that knows nothing of it, selects, and tracks two entries; they are removed after
//! the chain's end. Where Pods are elsewhere the flow that a link begins comes from this node with the port it was given,
//! and that port is the next link's own: either it is free all along the chain, or each link finds it taken.

use std::net::SocketAddr;

use anyhow::Result;
use beeline_tests::packets::{Datapath, Packet, Service};
use gateway_common::maps;
use gateway_common::{Connections, Cursor, Direction, FIRST_SOURCE_PORT, Flow, Frontend, FrontendKey, Port, Protocol};
use zerocopy::FromZeros;

use crate::bed::{Config, Family, tracked};
use crate::case::{Case, Pods};

/// Links with one service: enough to be measured warm, and few enough to fit beside 10,000 services.
const LINKS: u32 = 6000;
/// A port of the client in the range that flows to Pods elsewhere may bear.
const OWN_PORT: u16 = FIRST_SOURCE_PORT + 2345;
/// What even and odd links are said to have begun: then they find different ports, which are not the ones they come with.
const BEGUN: [u64; 2] = [10, 20];

/// The chain. The last of its addresses is a backend only.
pub struct Chain {
    family: Family,
    pods: Pods,
    addresses: Vec<SocketAddr>,
}

impl Chain {
    /// Programs the services of a bed, the chain among them.
    pub fn build(datapath: &mut Datapath, config: Config, family: Family, pods: Pods) -> Result<Self> {
        let busy = if config.busy_flows == 1 { 1 } else { config.services };
        let addresses: Vec<_> = if busy == 1 {
            (0..=LINKS as u16).map(|link| SocketAddr::new(family.vip(0), 10_000 + link)).collect()
        } else {
            (0..=busy).map(|service| SocketAddr::new(family.vip(service), 9000 + (service % 2) as u16)).collect()
        };
        for service in 0..config.services {
            let frontend =
                if busy == 1 { SocketAddr::new(family.vip(service), 9000) } else { addresses[service as usize] };
            let backends = match service {
                0 if busy == 1 => addresses[1..].iter().map(|&next| (1, next)).collect(),
                _ if busy == 1 => vec![(2, SocketAddr::new(family.pod(service), 80))],
                // Two slots, so that the cursor takes a step as it does for several backends.
                _ => vec![(2, addresses[service as usize + 1])],
            };
            datapath.serve(&Service::new(Protocol::TCP, frontend, &backends))?;
        }
        let chain = Self { family, pods, addresses };
        if busy == 1 {
            let key = |link: &SocketAddr| FrontendKey::new(link.ip().into(), Port::new(link.port()), Protocol::TCP);
            let links = chain.addresses.iter().take(LINKS as usize).map(|link| (key(link), Frontend::balanced(0)));
            datapath.insert(maps::FRONTENDS, links)?;
        }
        if pods == Pods::Elsewhere {
            chain.move_elsewhere(datapath)?;
        }
        Ok(chain)
    }

    fn move_elsewhere(&self, datapath: &mut Datapath) -> Result<()> {
        for link in 0..self.links() {
            // The backend of a link has its number, since each was new when it was served.
            datapath.move_elsewhere(link, self.family.node(0))?;
            let [source, _] = self.ends(Case::NewPortTaken, link);
            let taken = SocketAddr::new(self.family.node(0), source.port());
            // Nobody's packets meet it; it is there.
            let occupant = tracked(&Flow::new_zeroed(), (link, 0), Direction::Reverse, self.pods);
            datapath.insert(maps::CONNTRACK, [(self.reply(link, taken), occupant)])?;
        }
        Ok(())
    }

    /// New flows in one measurement.
    pub fn links(&self) -> u32 {
        self.addresses.len() as u32 - 1
    }

    /// The ends of the flow that a link begins.
    pub fn ends(&self, case: Case, link: u32) -> [SocketAddr; 2] {
        let source = if link == 0 || self.pods == Pods::Here {
            SocketAddr::new(self.family.newcomer(), port_before(case, link))
        } else {
            SocketAddr::new(self.family.node(0), port_before(case, link))
        };
        [source, self.addresses[link as usize]]
    }

    /// The flow of a link's replies to an address.
    fn reply(&self, link: u32, to: SocketAddr) -> Flow {
        Packet::flow(Protocol::TCP, self.addresses[link as usize + 1], to)
    }

    /// Makes the chain ready for a measurement: selection begins at its first link, and so do ports.
    pub fn begin(&self, datapath: &mut Datapath, case: Case) -> Result<()> {
        if !case.is_new() {
            return Ok(());
        }
        datapath.set(maps::GROUP_CURSORS, [(0, Cursor { steps: 0 })])?;
        let begun = |link: u32| (link, Connections { new: BEGUN[link as usize % 2], active: 0 });
        datapath.set(maps::BACKEND_CONNS, (0..self.links()).map(begun))
    }

    /// Removes what a measurement has tracked.
    pub fn end(&self, datapath: &mut Datapath, case: Case) -> Result<()> {
        if !case.is_new() {
            return Ok(());
        }
        let flows = (0..self.links()).flat_map(|link| {
            let [source, destination] = self.ends(case, link);
            let [given, _] = self.ends(case, link + 1);
            [Packet::flow(Protocol::TCP, source, destination), self.reply(link, given)]
        });
        datapath.forget(flows)
    }
}

/// The port that the flow bears which comes to a link.
fn port_before(case: Case, link: u32) -> u16 {
    match case {
        // The own port was tried first, and the cursor's next one is free.
        Case::NewPortTaken => FIRST_SOURCE_PORT + BEGUN[(link as usize + 1) % 2] as u16 + 1,
        _ => OWN_PORT,
    }
}
