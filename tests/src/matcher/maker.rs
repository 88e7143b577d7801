//! Makes sites and requests from few names and paths, so that many matches fit and precedence has to decide.

use std::sync::Arc;

use gateway_userspace::http::router::Request;
use gateway_userspace::model::http::{
    Handling, Hostname, Listener, Match, NamedMatch, PathMatch, Route, Rule, Site, TextMatch,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::expression::EXPRESSIONS;
use crate::tape::Tape;

const HOSTNAMES: [&str; 6] = ["a.x", "*.x", "*.a.x", "b.a.x", "x", "*.y"];
const HOSTS: [&str; 7] = ["a.x", "b.a.x", "c.b.a.x", "x", "ax", "y", ""];
const PATHS: [&str; 10] = ["/", "/a", "/a/b", "/a/", "/ab", "/a/b/c", "/b", "/a//b", "/s/m", "/s/mm"];
const NAMES: [&str; 3] = ["a", "b", "x-c"];
const VALUES: [&str; 4] = ["a", "b", "", "a,b"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const QUERIES: [&str; 8] = ["", "a=a", "a=b&a=a", "b", "a=a&b=b", "b=&a", "&&a=a", "A=a"];

/// A request, with what it borrows.
#[derive(Debug)]
pub struct Asked {
    /// Its host.
    pub host: String,
    /// Its path.
    pub path: String,
    /// Its query.
    pub query: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Asked {
    /// As the router takes it.
    pub fn request(&self) -> Request<'_> {
        let Self { host, path, query, method, headers } = self;
        Request { host, path, query: query.as_deref(), method, headers }
    }
}

/// A request.
pub fn request(tape: &mut Tape<'_>) -> Asked {
    let mut headers = HeaderMap::new();
    for _ in 0..tape.below(4) {
        headers.append(HeaderName::from_static(tape.pick(&NAMES)), HeaderValue::from_static(tape.pick(&VALUES)));
    }
    Asked {
        host: tape.pick(&HOSTS).to_string(),
        path: tape.pick(&PATHS).to_string(),
        query: (!tape.rarely(2)).then(|| tape.pick(&QUERIES).to_string()),
        method: tape.pick(&[Method::GET, Method::POST, Method::DELETE]),
        headers,
    }
}

/// A site of listeners in the clear.
pub fn site(tape: &mut Tape<'_>) -> Site {
    let listeners = (0..=tape.below(3)).map(|index| Listener {
        name: format!("web/{index}"),
        hostname: tape.rarely(2).then(|| hostname(tape)),
        handling: Handling::Http((0..tape.below(4)).map(|number| route(tape, number)).collect()),
    });
    Site { owner: "Gateway shop/web".to_string(), listeners: listeners.collect(), ..Site::default() }
}

fn hostname(tape: &mut Tape<'_>) -> Hostname {
    let written = tape.pick(&HOSTNAMES);
    if tape.rarely(4) { Hostname::parse_narrow(written) } else { Hostname::parse(written) }
}

fn route(tape: &mut Tape<'_>, number: usize) -> Arc<Route> {
    Arc::new(Route {
        owner: format!("HTTPRoute shop/{number}"),
        hostnames: (0..tape.below(3)).map(|_| hostname(tape)).collect(),
        rules: (0..=tape.below(3)).map(|_| rule(tape)).collect(),
    })
}

fn rule(tape: &mut Tape<'_>) -> Rule {
    Rule { matches: (0..=tape.below(3)).map(|_| one_match(tape)).collect(), ..Rule::default() }
}

fn one_match(tape: &mut Tape<'_>) -> Match {
    Match {
        path: path(tape),
        headers: named(tape),
        query: named(tape),
        method: tape.rarely(3).then(|| tape.pick(&METHODS).to_string()),
    }
}

fn path(tape: &mut Tape<'_>) -> PathMatch {
    let path = tape.pick(&PATHS);
    match tape.below(4) {
        0 => PathMatch::Prefix(if path == "/" { path } else { path.trim_end_matches('/') }.to_string()),
        1 => PathMatch::Exact(path.to_string()),
        2 => PathMatch::Regex(tape.pick(&EXPRESSIONS).text()),
        _ => PathMatch::Grpc {
            service: tape.rarely(2).then(|| text(tape, &["s", "a"])),
            method: tape.rarely(2).then(|| text(tape, &["m", "mm", "b"])),
        },
    }
}

/// At most two, of different names.
fn named(tape: &mut Tape<'_>) -> Vec<NamedMatch> {
    let count = tape.below(6).saturating_sub(3);
    let first = tape.below(NAMES.len());
    let names = (0..count).map(|index| NAMES[(first + index) % NAMES.len()]);
    names.map(|name| NamedMatch { name: name.to_string(), value: text(tape, &VALUES) }).collect()
}

fn text(tape: &mut Tape<'_>, exact: &[&'static str]) -> TextMatch {
    if tape.rarely(3) {
        return TextMatch::Regex(tape.pick(&EXPRESSIONS).text());
    }
    TextMatch::Exact(tape.pick(exact).to_string())
}
