//! What becomes of requests and answers, filter by filter.

use http::Request;

use super::*;
use crate::model::http::{Cors, HeaderChanges, Rewrite};

const SCENE: Scene<'_> = Scene { scheme: "http", host: "shop.example", port: 8080, matched_prefix: Some("/v1") };

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let builder = Request::builder().method(method).uri(target);
    headers
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(*name, *value))
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn redirect() -> Redirect {
    Redirect { scheme: None, hostname: None, port: None, path: None, status: 302 }
}

fn location(redirect: Redirect, scene: &Scene<'_>) -> (u16, String) {
    let filters = Filters::new(&[Filter::Redirect(redirect)]);
    let Outcome::Answer(answer) = filters.on_request(&mut request("GET", "/v1/items?a=b", &[]), scene) else {
        panic!("no answer");
    };
    (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap().to_owned())
}

#[test]
fn headers_are_set_then_added_then_removed_and_host_is_a_rewrite() {
    let changes = HeaderChanges {
        set: texts(&[("x-set", "new"), ("host", "inside.example")]),
        add: texts(&[("x-add", "two")]),
        remove: vec!["x-gone".to_owned()],
    };
    let filters = Filters::new(&[Filter::RequestHeaders(changes)]);
    let mut parts =
        request("GET", "/", &[("x-set", "old"), ("x-add", "one"), ("x-gone", "1"), ("host", "shop.example")]);

    let Outcome::Forward(changes) = filters.on_request(&mut parts, &SCENE) else { panic!("no forward") };

    let all = |name: &str| parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((all("x-set"), all("x-add"), all("x-gone")), (vec!["new"], vec!["one", "two"], vec![]));
    assert_eq!(changes.host.unwrap(), "inside.example");
    assert_eq!(all("host"), ["shop.example"]);
}

#[test]
fn a_redirect_changes_what_it_names_and_keeps_path_and_query() {
    assert_eq!(location(redirect(), &SCENE), (302, "http://shop.example:8080/v1/items?a=b".to_owned()));
    let https = Redirect { scheme: Some("https".to_owned()), status: 301, ..redirect() };
    assert_eq!(location(https, &SCENE), (301, "https://shop.example/v1/items?a=b".to_owned()));
    let port = Redirect { port: Some(80), hostname: Some("other.example".to_owned()), ..redirect() };
    assert_eq!(location(port, &SCENE).1, "http://other.example/v1/items?a=b");
    let path = Redirect { path: Some(PathChange::Prefix("/v2".to_owned())), ..redirect() };
    assert_eq!(location(path, &Scene { port: 80, ..SCENE }).1, "http://shop.example/v2/items?a=b");
}

#[test]
fn a_rewrite_changes_path_and_host_and_keeps_the_query() {
    let rewrite =
        Rewrite { hostname: Some("inside.example".to_owned()), path: Some(PathChange::Full("/one".to_owned())) };
    let filters = Filters::new(&[Filter::Rewrite(rewrite)]);
    let mut parts = request("GET", "/v1/items?a=b", &[]);

    let Outcome::Forward(changes) = filters.on_request(&mut parts, &SCENE) else { panic!("no forward") };

    assert_eq!(
        (parts.uri.to_string().as_str(), changes.host.unwrap().to_str().unwrap()),
        ("/one?a=b", "inside.example")
    );
}

#[test]
fn a_filter_that_cannot_be_served_ends_the_request() {
    let filters = Filters::new(&[Filter::Broken, Filter::Redirect(redirect())]);

    assert!(matches!(filters.on_request(&mut request("GET", "/", &[]), &SCENE), Outcome::Broken));
}

fn sharing(origins: &[&str], credentials: bool) -> Filters {
    Filters::new(&[Filter::Cors(Cors {
        allow_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        allow_methods: vec!["*".to_owned()],
        allow_headers: vec!["x-a".to_owned(), "x-b".to_owned()],
        expose_headers: vec!["x-c".to_owned()],
        allow_credentials: credentials,
        max_age_sec: 5,
    })])
}

#[test]
fn a_preflight_request_is_answered_here() {
    let filters = sharing(&["https://*.shop.example"], true);
    let asked = [("origin", "https://a.b.shop.example"), ("access-control-request-method", "PUT")];

    let Outcome::Answer(answer) = filters.on_request(&mut request("OPTIONS", "/", &asked), &SCENE) else {
        panic!("no answer");
    };

    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(answer.status(), 204);
    assert_eq!(header("access-control-allow-origin"), Some("https://a.b.shop.example"));
    assert_eq!(header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(header("access-control-allow-headers"), Some("x-a, x-b"));
    assert_eq!(header("access-control-allow-credentials"), Some("true"));
    assert_eq!(header("access-control-max-age"), Some("5"));
}

#[test]
fn another_origin_gets_no_permission_and_its_request_goes_on() {
    let filters = sharing(&["https://*.shop.example"], false);
    let preflight = [("origin", "https://shop.example"), ("access-control-request-method", "PUT")];
    let Outcome::Answer(answer) = filters.on_request(&mut request("OPTIONS", "/", &preflight), &SCENE) else {
        panic!("no answer");
    };
    assert!(!answer.headers().contains_key("access-control-allow-origin"));

    let Outcome::Forward(changes) = filters.on_request(&mut request("GET", "/", &preflight[..1]), &SCENE) else {
        panic!("no forward");
    };
    let mut headers = HeaderMap::new();
    filters.on_response(&mut headers, &changes);
    assert!(headers.is_empty());
}

#[test]
fn an_answer_for_an_allowed_origin_says_so() {
    let filters = sharing(&["*"], false);
    let asked = [("origin", "https://shop.example")];
    let Outcome::Forward(changes) = filters.on_request(&mut request("GET", "/", &asked), &SCENE) else {
        panic!("no forward");
    };
    let mut headers = HeaderMap::new();

    filters.on_response(&mut headers, &changes);

    assert_eq!(headers["access-control-allow-origin"], "https://shop.example");
    assert_eq!(headers["access-control-expose-headers"], "x-c");
    assert!(!headers.contains_key("access-control-allow-credentials"));
}
