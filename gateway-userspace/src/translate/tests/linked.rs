//! Upstreams over several clusters, and what their status and that of the links say.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use gateway_common::Place;

use super::*;
use crate::source::remote::LinkHealth;
use crate::source::{Name, Remote};
use crate::translate::statuses::Condition;

fn link(name: &str, allowed: &str, remote: &str) -> String {
    format!(
        "apiVersion: beeline.dev/v1alpha1\nkind: ClusterLink\nmetadata: {{name: {name}, generation: 2}}\nspec: \
         {{kubeconfigSecretRef: {{name: {name}}}, allowedNamespaces: [{allowed}], remoteNamespaces: [{remote}]}}\n---\n"
    )
}

const SYNCED: LinkHealth = LinkHealth { unauthorized: None, synced: true, received: BTreeSet::new(), failure: None };

/// This cluster's manifests and those of another, `east`.
fn with_east(here: &str, there: &str, health: LinkHealth) -> Objects {
    let mut both = objects(here);
    both.remotes.insert("east".to_string(), Remote { objects: objects(there), health });
    both
}

fn all_statuses(objects: &Objects) -> (Statuses, Vec<String>) {
    let translation = translate(objects, &Options::default());
    let problems = problems(&translation);
    (translation.statuses, problems)
}

fn conditions(out: &mut String, conditions: &[Condition]) {
    for Condition { kind, truth, reason, message } in conditions {
        writeln!(out, "  {kind}={} {reason}: {message}", truth.name()).unwrap();
    }
}

fn upstreams_text(statuses: &Statuses) -> String {
    let mut out = String::new();
    for (name, upstream) in &statuses.upstreams {
        writeln!(out, "{name} {}/{}", upstream.ready, upstream.total).unwrap();
        for backend in &upstream.backends {
            let cluster = backend.cluster.as_deref().unwrap_or("here");
            let ready = if backend.ready { "ready" } else { "not ready" };
            writeln!(out, "  {cluster} {} {} {} {ready}", backend.name, backend.address, backend.weight).unwrap();
        }
        conditions(&mut out, &upstream.status.conditions[1..]);
    }
    out
}

const ENTRIES: [&str; 2] =
    ["{name: web, port: 8000, weight: 5}", "{name: web, port: 8000, weight: 7, clusterRef: {name: east}}"];

#[test]
fn the_backends_of_all_clusters_stand_in_the_status_and_get_traffic_by_their_weights() {
    let here = upstream("all", "", &ENTRIES)
        + &link("east", "shop", "shop")
        + &plain_service("shop", "web", 8000)
        + &pod("shop", "h1", "web", "10.1.0.1", "", "")
        + &gateway("edge", "10.96.0.2", &["{name: tcp, port: 80, protocol: TCP}"])
        + &route("TCPRoute", "shop", "r", "{name: edge}", &["{group: beeline.dev, kind: Upstream, name: all}"]);
    let not_ready = "  conditions: [{type: Ready, status: \"False\"}]\n";
    let there = plain_service("shop", "web", 8000)
        + &pod("shop", "e1", "web", "10.2.0.1", "", "")
        + &pod("shop", "e2", "web", "10.2.0.2", "  annotations: {beeline.dev/weight: \"1\"}\n", "")
        + &pod("shop", "e3", "web", "10.2.0.3", "", not_ready);

    let translation = translate(&with_east(&here, &there, SYNCED), &Options::default());

    let expected = [("shop/e1", 7), ("shop/e2", 1), ("shop/e3", 0), ("shop/h1", 5)];
    assert_eq!(weights(&translation), BTreeMap::from(expected));
    assert_eq!(
        upstreams_text(&translation.statuses),
        "shop/all 3/4\n  here shop/h1 10.1.0.1:8080 5 ready\n  east shop/e1 10.2.0.1:8080 7 ready\n  \
         east shop/e2 10.2.0.2:8080 1 ready\n  east shop/e3 10.2.0.3:8080 0 not ready\n  \
         ResolvedRefs=True ResolvedRefs: every entry leads to a Service\n"
    );
    assert_eq!(problems(&translation), [""; 0]);
    let service = translation.model.services.values().next().unwrap();
    let here = service.groups[0].members.values().filter(|member| member.place == Place::Here);
    assert_eq!(here.map(|member| &*member.name).collect::<Vec<_>>(), ["shop/h1"]);
    assert_eq!(translation.model.living_pods.len(), 4, "those over there live as long as their Pods");
}

#[test]
fn each_of_the_links_lists_can_refuse_an_entry() {
    let there = plain_service("shop", "web", 8000);
    let reasons = |links: &str, health: LinkHealth| {
        let (statuses, problems) =
            all_statuses(&with_east(&(upstream("all", "", &ENTRIES[1..]) + links), &there, health));
        let [_, resolved] = &*statuses.upstreams[&Name::new("shop", "all")].status.conditions else {
            panic!("two conditions")
        };
        let problem = problems.first().cloned().unwrap_or_default().replace("document 1: Upstream shop/all: ", "");
        assert!(problem.is_empty() || resolved.message == problem, "{} is not {problem}", resolved.message);
        format!("{}: {problem}", resolved.reason)
    };

    assert_eq!(
        reasons("", SYNCED),
        "ClusterNotFound: spec.services[0].clusterRef.name: ClusterLink east does not exist: create it, or leave clusterRef \
         out for this cluster"
    );
    assert_eq!(
        reasons(&link("east", "bank", "shop"), SYNCED),
        "ClusterNotAllowed: spec.services[0].clusterRef.name: ClusterLink east is not open to `shop`: add it to its \
         allowedNamespaces"
    );
    assert_eq!(
        reasons(&link("east", "\"*\"", "bank"), SYNCED),
        "NamespaceNotLinked: spec.services[0].namespace: ClusterLink east does not link namespace `shop` over there: add it \
         to its remoteNamespaces"
    );
    assert_eq!(reasons(&link("east", "shop", "shop"), LinkHealth::default()), "ClusterNotConnected: ");
    let failed = LinkHealth { failure: Some("refused".to_string()), ..LinkHealth::default() };
    assert_eq!(
        reasons(&link("east", "shop", "shop"), failed),
        "ClusterNotConnected: spec.services[0].clusterRef.name: nothing is known of namespace shop of cluster east yet: look at \
         the conditions of ClusterLink east"
    );
    assert_eq!(reasons(&link("east", "\"*\"", "bank, shop"), SYNCED), "ResolvedRefs: ");
    let knows = |namespace: &str| {
        let received = BTreeSet::from([namespace.into()]);
        LinkHealth { failure: Some("bank is forbidden".to_string()), received, ..LinkHealth::default() }
    };
    assert_eq!(reasons(&link("east", "shop", "bank, shop"), knows("shop")), "ResolvedRefs: ");
    assert!(reasons(&link("east", "shop", "bank, shop"), knows("bank")).starts_with("ClusterNotConnected: "));
}

#[test]
fn a_service_that_is_missing_over_there_is_named_with_its_cluster() {
    let here = upstream("all", "", &[ENTRIES[1], "{name: api, port: 1, clusterRef: {name: east}}"])
        + &link("east", "shop", "shop");

    let (statuses, _) = all_statuses(&with_east(&here, &plain_service("shop", "api", 8000), SYNCED));

    assert_eq!(
        upstreams_text(&statuses),
        "shop/all 0/0\n  ResolvedRefs=False ServiceNotFound: spec.services[0].name: Service shop/web does not exist in cluster \
         east: create it or correct the name; spec.services[1].port: Service shop/api has no port 1: use one of 8000\n"
    );
}

#[test]
fn an_upstream_whose_own_grants_are_missing_says_so_though_nobody_refers_to_it() {
    let here = upstream("all", "", &["{name: web, namespace: bank, port: 8000}"]) + &plain_service("bank", "web", 8000);

    let (statuses, problems) = all_statuses(&objects(&here));

    assert!(upstreams_text(&statuses).contains("ResolvedRefs=False RefNotPermitted"));
    assert_eq!(problems.len(), 1);
}

#[test]
fn what_ends_everywhere_stands_in_only_if_no_cluster_has_a_ready_backend() {
    let ends = "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n";
    let here = |metadata: &str| {
        upstream("all", "", &ENTRIES)
            + &link("east", "shop", "shop")
            + &plain_service("shop", "web", 8000)
            + &pod("shop", "h1", "web", "10.1.0.1", metadata, "")
    };
    let there = plain_service("shop", "web", 8000) + &pod("shop", "e1", "web", "10.2.0.1", ends, "");
    let ready = |here: &str| {
        let (statuses, _) = all_statuses(&with_east(here, &there, SYNCED));
        let upstream = &statuses.upstreams[&Name::new("shop", "all")];
        upstream.backends.iter().map(|backend| (backend.name.clone(), backend.weight)).collect::<Vec<_>>()
    };

    assert_eq!(ready(&here("")), [("shop/h1".to_string(), 5), ("shop/e1".to_string(), 0)]);
    assert_eq!(ready(&here(ends)), [("shop/h1".to_string(), 5), ("shop/e1".to_string(), 7)]);
}

#[test]
fn a_links_status_says_whether_its_credentials_are_used_and_news_come() {
    let says = |health: Option<LinkHealth>| {
        let mut objects = with_east(&link("east", "shop", "shop"), &plain_service("shop", "web", 1), SYNCED);
        match health {
            Some(health) => objects.remotes.get_mut("east").unwrap().health = health,
            None => objects.remotes.clear(),
        }
        let statuses = translate(&objects, &Options::default()).statuses.cluster_links;
        let status = &statuses[&Name::new("", "east")];
        assert_eq!(status.status.generation, 2);
        let mut out = format!("{}\n", status.services);
        conditions(&mut out, &status.status.conditions);
        out
    };

    assert_eq!(
        says(Some(SYNCED)),
        "1\n  Authorized=True Authorized: the credentials are used\n  Connected=True Connected: changes over there are followed\n"
    );
    let lost = LinkHealth { failure: Some("connection refused".to_string()), ..SYNCED };
    assert_eq!(
        says(Some(lost)),
        "1\n  Authorized=True Authorized: the credentials are used\n  Connected=False Unreachable: connection refused: the last \
         known backends are kept\n"
    );
    let unsafe_kubeconfig = LinkHealth { unauthorized: Some(("UnsafeKubeconfig", "has exec".to_string())), ..SYNCED };
    assert_eq!(
        says(Some(unsafe_kubeconfig)),
        "1\n  Authorized=False UnsafeKubeconfig: has exec\n  Connected=False Unauthorized: there are no credentials to be used: \
         the last known backends are kept\n"
    );
    assert_eq!(
        says(None),
        "0\n  Authorized=Unknown Pending: the credentials have not been looked at yet\n  Connected=Unknown Pending: the cluster \
         has not been asked yet\n"
    );
}
