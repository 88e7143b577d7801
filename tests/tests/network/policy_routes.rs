//! A node whose routes are chosen by rules, as Calico and its like have them: Beeline goes their ways, and `beeline check`
//! says where they lead astray.

use anyhow::Result;
use beeline_tests::agent::Agent;
use beeline_tests::calico;
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::manifests::{Pod, Service};
use beeline_tests::second_host::{FABRIC, NODE_ON_FABRIC, Network, SecondHost};
use beeline_tests::topology::{CLIENT, Plan, VIP, pod_addresses};

const HTTP: u16 = 8000;
const UDP: u16 = 8001;

fn service() -> Service {
    let pods = vec![
        Pod::on("node", "v1", pod_addresses(1), 5),
        Pod::on("node", "v2", pod_addresses(2), 3),
        Pod::on("host", "v3", Network::Routed.pod(3), 1),
    ];
    Service { pods, ..Service::weighted(VIP, &[]) }
}

fn start(lab: &Lab) -> Result<Agent<'_>> {
    lab.folder.write("app.yaml", &service().to_yaml())?;
    let mut agent = lab.agent()?.with_arguments(&["--node-name", "node"]);
    agent.start()?;
    Ok(agent)
}

/// What `beeline check` says of a thing.
fn said<'a>(checked: &'a [String], subject: &str) -> Vec<&'a str> {
    checked.iter().filter(|line| line.contains(subject)).map(String::as_str).collect()
}

#[test]
fn pods_that_only_rules_lead_to_get_their_exact_share_here_and_elsewhere() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
    let _second = SecondHost::join(&lab.network, &[("v3", Network::Routed.pod(3))], 1500)?;
    calico::rewire(&lab.network, true)?;
    let agent = start(&lab)?;

    for (tcp, udp) in VIP.sockets(HTTP).into_iter().zip(VIP.sockets(UDP)) {
        let from = &lab.network.client;
        for found in [client::connections(from, tcp, 450)?, client::flows(from, udp, 450)?] {
            assert_eq!(["v1", "v2", "v3"].map(|pod| found.of(pod)), [250, 150, 50], "{found:?}");
            assert_eq!((found.refused, found.failures.as_slice()), (0, [].as_slice()));
            let seen = |pod: &str| found.clients_of[pod].iter().copied().collect::<Vec<_>>();
            assert_eq!(seen("v1"), [CLIENT.like(tcp.ip())]);
            assert_eq!(seen("v3"), [NODE_ON_FABRIC.like(tcp.ip())]);
        }
    }

    let checked = agent.check()?;
    assert!(said(&checked, "ways to Pods").iter().all(|line| line.starts_with("ok")), "{checked:#?}");
    assert!(said(&checked, "firewall").iter().all(|line| line.starts_with("ok")), "{checked:#?}");
    Ok(())
}

#[test]
fn a_rule_that_leads_replies_past_the_uplink_is_named_with_the_device() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
    let _second = SecondHost::join(&lab.network, &[], 1500)?;
    calico::rewire(&lab.network, false)?;
    lab.folder.write("app.yaml", &Service { pods: service().pods[..2].to_vec(), ..service() }.to_yaml())?;
    let agent = lab.start()?;
    assert_eq!(client::connections(&lab.network.client, VIP.sockets(HTTP)[0], 8)?.answered(), 8);

    calico::lead_astray(&lab.network.node, FABRIC)?;

    let found = client::connections(&lab.network.client, VIP.sockets(HTTP)[0], 4)?;
    assert_eq!(found.answered(), 0, "{found:?}");
    let checked = agent.check()?;
    let named = said(&checked, "ways to Pods").join("\n");
    assert!(named.starts_with("fail") && named.contains(&format!("leave by {FABRIC}")), "{checked:#?}");
    assert!(named.contains("replies of Pod 10.1.0.11") && named.contains("ip rule"), "{checked:#?}");
    Ok(())
}

#[test]
fn a_strict_filter_of_reverse_paths_that_drops_clients_is_named() -> Result<()> {
    let lab = Lab::build(&Plan::pods(&["v1", "v2"]))?;
    let _second = SecondHost::join(&lab.network, &[], 1500)?;
    lab.folder.write("app.yaml", &Service { pods: service().pods[..2].to_vec(), ..service() }.to_yaml())?;
    let agent = lab.start()?;
    // The way back to the client leads by another device than the one that it comes by.
    lab.network.node.ip(&format!("route add {}/32 dev {FABRIC}\n", CLIENT.v4))?;
    lab.network.node.sysctl("net/ipv4/conf/eth0/rp_filter", "1")?;

    let checked = agent.check()?;

    let named = said(&checked, "ways to Pods").join("\n");
    assert!(named.starts_with("fail") && named.contains("rp_filter"), "{checked:#?}");
    Ok(())
}
