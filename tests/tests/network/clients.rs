//! Clients: `sessionAffinity` keeps one at its Pod as long as that gets new connections, `loadBalancerSourceRanges`
//! says who may begin any.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use beeline_tests::client;
use beeline_tests::lab::Lab;
use beeline_tests::long_lived::LongLived;
use beeline_tests::manifests::Service;
use beeline_tests::netns::Namespace;
use beeline_tests::topology::{CLIENT, VIP};
use beeline_tests::wait;

/// How long a change of manifests may take to be followed.
const LIMIT: Duration = Duration::from_secs(5);
const ECHO: u16 = 9000;

/// The Service with one more line in its spec.
fn with_spec(service: &Service, line: &str) -> String {
    service.to_yaml().replacen("spec:\n", &format!("spec:\n  {line}\n"), 1)
}

/// The number of the Pod that answers this many connections, each after the other's end.
fn only_pod(from: &Namespace, target: SocketAddr, count: usize) -> Result<usize> {
    let mut pods = Vec::new();
    for _ in 0..count {
        let answered = client::connections(from, target, 1)?;
        pods.extend(answered.by_pod.into_keys());
    }
    let first = pods.first().context("nobody answered")?.clone();
    assert_eq!(pods, vec![first.clone(); count]);
    first.trim_start_matches('v').parse().with_context(|| format!("`{first}` is no Pod of ours"))
}

/// Weights of two Pods of which one, counted from 1, gets nothing.
fn without(pod: usize) -> Service {
    Service::weighted(VIP, if pod == 1 { &[0, 1] } else { &[1, 0] })
}

#[test]
fn a_client_stays_at_its_pod_until_that_gets_no_new_connections() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let sticky = "sessionAffinity: ClientIP";
    lab.folder.write("app.yaml", &with_spec(&Service::weighted(VIP, &[1, 1]), sticky))?;
    let agent = lab.start()?;
    let from = &lab.network.client;
    assert!(agent.dump()?.contains("affinity 3h"));
    for target in VIP.sockets(8000) {
        let pod = only_pod(from, target, 10)?;

        lab.folder.write("app.yaml", &with_spec(&without(pod), sticky))?;

        let moved = || (only_pod(from, target, 1).ok()? != pod).then_some(());
        wait::until("the client has moved", LIMIT, moved)?;
        assert_ne!(only_pod(from, target, 10)?, pod);
    }
    Ok(())
}

#[test]
fn an_agent_that_starts_forgets_clients_of_a_pod_that_lost_its_weight_meanwhile_and_no_others() -> Result<()> {
    let lab = Lab::weighted(&[1, 1])?;
    let sticky = "sessionAffinity: ClientIP";
    lab.folder.write("app.yaml", &with_spec(&Service::weighted(VIP, &[1, 1]), sticky))?;
    let mut agent = lab.start()?;
    let (from, target) = (&lab.network.client, VIP.sockets(8000)[0]);
    let pod = only_pod(from, target, 5)?;

    agent.kill()?;
    agent.start()?;
    assert_eq!((only_pod(from, target, 5)?, agent.writes()?), (pod, 0));

    agent.kill()?;
    lab.folder.write("app.yaml", &with_spec(&without(pod), sticky))?;
    assert_eq!(only_pod(from, target, 5)?, pod, "nobody has followed the change");
    agent.start()?;
    assert_ne!(only_pod(from, target, 5)?, pod);
    Ok(())
}

#[test]
fn only_clients_of_the_source_ranges_begin_connections_and_others_keep_theirs() -> Result<()> {
    let lab = Lab::weighted(&[1])?;
    let mut agent = lab.start()?;
    let from = &lab.network.client;
    let service = Service::weighted(VIP, &[1]);
    let connections = LongLived::open(from, VIP.sockets(ECHO)[0], 2)?;

    let elsewhere = "loadBalancerSourceRanges: [192.0.2.0/30, \"2001:db8:ffff::/48\"]";
    lab.folder.write("app.yaml", &with_spec(&service, elsewhere))?;
    agent.wait_for_dump("the ranges are programmed", |dump| dump.contains("sources 192.0.2.0/30\n"))?;

    for target in VIP.sockets(8000) {
        assert_eq!(client::connections(from, target, 1)?.answered(), 0);
    }
    assert!(agent.drops("source_denied")? > 0);
    connections.wait_for_progress()?;
    agent.kill()?;
    agent.start()?;
    assert_eq!(agent.writes()?, 0, "the ranges were read back");

    let here = format!("loadBalancerSourceRanges: [{}/32, \"{}/128\"]", CLIENT.v4, CLIENT.v6);
    lab.folder.write("app.yaml", &with_spec(&service, &here))?;
    agent.wait_for_dump("the other ranges are programmed", |dump| {
        dump.contains(&format!("sources {}/128", CLIENT.v6))
    })?;
    for target in VIP.sockets(8000) {
        assert_eq!(client::connections(from, target, 4)?.answered(), 4);
    }
    assert!(connections.finish()?.broken.is_empty());
    Ok(())
}
