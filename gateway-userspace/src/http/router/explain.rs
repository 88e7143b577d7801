//! Why a request meets what it meets: every listener and every match with the first thing that keeps the request from it.
//!
//! For people, not for the path of a request: it asks one match after the other, and compiles each for that.

use serde::Serialize;

use super::conditions::Conditions;
use super::table::Table;
use super::{Found, Request, Router, http_routes_of};
use crate::model::http::{Handling, Listener, Match, PathMatch, Route, Rule};

/// What a request meets, and why nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The listeners of the frontend, in their order.
    pub listeners: Vec<Considered>,
    /// The name of the listener that the request belongs to.
    pub listener: Option<String>,
    /// The matches of that listener's routes, in their order.
    pub matches: Vec<Considered>,
    /// The match that was met.
    pub found: Option<Met>,
}

/// A listener or a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// `web/https`, or `HTTPRoute shop/web rule 0 match 1`.
    pub name: String,
    /// Why it is not met; nothing if it is.
    pub why_not: Option<String>,
}

/// The match that a request has met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Met {
    /// The route.
    pub route: String,
    /// The rule's index in it.
    pub rule: usize,
    /// The rule's name.
    pub rule_name: Option<String>,
    /// The match's index in the rule.
    pub matched: usize,
    /// The rule's filters, in order.
    pub filters: Vec<String>,
    /// Its references, each with its weight.
    pub backends: Vec<String>,
}

impl Router {
    /// Explains what a request meets, in the clear or within TLS.
    pub fn explain(&self, is_secure: bool, request: &Request<'_>) -> Explanation {
        let chosen = if is_secure { self.secure_listener(request.host) } else { self.plain_listener(request.host) };
        let listeners = self.site().listeners.iter().enumerate().map(|(index, listener)| Considered {
            name: listener.name.clone(),
            why_not: (chosen != Some(index)).then(|| why_not_listener(listener, is_secure, request.host)),
        });
        let listeners = listeners.collect();
        let Some((index, listener)) = chosen.and_then(|index| Some((index, self.site().listeners.get(index)?))) else {
            return Explanation { listeners, listener: None, matches: Vec::new(), found: None };
        };
        let found = self.find(index, request);
        let routes = http_routes_of(listener).iter().enumerate();
        let matches = routes.flat_map(|(at, route)| considered(at, route, found, request)).collect();
        let met = found.and_then(|found| met(self.route(index, found)?, found));
        Explanation { listeners, listener: Some(listener.name.clone()), matches, found: met }
    }
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
    let covers = route.hostnames.is_empty() || route.hostnames.iter().any(|name| name.covers(request.host));
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

fn met(route: &Route, found: Found) -> Option<Met> {
    let rule = route.rules.get(found.rule)?;
    let backends =
        rule.backends.iter().map(|backend| format!("{} weight {}", backend.group.reference, backend.group.weight));
    Some(Met {
        route: route.owner.clone(),
        rule: found.rule,
        rule_name: rule.name.clone(),
        matched: found.matched,
        filters: rule.filters.iter().map(|filter| filter.name().to_owned()).collect(),
        backends: backends.collect(),
    })
}
