//! Gateway API's precedence, rule by rule.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::model::http::{Match, NamedMatch, Rule, TextMatch};

fn exact(path: &str) -> Match {
    Match { path: PathMatch::Exact(path.to_owned()), ..Match::default() }
}

fn prefix(path: &str) -> Match {
    Match { path: PathMatch::Prefix(path.to_owned()), ..Match::default() }
}

fn expression(path: &str) -> Match {
    Match { path: PathMatch::Regex(path.to_owned()), ..Match::default() }
}

fn grpc(service: Option<&str>, method: Option<&str>) -> Match {
    let text = |text: &str| TextMatch::Exact(text.to_owned());
    Match { path: PathMatch::Grpc { service: service.map(text), method: method.map(text) }, ..Match::default() }
}

fn named(name: &str, value: &str) -> NamedMatch {
    NamedMatch { name: name.to_owned(), value: TextMatch::Exact(value.to_owned()) }
}

/// A route with one rule for each match.
fn route(owner: &str, hostnames: &[&str], matches: Vec<Match>) -> Arc<Route> {
    let rules = matches.into_iter().map(|one| Rule { matches: vec![one], ..Rule::default() }).collect();
    let hostnames = hostnames.iter().map(|name| Hostname::parse(name)).collect();
    Arc::new(Route { owner: owner.to_owned(), hostnames, rules })
}

fn listener(hostname: Option<&str>, routes: Vec<Arc<Route>>) -> Listener {
    let name = hostname.unwrap_or("every").to_owned();
    Listener { name, hostname: hostname.map(Hostname::parse), handling: Handling::Http(routes) }
}

fn router(listeners: Vec<Listener>) -> Router {
    let (router, bad) =
        Router::new(Arc::new(Site { owner: "Gateway shop/web".to_owned(), listeners, ..Site::default() }));
    assert_eq!(bad, []);
    router
}

/// One route with a rule for each match, and nothing else.
fn rules(matches: Vec<Match>) -> Router {
    router(vec![listener(None, vec![route("HTTPRoute shop/web", &[], matches)])])
}

/// `METHOD host/path?query`, and headers.
fn ask(router: &Router, line: &str, headers: &[(&str, &str)]) -> Option<(usize, Found)> {
    let (method, url) = line.split_once(' ').expect("a method");
    let (host, rest) = url.split_at(url.find('/').expect("a path"));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()))
        .collect();
    let request = Request { host, path, query, method: &method, headers: &headers };
    let listener = router.plain_listener(host)?;
    Some((listener, router.find(listener, &request)?))
}

fn rule(router: &Router, line: &str, headers: &[(&str, &str)]) -> Option<usize> {
    ask(router, line, headers).map(|(_, found)| found.rule)
}

#[test]
fn an_exact_path_comes_before_expressions_and_these_before_prefixes() {
    let router = rules(vec![prefix("/v1/items"), expression("/v1/.*"), exact("/v1/items")]);

    assert_eq!(rule(&router, "GET a/v1/items", &[]), Some(2));
    assert_eq!(rule(&router, "GET a/v1/items/7", &[]), Some(1));
    assert_eq!(rule(&router, "GET a/v1", &[]), None);
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let router = rules(vec![prefix("/"), prefix("/v1/items"), prefix("/v1")]);

    assert_eq!(rule(&router, "GET a/v1/items/7", &[]), Some(1));
    assert_eq!(rule(&router, "GET a/v1/other", &[]), Some(2));
    assert_eq!(rule(&router, "GET a/", &[]), Some(0));
}

#[test]
fn a_prefix_ends_where_an_element_ends() {
    let router = rules(vec![prefix("/v1")]);

    for (path, is_matched) in [("/v1", true), ("/v1/", true), ("/v1/x", true), ("/v1x", false), ("/v", false)] {
        assert_eq!(rule(&router, &format!("GET a{path}"), &[]).is_some(), is_matched, "{path}");
    }
    let with_slash = rules(vec![prefix("/v1/")]);
    assert_eq!(rule(&with_slash, "GET a/v1", &[]), Some(0));
}

#[test]
fn paths_are_case_sensitive_and_expressions_fit_the_whole() {
    let router = rules(vec![exact("/A"), expression("/v[0-9]")]);

    assert_eq!(rule(&router, "GET a/a", &[]), None);
    assert_eq!(rule(&router, "GET a/v1", &[]), Some(1));
    assert_eq!(rule(&router, "GET a/v12", &[]), None);
    assert_eq!(rule(&router, "GET a/x/v1", &[]), None);
}

#[test]
fn of_equal_paths_a_method_comes_before_headers_and_these_before_query_parameters() {
    let with_query = Match { query: vec![named("q", "1"), named("r", "1"), named("s", "1")], ..prefix("/") };
    let with_header = Match { headers: vec![named("x-a", "1")], ..prefix("/") };
    let with_headers = Match { headers: vec![named("x-a", "1"), named("x-b", "1")], ..prefix("/") };
    let with_method = Match { method: Some("PUT".to_owned()), ..prefix("/") };
    let router = rules(vec![prefix("/"), with_query, with_header, with_headers, with_method]);
    let (line, headers) = ("a/?q=1&r=1&s=1", [("x-a", "1"), ("x-b", "1")]);

    assert_eq!(rule(&router, &format!("PUT {line}"), &headers), Some(4));
    assert_eq!(rule(&router, &format!("GET {line}"), &headers), Some(3));
    assert_eq!(rule(&router, &format!("GET {line}"), &headers[..1]), Some(2));
    assert_eq!(rule(&router, &format!("GET {line}"), &[]), Some(1));
    assert_eq!(rule(&router, "GET a/?q=1&r=1", &[]), Some(0));
}

#[test]
fn more_query_parameters_come_first_and_the_first_value_of_one_counts() {
    let one = Match { query: vec![named("q", "a b")], ..prefix("/") };
    let two = Match { query: vec![named("q", "a b"), named("R", "")], ..prefix("/") };
    let router = rules(vec![one, two]);

    assert_eq!(rule(&router, "GET a/?q=a+b&R", &[]), Some(1));
    assert_eq!(rule(&router, "GET a/?q=a%20b&r", &[]), Some(0));
    assert_eq!(rule(&router, "GET a/?q=x&q=a+b", &[]), None);
}

#[test]
fn header_names_are_case_insensitive_their_values_are_not_and_several_are_a_list() {
    let router = rules(vec![Match { headers: vec![named("x-version", "one,two")], ..prefix("/") }]);

    assert_eq!(rule(&router, "GET a/", &[("X-Version", "one,two")]), Some(0));
    assert_eq!(rule(&router, "GET a/", &[("x-version", "one"), ("x-version", "two")]), Some(0));
    assert_eq!(rule(&router, "GET a/", &[("x-version", "One,two")]), None);
}

#[test]
fn of_equal_matches_the_first_route_wins_and_in_a_route_the_first_rule() {
    let routes = ["older", "younger"].map(|name| route(name, &[], vec![prefix("/a"), prefix("/a")]));
    let router = router(vec![listener(None, routes.to_vec())]);

    assert_eq!(ask(&router, "GET a/a", &[]), Some((0, Found { route: 0, rule: 0, matched: 0 })));
}

#[test]
fn a_better_match_of_a_younger_route_comes_before_an_older_route() {
    let router = router(vec![listener(
        None,
        vec![route("older", &[], vec![prefix("/a")]), route("younger", &[], vec![prefix("/a/b")])],
    )]);

    assert_eq!(ask(&router, "GET a/a/b", &[]).map(|(_, found)| found.route), Some(1));
}

#[test]
fn the_best_hostname_comes_before_the_best_path_and_the_others_follow() {
    let router = router(vec![listener(
        None,
        vec![
            route("every", &[], vec![exact("/a"), exact("/every")]),
            route("wide", &["*.example"], vec![exact("/a"), exact("/wide")]),
            route("narrow", &["*.shop.example"], vec![exact("/a")]),
            route("exact", &["www.shop.example"], vec![prefix("/a")]),
        ],
    )]);
    let found = |line| ask(&router, line, &[]).map(|(_, found)| found.route);

    assert_eq!(found("GET www.shop.example/a"), Some(3));
    assert_eq!(found("GET img.shop.example/a"), Some(2));
    assert_eq!(found("GET a.b.shop.example/a"), Some(2));
    assert_eq!(found("GET shop.example/a"), Some(1));
    assert_eq!(found("GET example/a"), Some(0));
    assert_eq!(found("GET www.shop.example/wide"), Some(1));
    assert_eq!(found("GET www.shop.example/every"), Some(0));
}

#[test]
fn a_request_belongs_to_the_listener_of_the_best_hostname_and_to_no_other() {
    let routes = |owner| vec![route(owner, &[], vec![exact("/a")])];
    let router = router(vec![
        listener(None, vec![route("every", &[], vec![prefix("/")])]),
        listener(Some("*.example"), routes("wide")),
        listener(Some("www.example"), routes("exact")),
    ]);

    assert_eq!(ask(&router, "GET www.example/a", &[]).map(|(listener, _)| listener), Some(2));
    assert_eq!(ask(&router, "GET img.example/a", &[]).map(|(listener, _)| listener), Some(1));
    assert_eq!(ask(&router, "GET other/a", &[]).map(|(listener, _)| listener), Some(0));
    assert_eq!(ask(&router, "GET www.example/b", &[]), None);
}

#[test]
fn grpc_goes_by_service_then_by_method() {
    let router = rules(vec![
        grpc(None, None),
        grpc(None, Some("Say")),
        grpc(Some("echo.Echo"), None),
        grpc(Some("echo.Echo"), Some("Say")),
    ]);

    assert_eq!(rule(&router, "POST a/echo.Echo/Say", &[]), Some(3));
    assert_eq!(rule(&router, "POST a/echo.Echo/Sing", &[]), Some(2));
    assert_eq!(rule(&router, "POST a/other.Echo/Say", &[]), Some(1));
    assert_eq!(rule(&router, "POST a/other.Echo/Sing", &[]), Some(0));
}

#[test]
fn a_grpc_expression_fits_whole_parts() {
    let service = Some(TextMatch::Regex("echo\\.[A-Z][a-z]+".to_owned()));
    let router = rules(vec![Match { path: PathMatch::Grpc { service, method: None }, ..Match::default() }]);

    assert_eq!(rule(&router, "POST a/echo.Echo/Say", &[]), Some(0));
    assert_eq!(rule(&router, "POST a/echo.Echo2/Say", &[]), None);
    let any = |text: &str| Some(TextMatch::Regex(text.to_owned()));
    let path = PathMatch::Grpc { service: any(".*"), method: any("Say") };
    let router = rules(vec![Match { path, ..Match::default() }]);
    assert_eq!(rule(&router, "POST a/echo.Echo/Say", &[]), Some(0));
    assert_eq!(rule(&router, "POST a/echo.Echo/More/Say", &[]), None);
}

#[test]
fn an_expression_that_is_none_is_told_and_matches_nothing() {
    let routes = vec![route("HTTPRoute shop/web", &["a.example", "b.example"], vec![expression("("), prefix("/")])];
    let site = Site { listeners: vec![listener(None, routes)], ..Site::default() };

    let (router, bad) = Router::new(Arc::new(site));

    assert_eq!(bad.len(), 1);
    assert!(bad[0].to_string().starts_with("HTTPRoute shop/web: `(` is not a regular expression"), "{}", bad[0]);
    assert_eq!(rule(&router, "GET a.example/", &[]), Some(1));
}

#[test]
fn an_expression_that_ends_before_it_is_over_is_none() {
    let routes = vec![route("HTTPRoute shop/web", &[], vec![expression("/a)|(?:.*")])];

    let (router, bad) = Router::new(Arc::new(Site { listeners: vec![listener(None, routes)], ..Site::default() }));

    assert_eq!(bad.len(), 1);
    assert_eq!(rule(&router, "GET a/b", &[]), None);
}

#[test]
fn an_explanation_names_what_is_met_and_why_nothing_else_is() {
    let with_header = Match { headers: vec![named("x-a", "1")], ..prefix("/a") };
    let listeners = vec![
        listener(
            Some("www.example"),
            vec![
                route("HTTPRoute shop/web", &[], vec![with_header, prefix("/a"), exact("/b"), prefix("/")]),
                route("HTTPRoute shop/other", &["other.example"], vec![prefix("/a")]),
            ],
        ),
        listener(Some("*.shop.example"), Vec::new()),
    ];
    let router = router(listeners);
    let headers = HeaderMap::new();
    let request = Request { host: "www.example", path: "/a/x", query: None, method: &Method::GET, headers: &headers };

    let (listeners, matches) = (router.consider_listeners(false, "www.example"), router.consider_matches(0, &request));

    let why = |considered: &[Considered]| -> Vec<_> {
        considered.iter().map(|one| one.why_not.clone().unwrap_or_else(|| "met".to_owned())).collect()
    };
    assert_eq!(why(&listeners), ["met", "its hostname *.shop.example does not cover `www.example`"]);
    assert_eq!(
        why(&matches),
        [
            "header `x-a` is not what it asks for",
            "met",
            "its path is exactly `/b`",
            "another match comes first",
            "its hostnames do not cover `www.example`",
        ]
    );
    assert_eq!(matches[1].name, "HTTPRoute shop/web rule 1 match 0");
    assert_eq!(why(&router.consider_listeners(true, "www.example"))[0], "it is not for TLS");
}
