//! The agents may do what they need, and nothing that would harm a cluster if an agent fell into wrong hands.

use std::time::Duration;

use anyhow::Result;
use beeline_tests::cluster::{AGENT, Cluster, SYSTEM};
use beeline_tests::wait;

use crate::installed;

/// How long an API server may take to know of a policy.
const POLICY_LIMIT: Duration = Duration::from_secs(30);

/// Whether the agents may do it, by what the API server says.
fn may(cluster: &Cluster, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let user = format!("--as={AGENT}");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    // `no` is also the exit code 1.
    let words = ["auth", "can-i", verb, resource, &subresource, &user, "--namespace", namespace];
    match cluster.kubectl().ask(&words) {
        Ok(_) => Ok(true),
        Err(error) if format!("{error:#}").contains(": no") => Ok(false),
        Err(error) => Err(error),
    }
}

#[test]
fn agents_may_read_what_says_where_traffic_goes_and_write_its_status() -> Result<()> {
    let cluster = installed()?;
    let read = [
        "services",
        "pods",
        "nodes",
        "namespaces",
        "endpointslices.discovery.k8s.io",
        "gateways.gateway.networking.k8s.io",
        "tcproutes.gateway.networking.k8s.io",
        "httproutes.gateway.networking.k8s.io",
        "listenersets.gateway.networking.k8s.io",
        "ingresses.networking.k8s.io",
        "ingressclasses.networking.k8s.io",
        "backendtlspolicies.gateway.networking.k8s.io",
        "secrets",
        "configmaps",
        "upstreams.beeline.dev",
        "addresspools.beeline.dev",
        "clusterlinks.beeline.dev",
        "customresourcedefinitions.apiextensions.k8s.io",
    ];
    let written = [
        "services/status",
        "pods/status",
        "gateways.gateway.networking.k8s.io/status",
        "udproutes.gateway.networking.k8s.io/status",
        "httproutes.gateway.networking.k8s.io/status",
        "listenersets.gateway.networking.k8s.io/status",
        "ingresses.networking.k8s.io/status",
        "backendtlspolicies.gateway.networking.k8s.io/status",
        "upstreams.beeline.dev/status",
        "clusterlinks.beeline.dev/status",
    ];

    for resource in read {
        assert!(may(cluster, "watch", resource, "default")?, "watch {resource}");
    }
    for resource in written {
        assert!(may(cluster, "patch", resource, "default")?, "patch {resource}");
    }
    assert!(may(cluster, "create", "events.events.k8s.io", "default")?);
    assert!(may(cluster, "update", "leases.coordination.k8s.io", SYSTEM)?);
    assert!(may(cluster, "get", "secrets", SYSTEM)?);
    Ok(())
}

#[test]
fn agents_may_change_nothing_that_they_follow() -> Result<()> {
    let cluster = installed()?;
    let refused = [
        ("patch", "secrets"),
        ("patch", "configmaps"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "pods"),
        ("delete", "pods"),
        ("patch", "nodes"),
        ("update", "gateways.gateway.networking.k8s.io"),
        ("patch", "upstreams.beeline.dev"),
        ("patch", "ingresses.networking.k8s.io"),
        ("update", "leases.coordination.k8s.io"),
        ("create", "serviceaccounts/token"),
        ("impersonate", "users"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ];

    for (verb, resource) in refused {
        assert!(!may(cluster, verb, resource, "default")?, "{verb} {resource}");
    }
    for (verb, resource) in
        [("create", "secrets"), ("patch", "secrets"), ("create", "pods"), ("patch", "daemonsets.apps")]
    {
        assert!(!may(cluster, verb, resource, SYSTEM)?, "{verb} {resource} in {SYSTEM}");
    }
    Ok(())
}

#[test]
fn agents_may_be_the_author_of_no_service_but_those_that_stand_for_gateways() -> Result<()> {
    let cluster = installed()?;
    let user = format!("--as={AGENT}");
    let attempts: [&[&str]; 3] = [
        &["annotate", "service", "kubernetes", "a=b", "--namespace=default"],
        &["delete", "service", "kubernetes", "--namespace=default"],
        &["create", "service", "clusterip", "stray", "--tcp=80", "--namespace=default"],
    ];

    for attempt in attempts {
        let mut words = attempt.to_vec();
        words.extend([user.as_str(), "--dry-run=server"]);
        let refused = || {
            let error = cluster.kubectl().ask(&words).err()?;
            format!("{error:#}").contains("beeline-agent-services").then_some(())
        };
        wait::until(&format!("`kubectl {}` is refused to an agent", attempt.join(" ")), POLICY_LIMIT, refused)?;
    }
    Ok(())
}
