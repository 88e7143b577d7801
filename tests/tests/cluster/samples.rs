//! The samples that TKE's documents show work as they are written, and connections arrive exactly by weight.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use beeline_tests::cluster::Sandbox;
use beeline_tests::wait;
use gateway_common::Protocol;

use crate::ground;

/// What of the example is the test's; the address pool is all tests'.
const HTTPBIN: [&str; 4] = ["service.yaml", "deployments.yaml", "upstream.yaml", "gateway.yaml"];
/// Connections through each node: 5 + 3 + 1 for each of three Pods, twenty times.
const CONNECTIONS: u64 = 540;

/// How long a node may take to serve what the API server says is served, and an event to be written.
const LIMIT: Duration = Duration::from_secs(30);

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

#[test]
fn an_ingress_with_tencents_annotation_has_an_address_of_its_own_and_leads_to_all_pods_through_each_node() -> Result<()>
{
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "ingress")?;
    sandbox.apply_example("examples/direct", &["nginx.yaml"])?;
    sandbox.make_dual_stack("nginx-service-eni")?;
    sandbox.apply_example("examples/ingress", &["direct.yaml"])?;
    sandbox.apply(&of_class("shared", "/"))?;

    let addresses = sandbox.ingress_addresses("test-ingress")?;
    let shared = sandbox.ingress_addresses("shared")?;
    let pods = sandbox.pods("app=nginx")?;

    assert_eq!((addresses.len(), pods.len()), (2, 3), "{addresses:?} {pods:?}");
    assert!(shared.iter().all(|address| !addresses.contains(address)), "{shared:?} {addresses:?}");
    for node in cluster.nodes() {
        for address in addresses.iter().chain(&shared) {
            let frontend = SocketAddr::new(*address, 80);
            let is_served = || cluster.connections_by(node, frontend, 1).ok().filter(|one| one.answered() == 1);
            wait::until(&format!("{} answers at {frontend}", node.name), LIMIT, is_served)?;

            let distribution = cluster.connections_by(node, frontend, 60)?;

            assert!(pods.iter().all(|pod| distribution.of(&pod.name) == 20), "{distribution:?}");
        }
    }
    Ok(())
}

#[test]
fn the_younger_of_two_ingresses_with_one_path_has_an_event_that_names_the_older() -> Result<()> {
    let cluster = ground()?;
    let sandbox = Sandbox::create(&cluster, "rivals")?;
    sandbox.apply(&of_class("a-older", "/rivals"))?;
    sandbox.ingress_addresses("a-older")?;
    sandbox.apply(&of_class("b-younger", "/rivals"))?;

    let told = || {
        let selector = [
            "get",
            "events",
            "--field-selector=involvedObject.name=b-younger",
            "--output=jsonpath={.items[*].message}",
        ];
        sandbox.kubectl(&selector).ok().filter(|message| message.contains("Ingress rivals/a-older already has /rivals"))
    };

    wait::until("an event names the older", LIMIT, told).map(drop)
}

/// An Ingress of the class, for every host; it leads to the Service of the sample.
fn of_class(name: &str, path: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  ingressClassName: beeline\n  \
         rules:\n  - http:\n      paths:\n      - path: {path}\n        pathType: Prefix\n        \
         backend: {{service: {{name: nginx-service-eni, port: {{number: 80}}}}}}\n"
    )
}
