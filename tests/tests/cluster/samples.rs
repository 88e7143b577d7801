//! The samples that TKE's documents show work as they are written, and connections arrive exactly by weight.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;
use beeline_tests::cluster::Sandbox;
use gateway_common::Protocol;

use crate::ground;

/// What of the example is the test's; the address pool is all tests'.
const HTTPBIN: [&str; 4] = ["service.yaml", "deployments.yaml", "upstream.yaml", "gateway.yaml"];
/// Connections through each node: 5 + 3 + 1 for each of three Pods, twenty times.
const CONNECTIONS: u64 = 540;

#[test]
fn httpbin_gets_its_connections_by_weight_through_each_node() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "httpbin")?;
    sandbox.apply_example("examples/httpbin", &HTTPBIN)?;
    sandbox.make_dual_stack("httpbin")?;

    let addresses = sandbox.gateway_addresses("httpbin")?;
    let pods = sandbox.pods("app=httpbin")?;

    assert_eq!((addresses.len(), pods.len()), (2, 9), "{addresses:?} {pods:?}");
    for node in cluster.nodes() {
        for address in &addresses {
            let shares = cluster.shares(node, Protocol::TCP, SocketAddr::new(*address, 80), &pods, 80, CONNECTIONS)?;

            assert!(shares.is_exact(), "{shares:?}");
            let received: BTreeSet<_> = shares.pods.iter().map(|share| (share.weight, share.received)).collect();
            assert_eq!(received, [(5, 100), (3, 60), (1, 20)].into());
        }
    }
    Ok(())
}

#[test]
fn kubectl_shows_where_httpbin_is_and_how_it_is() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "shown")?;
    sandbox.apply_example("examples/httpbin", &HTTPBIN)?;
    let addresses = sandbox.gateway_addresses("httpbin")?;
    sandbox.wait("tcproute/httpbin", "jsonpath={.status.parents[0].conditions[?(@.type=='Accepted')].status}=True")?;
    sandbox.wait("upstream/httpbin", "condition=ResolvedRefs")?;

    let shown = sandbox.kubectl(&["get", "gateways,upstreams,services"])?;

    let gateway = shown.lines().find(|line| line.starts_with("gateway.gateway.networking.k8s.io/httpbin"));
    let gateway = gateway.unwrap_or_default();
    assert!(gateway.contains("True") && gateway.contains(&addresses[0].to_string()), "{shown}");
    assert!(shown.contains("upstream.beeline.dev/httpbin"), "{shown}");
    Ok(())
}

#[test]
fn a_service_with_tencents_annotation_leads_to_all_pods_through_each_node() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "direct")?;
    sandbox.apply_example("examples/direct", &["nginx.yaml"])?;

    let addresses = sandbox.service_addresses("nginx-service-eni")?;
    let pods = sandbox.pods("app=nginx")?;

    assert!(!addresses.is_empty());
    assert_eq!(pods.len(), 3);
    for node in cluster.nodes() {
        for address in &addresses {
            let shares = cluster.shares(node, Protocol::TCP, SocketAddr::new(*address, 80), &pods, 80, 60)?;

            assert!(shares.is_exact(), "{shares:?}");
        }
    }
    Ok(())
}
