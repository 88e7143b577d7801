//! Three times as many connections to one Pod elsewhere as there are ports for them, at about the size that is shipped.
//!
//! A process of its own: it opens as many files as it may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::crowd::{Crowd, Opened};
use beeline_tests::lab::Lab;
use beeline_tests::manifests::{Pod, Service};
use beeline_tests::second_host::{Network, SecondHost};
use beeline_tests::topology::{CLIENT, Dual, Plan, VIP};

const ECHO: u16 = 9000;
const CONNECTIONS: usize = 60_000;
/// Nearly as many as are the default: of each end one process holds all connections and those that are about to be refused,
/// and may often open no more than 20,000 files.
const PORTS: usize = 19_000;
const MOST_FILES: u64 = 20_000;
/// The flag of that; half of the clients' own ports lie in it.
const SOURCE_PORTS: &str = "10000-28999";
const FIRST_OWN_PORT: u16 = 20_000;
/// The ports of those that come later lie above.
const LATER_PORT: u16 = 40_000;

/// The client's addresses.
const CLIENTS: [Dual; 3] = [
    CLIENT,
    Dual { v4: Ipv4Addr::new(172, 20, 0, 3), v6: Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 3) },
    Dual { v4: Ipv4Addr::new(172, 20, 0, 4), v6: Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 4) },
];

/// So many sources, by turns from all clients, that are of the same family as another address.
fn sources(like: IpAddr, first_port: u16, count: usize) -> impl Iterator<Item = SocketAddr> + Send {
    let ports = first_port..=u16::MAX;
    ports.flat_map(move |port| CLIENTS.map(|client| SocketAddr::new(client.like(like), port))).take(count)
}

#[test]
fn of_sixty_thousand_connections_as_many_are_served_as_there_are_ports_and_the_rest_is_refused_by_name() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&[]))?;
    let client = &lab.network.client;
    let mut crowd = Crowd::gather(client, MOST_FILES)?;
    let far = Network::Routed.pod(1);
    let _second = SecondHost::join(&lab.network, &[("far", far)], 1500)?;
    for Dual { v4, v6 } in &CLIENTS[1..] {
        client.ip(&format!("addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad"))?;
    }
    let service = Service { pods: vec![Pod::on("host", "far", far, 1)], ..Service::weighted(VIP, &[]) };
    lab.folder.write("app.yaml", &service.to_yaml())?;
    let agent = Agent::new(&lab.network.group, &lab.network.node, lab.folder.path())?;
    let flags = ["--node-name", "node", "--source-ports", SOURCE_PORTS, "--max-flows", "65536"];
    let mut agent = agent.with_arguments(&flags);
    agent.start()?;

    for vip in VIP.sockets(ECHO) {
        let before = agent.drops("no_source_port")?;
        let Opened { open, refused, failures } = crowd.open(sources(vip.ip(), FIRST_OWN_PORT, CONNECTIONS), vip)?;
        assert_eq!(failures, [""; 0]);
        assert_eq!(open + refused, CONNECTIONS);
        assert!((PORTS * 95 / 100..=PORTS).contains(&open), "{open} of {PORTS} ports were given out");
        assert_eq!(agent.drops("no_source_port")? - before, refused as u64);

        assert_eq!(crowd.exchange()?, [""; 0], "each still has a port of its own");
        assert_eq!(crowd.close()?, [""; 0]);

        let again = crowd.open(sources(vip.ip(), LATER_PORT, PORTS / 2), vip)?;
        assert_eq!(again, Opened { open: PORTS / 2, ..Opened::default() });
        assert_eq!(crowd.close()?, [""; 0]);
        assert_eq!(agent.drops("no_source_port")? - before, refused as u64);
    }
    assert_eq!(agent.problems()?, [""; 0]);
    Ok(())
}
