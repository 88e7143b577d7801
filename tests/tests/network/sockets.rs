//! Clients inside: processes of the node and Pods whose sockets are given a backend before there is a packet.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::cgroup::Cgroup;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::pod::UDP_PORT;
use beeline_tests::socket_client::{Home, Way};
use beeline_tests::topology::{CLIENT, VIP, pod_addresses};
use beeline_tests::wait;

/// How long a change of manifests may take to be followed.
const LIMIT: Duration = Duration::from_secs(5);

/// A lab, and the cgroup of its node.
struct Node {
    // Dropped in this order: processes end with the lab's namespaces.
    lab: Lab,
    cgroup: Cgroup,
}

impl Node {
    fn weighted(weights: &[u32]) -> Result<Self> {
        let lab = Lab::weighted(weights)?;
        let cgroup = Cgroup::create(&lab.network.group)?;
        Ok(Self { lab, cgroup })
    }

    fn start(&self) -> Result<Agent<'_>> {
        let mut agent = self.lab.agent()?.with_cgroup(&self.cgroup);
        agent.start()?;
        Ok(agent)
    }

    fn home<'a>(&'a self, namespace: &'a Namespace) -> Home<'a> {
        Home { namespace, cgroup: Some(&self.cgroup) }
    }

    /// The node itself and its first Pod.
    fn homes(&self) -> [Home<'_>; 2] {
        [self.home(&self.lab.network.node), self.home(&self.lab.network.pods[0])]
    }
}

/// A frontend's sockets, IPv4 in its mapped form last.
fn with_mapped([v4, v6]: [SocketAddr; 2]) -> [SocketAddr; 3] {
    let IpAddr::V4(address) = v4.ip() else { panic!("IPv4 comes first: {v4}") };
    [v4, v6, SocketAddr::new(address.to_ipv6_mapped().into(), v4.port())]
}

/// Where the VIP offers this way.
fn targets(way: Way) -> [SocketAddr; 3] {
    with_mapped(VIP.sockets(if way == Way::Tcp { 8000 } else { 8001 }))
}

#[test]
fn sockets_of_node_and_pods_land_by_weight_know_the_vip_alone_and_no_packet_is_rewritten() -> Result<()> {
    let node = Node::weighted(&[5, 3, 1])?;
    let agent = node.start()?;
    let mut selected = 0;

    for (home, way) in node.homes().iter().flat_map(|home| Way::ALL.map(|way| (home, way))) {
        for target in targets(way) {
            let report = home.attempt(way, target, 90)?;

            assert_eq!(report.shares(3), [50, 30, 10], "{way:?} to {target}: {report:?}");
            assert_eq!(report.errors, [].into());
            assert_eq!(report.peers, [target].into(), "{way:?}");
            selected += 90;
        }
    }

    let status = agent.status()?;
    assert_eq!(agent.events("socket_selected")?, selected);
    assert_eq!(status["flows"]["active"], 0);
    let frontends = status["frontends"].as_array().expect("frontends");
    let sum = |group: &str, field: &str| -> u64 {
        frontends.iter().filter_map(|frontend| frontend[group][field].as_u64()).sum()
    };
    assert_eq!((sum("connections", "new"), sum("traffic", "packets")), (selected, 0), "{status:#}");
    assert!(status["agent"]["sockets"].as_str().is_some_and(|text| text.contains(node.cgroup.name())), "{status:#}");
    Ok(())
}

#[test]
fn a_pod_reaches_itself_through_the_vip_and_sees_its_own_address() -> Result<()> {
    let node = Node::weighted(&[1])?;
    let _agent = node.start()?;
    let home = node.home(&node.lab.network.pods[0]);

    for way in Way::ALL {
        for target in targets(way) {
            let report = home.attempt(way, target, 3)?;

            assert_eq!(report.shares(1), [3], "{way:?} to {target}: {report:?}");
            assert_eq!(report.clients, [pod_addresses(1).like(target.ip().to_canonical())].into());
        }
    }
    Ok(())
}

#[test]
fn without_a_ready_backend_sockets_are_refused_at_once_and_other_ports_are_left_alone() -> Result<()> {
    let node = Node::weighted(&[0])?;
    let agent = node.start()?;
    let home = node.home(&node.lab.network.node);

    for way in Way::ALL {
        for target in targets(way) {
            let before = agent.drops("no_backend")?;
            let report = home.attempt(way, target, 2)?;
            assert_eq!(report.errors, [("ConnectionRefused".to_owned(), 2)].into(), "{way:?} to {target}");
            assert_eq!(agent.drops("no_backend")? - before, 2);
        }
    }
    for target in with_mapped(VIP.sockets(81)) {
        let before = agent.drops("guarded")?;
        let report = home.attempt(Way::Tcp, target, 1)?;
        assert_eq!(report.errors, [("ConnectionRefused".to_owned(), 1)].into(), "{target}");
        assert_eq!(agent.drops("guarded")? - before, 1);
    }
    assert_eq!(agent.events("socket_selected")?, 0);
    Ok(())
}

#[test]
fn a_sockets_datagrams_stay_together_and_move_when_their_pod_goes() -> Result<()> {
    let node = Node::weighted(&[1, 1])?;
    let agent = node.start()?;
    let home = node.home(&node.lab.network.node);
    for (count, target) in (1..).zip(VIP.sockets(8001)) {
        node.lab.folder.write("app.yaml", &Service::weighted(VIP, &[1, 1]).to_yaml())?;
        agent.wait_for_dump("both Pods are there", |dump| {
            dump.contains("10.1.0.11:7") && dump.contains("10.1.0.12:7")
        })?;
        let mut conversation = home.converse(Way::Unconnected, target)?;
        let first = conversation.ask()?.expect("an answer");
        for _ in 0..5 {
            assert_eq!(conversation.ask()?.as_ref(), Ok(&first));
        }

        let mut service = Service::weighted(VIP, &[1, 1]);
        service.pods.retain(|pod| pod.name != first.pod);
        node.lab.folder.write("app.yaml", &service.to_yaml())?;
        let moved = || conversation.ask().ok()?.ok().filter(|seen| seen.pod != first.pod);
        let second = wait::until("the socket has moved", LIMIT, moved)?;

        assert_eq!(second.sender, Some(target));
        assert_eq!(agent.events("socket_moved")?, count);
    }
    Ok(())
}

#[test]
fn a_connected_socket_learns_that_its_pod_is_gone_and_connects_anew() -> Result<()> {
    let node = Node::weighted(&[1, 1])?;
    let agent = node.start()?;
    for (home, target) in node.homes().iter().zip(VIP.sockets(8001)) {
        node.lab.folder.write("app.yaml", &Service::weighted(VIP, &[1, 1]).to_yaml())?;
        agent.wait_for_dump("both Pods are there", |dump| {
            dump.contains("10.1.0.11:7") && dump.contains("10.1.0.12:7")
        })?;
        let mut conversation = home.converse(Way::Connected, target)?;
        let first = conversation.ask()?.expect("an answer");

        let mut service = Service::weighted(VIP, &[1, 1]);
        service.pods.retain(|pod| pod.name != first.pod);
        node.lab.folder.write("app.yaml", &service.to_yaml())?;

        let failed = || conversation.ask().ok()?.err();
        assert_eq!(wait::until("the socket fails", LIMIT, failed)?, "PermissionDenied");
        let refused = agent.drops("backend_gone")?;
        assert!(refused > 0);
        // What it sends to others is sent, though a connected socket hears of no answer.
        assert_eq!(conversation.ask_at(target)?, Err("WouldBlock".to_owned()));
        assert_eq!(agent.drops("backend_gone")?, refused);
        let report = home.attempt(Way::Connected, target, 4)?;
        assert_eq!((report.by_pod.len(), report.by_pod.contains_key(&first.pod)), (1, false), "{report:?}");
    }
    Ok(())
}

#[test]
fn a_socket_that_then_connects_to_its_pod_by_itself_knows_that_by_its_own_address() -> Result<()> {
    let node = Node::weighted(&[1])?;
    let agent = node.start()?;
    for (home, target) in node.homes().iter().flat_map(|home| VIP.sockets(8001).map(|target| (home, target))) {
        let pod = SocketAddr::new(pod_addresses(1).like(target.ip()), UDP_PORT);
        for way in [Way::Connected, Way::Unconnected] {
            let mut conversation = home.converse(way, target)?;
            assert_eq!(conversation.ask()?.expect("an answer").sender, Some(target));

            let seen = conversation.ask_connected_to(pod)?.expect("an answer");
            assert_eq!((seen.peer, seen.sender), (Some(pod), Some(pod)), "{way:?}");
            let seen = conversation.ask_connected_to(target)?.expect("an answer");
            assert_eq!((seen.peer, seen.sender), (Some(target), Some(target)), "{way:?}");
        }
    }
    assert_eq!(agent.events("socket_selected")?, 16);
    Ok(())
}

#[test]
fn with_affinity_a_namespace_keeps_its_pod() -> Result<()> {
    let node = Node::weighted(&[1, 1])?;
    let yaml = Service::weighted(VIP, &[1, 1]).to_yaml();
    node.lab.folder.write("app.yaml", &yaml.replacen("spec:\n", "spec:\n  sessionAffinity: ClientIP\n", 1))?;
    let _agent = node.start()?;

    let [on_node, in_pod] = node.homes().map(|home| home.attempt(Way::Tcp, VIP.sockets(8000)[0], 6));

    let pods: Vec<_> = [on_node?, in_pod?].iter().map(|report| report.by_pod.clone()).collect();
    assert_eq!(pods, [[("v1".to_owned(), 6)].into(), [("v2".to_owned(), 6)].into()]);
    Ok(())
}

#[test]
fn of_a_restricted_frontend_a_bound_socket_is_judged_and_one_that_is_not_bound_gets_no_backend() -> Result<()> {
    let node = Node::weighted(&[1])?;
    let own = pod_addresses(1);
    let yaml = Service::weighted(VIP, &[1]).to_yaml();
    let write = |ranges: &str| {
        let spec = format!("spec:\n  loadBalancerSourceRanges: [{ranges}]\n");
        node.lab.folder.write("app.yaml", &yaml.replacen("spec:\n", &spec, 1))
    };
    write(&format!("{}/32, \"{}/128\"", own.v4, own.v6))?;
    let agent = node.start()?;
    let home = node.home(&node.lab.network.pods[0]);

    for target in VIP.sockets(8001) {
        let report = home.attempt_from(Way::Connected, target, Some(own.like(target.ip())), 2)?;
        assert_eq!(report.shares(1), [2], "{report:?}");
        let report = home.attempt(Way::Connected, target, 1)?;
        assert_eq!(report.errors, [("ConnectionRefused".to_owned(), 1)].into());
    }
    write(&format!("{}/32, \"{}/128\"", CLIENT.v4, CLIENT.v6))?;
    agent.wait_for_dump("the other ranges are programmed", |dump| dump.contains(&format!("{}/128", CLIENT.v6)))?;
    for target in VIP.sockets(8001) {
        let report = home.attempt_from(Way::Unconnected, target, Some(own.like(target.ip())), 1)?;
        assert_eq!(report.errors, [("PermissionDenied".to_owned(), 1)].into());
    }
    assert_eq!(agent.drops("source_denied")?, 2);
    Ok(())
}

#[test]
fn an_agent_in_a_pod_finds_the_sockets_of_its_node_by_cgroup_and_by_namespace_and_no_others() -> Result<()> {
    let node = Node::weighted(&[2, 1])?;
    let pods = node.cgroup.below("kubepods")?;
    let own = pods.below("agent")?;
    let mut agent = node.lab.agent()?.inside(&own);
    agent.start()?;
    let [on_node, in_pod] = node.homes();
    let on_node_elsewhere = Home { cgroup: None, ..on_node };
    let in_pod_elsewhere = Home { cgroup: None, namespace: in_pod.namespace };

    for way in Way::ALL {
        for target in targets(way) {
            for home in [&in_pod, &on_node_elsewhere] {
                let report = home.attempt(way, target, 3)?;
                assert_eq!(report.shares(2), [2, 1], "{way:?} to {target}: {report:?}");
                assert_eq!(report.peers, [target].into());
            }
        }
    }
    let selected = agent.events("socket_selected")?;
    assert_eq!(selected, 54);
    let strange = in_pod_elsewhere.attempt(Way::Tcp, targets(Way::Tcp)[0], 1)?;
    assert_eq!((strange.by_pod.len(), agent.events("socket_selected")?), (0, selected), "{strange:?}");
    agent.stop()?;
    assert!(agent.unload()?.contains("21 links"));
    Ok(())
}

#[test]
fn sockets_go_on_without_the_agent_and_the_next_one_takes_the_links_over() -> Result<()> {
    let node = Node::weighted(&[2, 1])?;
    let mut agent = node.start()?;
    let (home, target) = (node.home(&node.lab.network.node), VIP.sockets(8000)[0]);
    let links = |agent: &Agent| -> Result<usize> {
        let status = agent.status()?;
        let links = status["links"].as_array().map_or(&[][..], Vec::as_slice);
        let is_socket = |link: &&serde_json::Value| {
            link["name"].as_str().is_some_and(|name| name.starts_with("socket-")) && link["attached"] == true
        };
        Ok(links.iter().filter(is_socket).count())
    };
    let mut conversation = home.converse(Way::Connected, VIP.sockets(8001)[1])?;
    let first = conversation.ask()?.expect("an answer");

    agent.kill()?;
    assert_eq!(home.attempt(Way::Tcp, target, 3)?.shares(2), [2, 1]);
    agent.start()?;

    assert_eq!((links(&agent)?, agent.writes()?), (9, 0));
    assert_eq!(conversation.ask()?, Ok(first));
    assert_eq!(home.attempt(Way::Tcp, target, 3)?.shares(2), [2, 1]);
    agent.kill()?;
    let said = agent.unload()?;
    assert!(said.contains("12 links"), "{said}");
    let report = home.attempt(Way::Tcp, target, 1)?;
    assert!(report.by_pod.is_empty(), "{report:?}");
    Ok(())
}

#[test]
fn where_it_cannot_be_the_agent_warns_once_and_serves_all_others() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let cgroup = Cgroup::create(&lab.network.group)?;
    let agent = lab.agent()?.with_cgroup(&cgroup);
    drop(cgroup);
    let mut agent = agent;
    agent.start()?;

    let problems = agent.problems()?;
    assert!(
        problems.iter().any(|problem| problem.contains("reach no VIP") && problem.contains("--cgroup")),
        "{problems:?}"
    );
    for target in VIP.sockets(8000) {
        assert_eq!(beeline_tests::client::connections(&lab.network.client, target, 2)?.answered(), 2);
    }
    Ok(())
}
