//! What is said of a request that nobody has sent, on the snapshot that is served.

use std::net::SocketAddr;
use std::sync::Arc;

use super::sites::{clear, listener, route, rule, site, tls_route, to, to_pod};
use super::support::Gateway;
use super::tls::Authority;
use crate::http::explain::{Answer, BadQuestion, Explained, Question, explain};
use crate::model::http::{Filter, Handling, HeaderChanges, PathChange, Redirect, Rewrite, Rule, Site, Termination};

fn pod(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 80))
}

fn question(host: &str, path: &str) -> Question {
    Question {
        address: None,
        port: None,
        is_secure: false,
        server_name: None,
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
    }
}

fn ask(site: Site, question: &Question) -> Explained {
    let gateway = Gateway::new(site);
    let Answer { mut frontends, .. } = explain(&gateway.live.load(), question).unwrap();
    assert_eq!(frontends.len(), 1);
    frontends.remove(0)
}

fn secure(certificate_names: &[&str], listeners: &[(&str, Handling)]) -> Site {
    let termination = Arc::new(Termination {
        certificates: vec![Authority::new().certificate(certificate_names)],
        client_validation: None,
    });
    site(listeners.iter().map(|(host, handling)| {
        let handling = match handling {
            Handling::Http(routes) => Handling::Https(Arc::clone(&termination), routes.clone()),
            other => other.clone(),
        };
        listener(&format!("web/{host}"), Some(host), handling)
    }))
}

#[tokio::test]
async fn both_levels_of_weight_make_a_pods_share() {
    let mut stable = to(&[(pod(1), 5), (pod(2), 3)]);
    stable.group.weight = 9;
    let explained = ask(clear(rule([stable, to_pod(pod(3))])), &question("shop.example", "/"));

    let met = explained.met.expect("a route");
    let shares: Vec<_> = (met.destinations.iter())
        .flat_map(|destination| &destination.members)
        .map(|member| (member.address, member.share_percent, member.passed_over.clone()))
        .collect();
    assert_eq!(shares, [(pod(1), 56.25, None), (pod(2), 33.75, None), (pod(3), 10.0, None)]);
    assert_eq!((met.route.as_str(), met.rule, explained.verdict.name.as_str()), ("HTTPRoute shop/web", 0, "forwarded"));
}

#[tokio::test]
async fn it_is_said_what_backends_see_after_the_filters_of_the_rule_and_of_the_reference() {
    let set = |name: &str| HeaderChanges { set: vec![(name.to_owned(), "1".to_owned())], ..HeaderChanges::default() };
    let path = Some(PathChange::Prefix("/new".to_owned()));
    let mut own = to_pod(pod(1));
    own.host_header = Some("inside.example".to_owned());
    own.filters = vec![Filter::RequestHeaders(set("x-own"))];
    let rewrite = Filter::Rewrite(Rewrite { hostname: None, path });
    let site = clear(Rule { filters: vec![rewrite, Filter::RequestHeaders(set("x-all"))], ..rule([own]) });

    let explained = ask(site, &question("shop.example", "/old/x?y=1"));

    let destination = &explained.met.expect("a route").destinations[0];
    assert_eq!(destination.path.as_deref(), Some("/new/old/x?y=1"));
    assert_eq!(destination.host.as_deref(), Some("inside.example"));
    assert_eq!(destination.headers, ["x-all: 1", "x-own: 1"]);
}

#[tokio::test]
async fn a_redirect_is_the_answer_and_no_backend_is_named() {
    let redirect = Redirect { scheme: Some("https".to_owned()), hostname: None, port: None, path: None, status: 301 };
    let site = clear(Rule { filters: vec![Filter::Redirect(redirect)], ..rule([]) });

    let explained = ask(site, &question("shop.example", "/a"));

    assert_eq!(explained.verdict.status, Some(301));
    assert!(explained.verdict.text.ends_with("to https://shop.example/a"), "{}", explained.verdict.text);
    assert!(explained.met.expect("a route").destinations.is_empty());
}

#[tokio::test]
async fn within_tls_the_name_chooses_the_listener_and_another_ones_host_is_misdirected() {
    let site = || {
        let http = |pod| Handling::Http(vec![route(rule([to_pod(pod)]))]);
        secure(&["a.example", "b.example"], &[("a.example", http(pod(1))), ("b.example", http(pod(2)))])
    };
    let with_name =
        |name: &str| Question { is_secure: true, server_name: Some(name.to_owned()), ..question("a.example", "/") };

    assert_eq!(ask(site(), &with_name("A.example")).verdict.name, "forwarded");
    let misdirected = ask(site(), &with_name("b.example"));
    assert_eq!((misdirected.verdict.name.as_str(), misdirected.verdict.status), ("misdirected", Some(421)));
    assert_eq!(ask(site(), &with_name("c.example")).verdict.name, "no_listener");
    assert_eq!(ask(site(), &question("a.example", "/")).verdict.name, "tls_handshake");
}

#[tokio::test]
async fn a_connection_of_tls_meets_a_route_by_its_name() {
    let handling = Handling::TlsPassthrough(vec![
        tls_route("one.a.example", to_pod(pod(1))),
        tls_route("two.a.example", to_pod(pod(2))),
    ]);
    let question = Question { is_secure: true, ..question("two.a.example", "/") };

    let explained = ask(secure(&["a.example"], &[("*.a.example", handling)]), &question);

    assert_eq!(explained.verdict.name, "relayed");
    assert_eq!(explained.met.expect("a route").destinations[0].members[0].address, pod(2));
    assert_eq!(explained.routes[0].why_not.as_deref(), Some("its hostnames do not cover `two.a.example`"));
}

#[tokio::test]
async fn references_that_lead_nowhere_say_what_their_clients_get() {
    let mut broken = to(&[]);
    broken.is_broken = true;
    let explained = ask(clear(rule([broken, to(&[])])), &question("shop.example", "/"));

    let failures: Vec<_> =
        explained.met.expect("a route").destinations.into_iter().map(|destination| destination.failure).collect();
    let failures: Vec<_> = failures.iter().flatten().map(String::as_str).collect();
    assert_eq!(failures, ["500 the route's backend does not exist", "503 no backend is ready"]);
    assert_eq!(ask(clear(rule([])), &question("shop.example", "/")).verdict.status, Some(500));
}

#[tokio::test]
async fn nothing_is_counted_and_no_turn_is_taken_by_a_question() {
    let pods = [super::support::Pod::named("a").await, super::support::Pod::named("b").await];
    let gateway = Gateway::new(clear(rule([to(&[(pods[0].address, 1), (pods[1].address, 1)])])));
    let first = gateway.get("/").await.1;

    explain(&gateway.live.load(), &question("shop.example", "/")).unwrap();

    assert_ne!(gateway.get("/").await.1, first);
    assert_eq!(gateway.server.counts().requests, 2);
}

#[tokio::test]
async fn the_hosts_that_are_served_are_named_and_only_frontends_that_were_asked_about() {
    let gateway = Gateway::new(site([
        listener("web/a", Some("a.example"), Handling::Http(vec![route(rule([to_pod(pod(1))]))])),
        listener("web/b", Some("*.b.example"), Handling::Http(vec![route(rule([to_pod(pod(1))]))])),
    ]));

    let answer = explain(&gateway.live.load(), &question("c.example", "/")).unwrap();
    let elsewhere = Question { address: Some([192, 0, 2, 1].into()), ..question("a.example", "/") };

    assert_eq!(answer.hosts, ["*.b.example", "a.example"]);
    assert_eq!(answer.frontends[0].verdict.name, "no_route");
    assert_eq!(explain(&gateway.live.load(), &elsewhere).unwrap().frontends, []);
}

#[test]
fn a_request_that_no_client_could_send_is_refused_by_its_field() {
    let refused = |question: Question| question.check().unwrap_err();
    let header = |name: &str| Question { headers: vec![(name.to_owned(), "1".to_owned())], ..question("a", "/") };

    assert_eq!(refused(question("a", "cart")), BadQuestion::Path("cart".to_owned()));
    assert_eq!(refused(question("a", "/a b")), BadQuestion::Path("/a b".to_owned()));
    assert_eq!(refused(header("x y")), BadQuestion::HeaderName("x y".to_owned()));
    assert_eq!(refused(header("Host")), BadQuestion::SecondHost);
    let method = Question { method: "GE T".to_owned(), ..question("a", "/") };
    assert_eq!(refused(method), BadQuestion::Method("GE T".to_owned()));
}
