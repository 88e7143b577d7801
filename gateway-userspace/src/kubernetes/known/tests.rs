//! Orders in which changes arrive, and what is known afterwards. No server, no time.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceSpec, ServiceStatus};

use super::*;
use crate::source::pod::PodBody;
use crate::source::remote::LinkHealth;
use crate::source::{Entry, Labels, Name, Object, Origin, Pod};

const NODES: Scope = Scope::All(Kind::Node);
const PODS: Scope = Scope::All(Kind::Pod);

fn id(kind: Kind, name: &str) -> ObjectId {
    let namespace = if kind.is_namespaced() { "shop" } else { "" };
    ObjectId { kind, name: Name::new(namespace, name) }
}

fn origin() -> Origin {
    Origin { file: "".into(), document: 0, line: 0 }
}

fn node(name: &str) -> Item {
    let object = Object::Node(Arc::new(Labels::default()));
    Item::Good(Entry { id: id(Kind::Node, name), origin: origin(), object }, vec![], None)
}

fn bad(name: &str) -> Item {
    let id = id(Kind::Node, name);
    let problem = origin().error(&id, "metadata.labels", "is not a map");
    Item::Bad(id, vec![problem])
}

fn pod(name: &str, uid: &str, version: u64, body: Option<bool>) -> Item {
    let body = body.map(|terminal| Box::new(PodBody { terminal, ..PodBody::default() }));
    let pod = Pod { uid: Some(uid.into()), version, body, ..Pod::default() };
    Item::Good(Entry { id: id(Kind::Pod, name), origin: origin(), object: Object::Pod(pod.into()) }, vec![], None)
}

fn body(known: &Known, name: &str) -> Option<bool> {
    known.objects().pods[&Name::new("shop", name)].object.body.as_ref().map(|body| body.terminal)
}

#[test]
fn objects_that_a_new_list_does_not_have_are_gone() {
    let mut known = Known::awaiting([NODES]);
    assert!(known.objects().incomplete);

    assert!(known.apply(Change::Replace(NODES, vec![node("a"), node("b")])));
    assert!(!known.objects().incomplete);
    assert!(!known.apply(Change::Replace(NODES, vec![node("a"), node("b")])));
    assert!(known.apply(Change::Replace(NODES, vec![node("b")])));

    assert_eq!(known.objects().names(Kind::Node), [Name::new("", "b")]);
}

#[test]
fn an_object_that_becomes_bad_keeps_its_last_good_version_through_lists_too() {
    let mut known = Known::awaiting([]);
    known.apply(Change::Apply(NODES, node("a")));

    assert!(known.apply(Change::Apply(NODES, bad("a"))));
    known.apply(Change::Replace(NODES, vec![bad("a")]));

    assert_eq!(known.objects().names(Kind::Node).len(), 1);
    assert_eq!(
        known.problems()[0].to_string(),
        "Node a: metadata.labels: is not a map; its last good version keeps serving"
    );
    known.apply(Change::Apply(NODES, node("a")));
    assert!(known.problems().is_empty());
}

#[test]
fn an_object_that_never_was_good_is_rejected_until_it_is_gone() {
    let mut known = Known::awaiting([]);

    known.apply(Change::Apply(NODES, bad("a")));
    assert!(known.objects().rejected.contains(&id(Kind::Node, "a")) && known.objects().incomplete);

    known.apply(Change::Replace(NODES, vec![]));
    assert!(known.objects().rejected.is_empty() && !known.objects().incomplete && known.problems().is_empty());
}

#[test]
fn a_watch_that_fails_takes_nothing_away() {
    let mut known = Known::awaiting([NODES]);
    known.apply(Change::Replace(NODES, vec![node("a")]));

    assert!(known.apply(Change::Health(NODES, Err("down".into()))));

    assert_eq!(known.failures()[&NODES], "down");
    assert_eq!(known.objects().nodes.len(), 1);
    assert!(known.apply(Change::Health(NODES, Ok(()))));
    assert!(known.failures().is_empty());
}

#[test]
fn a_local_pod_is_as_new_as_the_newer_of_its_two_halves() {
    let mut known = Known::awaiting([]);
    known.apply(Change::Apply(Scope::LocalPods, pod("a", "1", 5, Some(false))));
    assert!(known.objects().pods.is_empty());

    assert!(known.apply(Change::Apply(PODS, pod("a", "1", 4, None))));
    assert_eq!((body(&known, "a"), known.pod_revision()), (Some(false), 4));

    assert!(!known.apply(Change::Apply(PODS, pod("a", "1", 7, None))), "nothing but the version differs");
    assert_eq!((body(&known, "a"), known.pod_revision()), (Some(false), 6));

    assert!(known.apply(Change::Apply(Scope::LocalPods, pod("a", "1", 7, Some(true)))));
    assert_eq!((body(&known, "a"), known.pod_revision()), (Some(true), 7));
}

#[test]
fn a_pod_that_either_watch_has_seen_go_is_gone() {
    for scope in [PODS, Scope::LocalPods] {
        let mut known = Known::awaiting([]);
        known.apply(Change::Apply(PODS, pod("a", "1", 5, None)));
        known.apply(Change::Apply(Scope::LocalPods, pod("a", "1", 5, Some(false))));

        assert!(known.apply(Change::Delete(scope, id(Kind::Pod, "a"))));
        assert!(known.objects().pods.is_empty());
    }
}

#[test]
fn a_pod_that_takes_the_name_of_another_is_not_taken_for_it() {
    let mut known = Known::awaiting([]);
    known.apply(Change::Apply(PODS, pod("a", "1", 5, None)));
    known.apply(Change::Apply(Scope::LocalPods, pod("a", "1", 5, Some(true))));

    known.apply(Change::Apply(PODS, pod("a", "2", 9, None)));
    assert_eq!(body(&known, "a"), None);
    assert!(!known.apply(Change::Delete(Scope::LocalPods, id(Kind::Pod, "a"))));
    assert_eq!(known.objects().pods.len(), 1);

    known.apply(Change::Apply(Scope::LocalPods, pod("a", "2", 9, Some(false))));
    assert_eq!(body(&known, "a"), Some(false));
}

#[test]
fn a_linked_cluster_keeps_what_is_known_until_the_link_goes() {
    let mut known = Known::awaiting([]);
    let over = |change| Change::Remote("east".into(), Box::new(change));
    let shop = Scope::Within(Kind::Pod, "shop".into());
    known.apply(over(Change::Replace(shop.clone(), vec![pod("a", "1", 1, None), pod("b", "2", 1, None)])));

    assert!(known.apply(over(Change::Delete(shop, id(Kind::Pod, "b")))));
    assert!(!known.apply(over(Change::Replace(Scope::Within(Kind::Pod, "market".into()), vec![]))));
    let health = LinkHealth { failure: Some("down".into()), ..LinkHealth::default() };
    assert!(known.apply(Change::Link("east".into(), health.clone())));

    let remote = &known.objects().remotes["east"];
    assert_eq!((remote.objects.pods.len(), &remote.health), (1, &health));
    assert!(known.apply(Change::Unlink("east".into())));
    assert!(known.objects().remotes.is_empty());
}

/// A Service of a class, of which the status says this address.
fn service(class: &str, address: &str) -> Change {
    let ingress = LoadBalancerIngress { ip: Some(address.to_string()), ..LoadBalancerIngress::default() };
    let status = ServiceStatus {
        load_balancer: Some(LoadBalancerStatus { ingress: Some(vec![ingress]) }),
        ..ServiceStatus::default()
    };
    let spec = ServiceSpec { load_balancer_class: Some(class.to_string()), ..ServiceSpec::default() };
    let service = Service { spec: Some(spec), status: Some(status), ..Service::default() };
    let object = Object::Service(service.into());
    let entry = Entry { id: id(Kind::Service, "a"), origin: origin(), object };
    Change::Apply(Scope::All(Kind::Service), Item::Good(entry, vec![], None))
}

#[test]
fn a_service_of_which_only_the_status_is_new_is_told_apart() {
    let mut known = Known::awaiting([]);
    known.apply(service("ours", "192.0.2.1"));
    assert_eq!(known.take_news(), News::Everything);

    assert!(!known.apply(service("ours", "192.0.2.1")));
    assert_eq!(known.take_news(), News::default());

    assert!(known.apply(service("ours", "192.0.2.2")));
    let statuses = BTreeSet::from([Name::new("shop", "a")]);
    assert_eq!(known.take_news(), News::Services(ServiceNews { statuses, ..ServiceNews::default() }));

    assert!(known.apply(service("theirs", "192.0.2.3")));
    assert_eq!(known.take_news(), News::Everything);
}

fn secret(name: &str) -> (Scope, Item) {
    let id = id(Kind::Secret, name);
    let object = Object::Secret(Arc::new(crate::source::Secret(Err("it has no tls.crt".to_string()))));
    let scope = Scope::Named(Kind::Secret, Arc::new(id.name.clone()));
    (scope, Item::Good(Entry { id, origin: origin(), object }, vec![], None))
}

#[test]
fn an_object_that_something_refers_to_is_awaited_and_forgotten_when_nothing_does() {
    let mut known = Known::awaiting([]);
    let (scope, item) = secret("a");

    known.refer(&[scope.clone()].into());
    assert!(known.objects().incomplete && known.missing().contains(&scope));
    assert!(known.apply(Change::Replace(scope.clone(), vec![item.clone()])));
    assert!(!known.objects().incomplete && known.objects().secrets.len() == 1);

    known.refer(&BTreeSet::new());
    assert!(known.objects().secrets.is_empty());
    assert!(!known.apply(Change::Apply(scope, item)), "what a watch that has ended tells late");
    assert!(known.objects().secrets.is_empty());
}

#[test]
fn an_object_that_was_not_wanted_for_a_moment_is_another_wish() {
    let mut known = Known::awaiting([]);
    let ((a, _), (b, _)) = (secret("a"), secret("b"));
    let first = known.refer(&[a.clone(), b.clone()].into()).clone();

    known.refer(&[b.clone()].into());
    let second = known.refer(&[a.clone(), b.clone()].into()).clone();

    assert_ne!(first[&a], second[&a]);
    assert_eq!(first[&b], second[&b]);
}

#[test]
fn one_object_that_cannot_be_read_holds_up_no_other() {
    let mut known = Known::awaiting([]);
    let ((a, _), (b, item)) = (secret("a"), secret("b"));
    known.refer(&[a.clone(), b.clone()].into());

    known.apply(Change::Replace(b, vec![item]));
    assert!(known.apply(Change::Health(a.clone(), Err("forbidden".to_string()))));

    assert!(!known.objects().incomplete && known.failures().contains_key(&a));
    assert_eq!(known.objects().names(Kind::Secret), [Name::new("shop", "b")]);
}
