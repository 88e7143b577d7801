//! Why a request meets what it meets: every listener and every route or match with the first thing that keeps the request
//! from it.
//!
//! For people, not for the path of a request: it asks one match after the other, and compiles each for that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::conditions::Conditions;
use super::table::Table;
use super::{Found, Request, Router, http_routes_of, tls_routes_of};
use crate::model::http::{Handling, Hostname, Listener, Match, PathMatch, Route, Rule, TlsRoute};

/// A listener, a route or a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// `web/https`, or `HTTPRoute shop/web rule 0 match 1`.
    pub name: String,
    /// Why it is not met; nothing if it is.
    pub why_not: Option<String>,
}

impl Router {
    /// The listeners of the frontend, in their order, for a host, or for a name in TLS.
    pub fn consider_listeners(&self, is_secure: bool, host: &str) -> Vec<Considered> {
        let chosen = if is_secure { self.secure_listener(host) } else { self.plain_listener(host) };
        let considered = |(index, listener): (usize, &Listener)| Considered {
            name: listener.name.clone(),
            why_not: (chosen != Some(index)).then(|| why_not_listener(listener, is_secure, host)),
        };
        self.site().listeners.iter().enumerate().map(considered).collect()
    }

    /// The matches of a listener's routes, in their order.
    pub fn consider_matches(&self, listener: usize, request: &Request<'_>) -> Vec<Considered> {
        let found = self.find(listener, request);
        let routes = self.site().listeners.get(listener).map(http_routes_of).unwrap_or_default();
        routes.iter().enumerate().flat_map(|(at, route)| considered(at, route, found, request)).collect()
    }

    /// The TLS routes of a listener, in their order.
    pub fn consider_tls_routes(&self, listener: usize, name: &str) -> Vec<Considered> {
        let found = self.find_tls(listener, name);
        let routes = self.site().listeners.get(listener).map(tls_routes_of).unwrap_or_default();
        let considered = |(at, route): (usize, &Arc<TlsRoute>)| {
            let why_not = match found {
                Some(found) if found == at => None,
                _ if covers(&route.hostnames, name) => Some("another route's hostname fits better".to_owned()),
                _ => Some(format!("its hostnames do not cover `{name}`")),
            };
            Considered { name: route.owner.clone(), why_not }
        };
        routes.iter().enumerate().map(considered).collect()
    }
}

/// Whether hostnames cover a host; none cover every host.
fn covers(hostnames: &[Hostname], host: &str) -> bool {
    hostnames.is_empty() || hostnames.iter().any(|name| name.covers(host))
}

fn why_not_listener(listener: &Listener, is_secure: bool, host: &str) -> String {
    match (&listener.handling, is_secure) {
        (Handling::Http(_), true) => "it is not for TLS".to_owned(),
        (Handling::Https(..) | Handling::TlsPassthrough(_) | Handling::TlsTerminate(..), false) => {
            "it is for TLS".to_owned()
        }
        _ => match &listener.hostname {
            Some(hostname) if !hostname.covers(host) => format!("its hostname {hostname} does not cover `{host}`"),
            _ => "another listener's hostname fits better".to_owned(),
        },
    }
}

fn considered(at: usize, route: &Route, found: Option<Found>, request: &Request<'_>) -> Vec<Considered> {
    let covers = covers(&route.hostnames, request.host);
    let mut considered = Vec::new();
    for (rule_index, rule) in route.rules.iter().enumerate() {
        for (match_index, written) in rule.matches.iter().enumerate() {
            let here = Found { route: at, rule: rule_index, matched: match_index };
            let why_not = match found {
                Some(found) if found == here => None,
                _ if !covers => Some(format!("its hostnames do not cover `{}`", request.host)),
                _ => Some(why_not_match(&route.owner, written, request)),
            };
            considered.push(Considered { name: name(route, rule, here), why_not });
        }
    }
    considered
}

fn name(route: &Route, rule: &Rule, found: Found) -> String {
    let Found { rule: index, matched, .. } = found;
    match &rule.name {
        Some(name) => format!("{} rule {index} `{name}` match {matched}", route.owner),
        None => format!("{} rule {index} match {matched}", route.owner),
    }
}

fn why_not_match(owner: &str, written: &Match, request: &Request<'_>) -> String {
    let mut bad = Vec::new();
    if !has_path(owner, &written.path, request) {
        return format!("its path is {}", path_text(&written.path));
    }
    let condition = |part: Match| Conditions::new(owner, &part, &mut bad).is_some_and(|one| one.hold(request));
    let holds = condition_by_condition(written, condition);
    if let Some(bad) = bad.first() {
        return bad.to_string();
    }
    holds.unwrap_or_else(|| "another match comes first".to_owned())
}

/// The first condition beside the path that does not hold.
fn condition_by_condition(written: &Match, mut holds: impl FnMut(Match) -> bool) -> Option<String> {
    if !holds(Match { method: written.method.clone(), ..Match::default() }) {
        return written.method.as_ref().map(|method| format!("its method is {method}"));
    }
    for header in &written.headers {
        if !holds(Match { headers: vec![header.clone()], ..Match::default() }) {
            return Some(format!("header `{}` is not what it asks for", header.name));
        }
    }
    for parameter in &written.query {
        if !holds(Match { query: vec![parameter.clone()], ..Match::default() }) {
            return Some(format!("query parameter `{}` is not what it asks for", parameter.name));
        }
    }
    None
}

fn has_path(owner: &str, path: &PathMatch, request: &Request<'_>) -> bool {
    let only_path = Match { path: path.clone(), ..Match::default() };
    let rule = Rule { matches: vec![only_path], ..Rule::default() };
    let mut table = Table::default();
    table.add(0, &Route { owner: owner.to_owned(), hostnames: Vec::new(), rules: vec![rule] }, &mut Vec::new());
    table.find(request).is_some()
}

fn path_text(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("exactly `{path}`"),
        PathMatch::Prefix(prefix) => format!("`{prefix}` or below"),
        PathMatch::Regex(expression) => format!("the expression `{expression}`"),
        PathMatch::Grpc { .. } => "another gRPC method".to_owned(),
    }
}
