//! Frontends of the HTTP layer: one listening socket takes the connections of many VIPs and ports, and of nothing else.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use beeline_tests::netns::Namespace;
use beeline_tests::pod::ECHO_PORT;
use beeline_tests::topology::{CLIENT, Dual, VIP, pod_addresses};
use beeline_tests::{client, wait};
use gateway_userspace::dataplane::Listener;

use crate::door::{Connection, Node, Server, services, sites};

const OTHER_VIP: Dual = Dual {
    v4: std::net::Ipv4Addr::new(10, 96, 100, 2),
    v6: std::net::Ipv6Addr::new(0xfd00, 0x96, 0x100, 0, 0, 0, 0, 2),
};
const PORTS: [u16; 3] = [80, 443, 8443];

/// Both VIPs at all ports in both families.
fn frontends() -> Vec<SocketAddr> {
    [VIP, OTHER_VIP].into_iter().flat_map(|vip| PORTS.into_iter().flat_map(move |port| vip.sockets(port))).collect()
}

/// A node whose frontends all lead to a listener called `door`.
fn node_with_door() -> Result<(Node, [Server; 2])> {
    let mut node = Node::build()?;
    let door = node.open_door("door", 1)?;
    node.serve(&sites(frontends()))?;
    Ok((node, door))
}

#[track_caller]
fn assert_refused(from: &Namespace, target: SocketAddr) {
    let outcome = from.enter(|| client::connect(target).map(drop).map_err(|error| error.kind())).expect("entered");
    assert_eq!(outcome, Err(ErrorKind::ConnectionRefused), "{} to {target}", from.name());
}

/// A process that another test has just forked may hold a closed socket for a moment more.
fn wait_until_refused(from: &Namespace, target: SocketAddr) -> Result<()> {
    let kind = || from.enter(|| client::connect(target).map_err(|error| error.kind()).err()).ok().flatten();
    wait::until("the listener is gone", Duration::from_secs(5), || {
        (kind() == Some(ErrorKind::ConnectionRefused)).then_some(())
    })
}

#[test]
fn one_socket_of_a_family_takes_the_connections_of_all_vips_and_ports_and_sees_who_comes_and_where() -> Result<()> {
    let (node, _door) = node_with_door()?;

    for target in frontends() {
        let mut connection = Connection::open(&node.network.client, target)?;
        let own = connection.own()?;

        assert_eq!(own.ip(), CLIENT.like(target.ip()));
        assert_eq!(connection.ask("who")?, format!("door {own} {target}"));
    }

    let dump = node.dump()?;
    assert_eq!(dump.frontends.len(), frontends().len());
    for frontend in &dump.frontends {
        assert_eq!((frontend.http, frontend.connections.new, frontend.groups.len()), (true, 1, 0), "{frontend}");
    }
    assert_eq!((dump.flows.active, node.drops("guarded")?, node.drops("no_flow")?), (0, 0, 0));
    Ok(())
}

#[test]
fn nothing_else_of_the_node_leads_to_the_listener() -> Result<()> {
    let (node, door) = node_with_door()?;
    let bound = [door[0].bound_to()?, door[1].bound_to()?];

    for from in [&node.network.client, &node.network.node] {
        for port in PORTS.into_iter().chain(bound.map(|address| address.port())) {
            for target in node.network.node_address.sockets(port) {
                assert_refused(from, target);
            }
        }
        for target in [VIP, OTHER_VIP].into_iter().flat_map(|vip| vip.sockets(81)) {
            assert_refused(from, target);
        }
        for (port, vip) in
            bound.map(|address| address.port()).into_iter().flat_map(|port| [(port, VIP), (port, OTHER_VIP)])
        {
            for target in vip.sockets(port) {
                assert_refused(from, target);
            }
        }
    }
    for loopback in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().expect("an address")) {
        for address in bound {
            assert_refused(&node.network.node, SocketAddr::new(loopback, address.port()));
        }
    }
    assert!(node.network.node.enter(|| bound.map(|address| client::connect(address).is_ok()))?.iter().all(|ok| !ok));
    Ok(())
}

#[test]
fn the_ports_of_the_node_stay_free_while_connections_are_open() -> Result<()> {
    let (node, _door) = node_with_door()?;
    let mut open: Vec<Connection> = Vec::new();
    for target in frontends() {
        open.push(Connection::open(&node.network.client, target)?);
    }

    let listen = || -> std::io::Result<[TcpListener; 2]> {
        Ok([TcpListener::bind("0.0.0.0:80")?, TcpListener::bind("[::]:443")?])
    };
    let _of_the_host = node.network.node.enter(listen)??;

    for target in [node.network.node_address.sockets(80)[0], node.network.node_address.sockets(443)[1]] {
        node.network.client.enter(|| client::connect(target))??;
    }
    for (mut connection, target) in open.into_iter().zip(frontends()) {
        assert!(connection.ask("who")?.starts_with("door "));
        assert!(Connection::open(&node.network.client, target)?.ask("who")?.starts_with("door "), "{target}");
    }
    Ok(())
}

#[test]
fn pods_and_the_node_itself_reach_the_listener_with_and_without_selection_for_sockets() -> Result<()> {
    let (node, _door) = node_with_door()?;

    for target in frontends() {
        let mut connection = Connection::open(&node.network.pods[0], target)?;
        let own = connection.own()?;
        assert_eq!(own.ip(), pod_addresses(1).like(target.ip()));
        assert_eq!(connection.ask("who")?, format!("door {own} {target}"));

        let mut connection = Connection::open(&node.network.node, target)?;
        assert_eq!(connection.ask("who")?, format!("door {} {target}", connection.own()?));
    }
    for (target, namespace) in
        frontends().into_iter().zip([&node.network.pods[0], &node.network.node].into_iter().cycle())
    {
        let mut command: Command = namespace.command("bash")?;
        node.cgroup.take_in(&mut command)?;
        let script = format!(
            "exec 3<>/dev/tcp/{}/{}; echo who >&3; read -r line <&3; echo \"$line\"",
            target.ip(),
            target.port()
        );
        let output = command.args(["-c", &script]).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.starts_with("door ") && said.trim_end().ends_with(&target.to_string()), "{target}: {output:?}");
    }
    Ok(())
}

#[test]
fn without_a_listener_clients_are_refused_and_what_it_had_accepted_lives_on() -> Result<()> {
    let (node, [v4, v6]) = node_with_door()?;
    let [first_v4, first_v6] = VIP.sockets(80);
    let mut old =
        [Connection::open(&node.network.client, first_v4)?, Connection::open(&node.network.client, first_v6)?];
    for connection in &mut old {
        assert!(connection.ask("who")?.starts_with("door "));
    }

    v4.end()?;
    wait_until_refused(&node.network.client, first_v4)?;
    assert!(node.drops("guarded")? >= 1);
    assert!(Connection::open(&node.network.client, first_v6)?.ask("who")?.starts_with("door "));
    v6.end()?;
    wait_until_refused(&node.network.client, first_v6)?;

    for connection in &mut old {
        assert_eq!(connection.ask("still there")?, "still there");
    }
    Ok(())
}

#[test]
fn another_listener_takes_new_connections_and_the_one_before_keeps_its_own() -> Result<()> {
    let (node, _door) = node_with_door()?;
    let targets = VIP.sockets(443);
    let open = || -> Result<Vec<Connection>> {
        targets.into_iter().map(|target| Connection::open(&node.network.client, target)).collect()
    };
    let mut old = open()?;

    let _next = node.open_door("next", 1)?;

    for (old, new) in old.iter_mut().zip(&mut open()?) {
        assert!(new.ask("who")?.starts_with("next "));
        assert!(old.ask("who")?.starts_with("door "));
        assert_eq!(old.ask("and goes on")?, "and goes on");
    }
    Ok(())
}

#[test]
fn a_listener_is_taken_away_and_taking_away_none_is_no_error() -> Result<()> {
    let (node, _door) = node_with_door()?;

    for _ in 0..2 {
        for family in Listener::ALL {
            node.dataplane().steer(family, None)?;
        }
        for target in VIP.sockets(80) {
            assert_refused(&node.network.client, target);
        }
    }
    Ok(())
}

#[test]
fn of_sockets_that_share_a_port_all_get_connections_though_one_is_named() -> Result<()> {
    let mut node = Node::build()?;
    let door = node.open_door("door", 2)?;
    node.serve(&sites(frontends()))?;

    for target in VIP.sockets(80) {
        for _ in 0..40 {
            assert!(Connection::open(&node.network.client, target)?.ask("who")?.starts_with("door "));
        }
    }

    for server in door {
        let accepted = server.end()?;
        assert!(accepted.iter().sum::<usize>() == 40 && accepted.iter().all(|&count| count > 4), "{accepted:?}");
    }
    Ok(())
}

#[test]
fn a_frontend_changes_hands_and_back_and_no_connection_of_either_ends() -> Result<()> {
    let mut node = Node::build()?;
    let _door = node.open_door("door", 1)?;
    let targets = VIP.sockets(80);
    let pods = pod_addresses(1).sockets(ECHO_PORT);
    let balanced = services(&[(targets[0], pods[0]), (targets[1], pods[1])]);
    let open = |node: &Node| -> Result<Vec<(Connection, String)>> {
        let one = |target| {
            let mut connection = Connection::open(&node.network.client, target)?;
            let said = connection.ask("who")?;
            Ok((connection, said))
        };
        targets.into_iter().map(one).collect()
    };
    let mut all = Vec::new();

    for _ in 0..2 {
        node.serve(&balanced)?;
        all.extend(open(&node)?);
        node.serve(&sites(targets))?;
        all.extend(open(&node)?);
        node.restart()?;
        assert_eq!(node.serve(&sites(targets))?, 0, "a restart writes nothing");
    }

    let said: Vec<_> = all.iter().map(|(_, said)| said.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(said, ["who", "who", "door", "door", "who", "who", "door", "door"]);
    node.serve(&balanced)?;
    for (connection, before) in &mut all {
        assert_eq!(connection.ask("who")?, *before);
    }
    Ok(())
}
