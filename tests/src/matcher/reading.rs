//! What a request meets by the words of Gateway API, read one after the other: slow, plain, and of no code of the router's.
//!
//! "Precedence must be given to the match with" the better hostname, an exact path, the longest prefix, a method, the most
//! headers, the most query parameters; then to the older route and the first rule (`HTTPRoute.rules`). Expressions stand between
//! exact paths and prefixes, the longer ones first, which is left to implementations.

use std::cmp::Reverse;
use std::sync::Arc;

use gateway_userspace::http::router::Found;
use gateway_userspace::model::http::{
    Handling, Hostname, Listener, Match, NamedMatch, PathMatch, Route, Site, TextMatch,
};

use super::expression::EXPRESSIONS;
use super::maker::Asked;

/// What a request meets.
pub struct Reading {
    /// The listener.
    pub listener: Option<usize>,
    /// Every match at the listener that fits.
    pub candidates: Vec<Found>,
    /// The best of them.
    pub found: Option<Found>,
}

impl Reading {
    /// Of a request in the clear.
    pub fn of(site: &Site, asked: &Asked) -> Self {
        let fitting = site.listeners.iter().enumerate().filter(|(_, one)| covers(one.hostname.as_ref(), &asked.host));
        let best = fitting.max_by_key(|(index, one)| (specificity(one.hostname.as_ref()), Reverse(*index)));
        let Some((listener, written)) = best else {
            return Self { listener: None, candidates: Vec::new(), found: None };
        };
        let mut ranked = Vec::new();
        for (route, written) in routes(written).iter().enumerate() {
            let Some(host) = best_hostname(written, &asked.host) else { continue };
            for (rule, written) in written.rules.iter().enumerate() {
                for (matched, written) in written.matches.iter().enumerate() {
                    if fits(written, asked) {
                        ranked.push((
                            (Reverse((host, rank(written))), (route, rule, matched)),
                            Found { route, rule, matched },
                        ));
                    }
                }
            }
        }
        let found = ranked.iter().min_by_key(|(rank, _)| *rank).map(|(_, found)| *found);
        Self { listener: Some(listener), candidates: ranked.into_iter().map(|(_, found)| found).collect(), found }
    }
}

/// The routes of a listener in the clear.
pub fn routes(listener: &Listener) -> &[Arc<Route>] {
    match &listener.handling {
        Handling::Http(routes) => routes,
        Handling::Https(..) | Handling::TlsPassthrough(_) | Handling::TlsTerminate(..) => &[],
    }
}

/// The better, the larger: a name, then the longer wildcard, then of two as long that for one label, then every host.
fn specificity(hostname: Option<&Hostname>) -> (u8, usize, bool) {
    match hostname {
        Some(Hostname::Exact(name)) => (2, name.len(), true),
        Some(Hostname::OneLabel(suffix)) => (1, suffix.len(), true),
        Some(Hostname::Wildcard(suffix)) => (1, suffix.len(), false),
        None => (0, 0, false),
    }
}

fn covers(hostname: Option<&Hostname>, host: &str) -> bool {
    match hostname {
        None => true,
        Some(Hostname::Exact(name)) => **name == *host,
        Some(Hostname::Wildcard(suffix)) => host.strip_suffix(&**suffix).is_some_and(|labels| !labels.is_empty()),
        Some(Hostname::OneLabel(suffix)) => {
            host.strip_suffix(&**suffix).is_some_and(|labels| labels.split('.').count() == 1 && !labels.is_empty())
        }
    }
}

fn best_hostname(route: &Route, host: &str) -> Option<(u8, usize, bool)> {
    if route.hostnames.is_empty() {
        return Some(specificity(None));
    }
    let fitting = route.hostnames.iter().filter(|name| covers(Some(name), host));
    fitting.map(|name| specificity(Some(name))).max()
}

/// The better, the larger. A gRPC match is as good as the path that it stands for.
fn rank(written: &Match) -> impl Ord + Copy + use<> {
    let (kind, length, grpc_method) = match &written.path {
        PathMatch::Regex(expression) => (1, expression.len(), 0),
        PathMatch::Prefix(prefix) => (0, prefix.trim_end_matches('/').len(), 0),
        PathMatch::Grpc { service: None, method: None } => (0, 0, 0),
        PathMatch::Grpc { service: Some(TextMatch::Exact(service)), method: None } => (0, service.len() + 1, 0),
        PathMatch::Grpc { service: None, method: Some(TextMatch::Exact(method)) } => (0, 0, method.len()),
        PathMatch::Exact(_)
        | PathMatch::Grpc { service: Some(TextMatch::Exact(_)), method: Some(TextMatch::Exact(_)) } => (2, 0, 0),
        PathMatch::Grpc { service, method } => {
            (1, 2 + expression_length(service.as_ref()) + expression_length(method.as_ref()), 0)
        }
    };
    (kind, length, grpc_method, written.method.is_some(), written.headers.len(), written.query.len())
}

/// How long a part of a gRPC match is as an expression: anything, the text itself, or an expression in `(?:)`.
fn expression_length(part: Option<&TextMatch>) -> usize {
    match part {
        None => "[^/]+".len(),
        Some(TextMatch::Exact(text)) => text.len(),
        Some(TextMatch::Regex(expression)) => "(?:)".len() + expression.len(),
    }
}

fn fits(written: &Match, asked: &Asked) -> bool {
    path_fits(&written.path, &asked.path)
        && written.method.as_ref().is_none_or(|method| *method == asked.method.as_str())
        && written.headers.iter().all(|header| header_fits(header, asked))
        && written.query.iter().all(|parameter| parameter_fits(parameter, asked.query.as_deref().unwrap_or_default()))
}

fn path_fits(written: &PathMatch, path: &str) -> bool {
    match written {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Regex(expression) => expression_fits(expression, path),
        PathMatch::Prefix(prefix) => is_below(path, prefix.trim_end_matches('/')),
        PathMatch::Grpc { service: None, method: None } => true,
        PathMatch::Grpc { service: Some(TextMatch::Exact(service)), method: None } => {
            is_below(path, &format!("/{service}"))
        }
        PathMatch::Grpc { service, method } => {
            let parts: Vec<&str> = path.split('/').collect();
            let ["", of, name] = *parts else { return false };
            part_fits(service.as_ref(), of) && part_fits(method.as_ref(), name)
        }
    }
}

/// Whether a path is this one or has more elements; the root is the empty text.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A service or method of its own must be there, if any will do.
fn part_fits(written: Option<&TextMatch>, part: &str) -> bool {
    written.map_or(!part.is_empty(), |written| text_fits(written, part))
}

fn text_fits(written: &TextMatch, text: &str) -> bool {
    match written {
        TextMatch::Exact(exact) => exact == text,
        TextMatch::Regex(expression) => expression_fits(expression, text),
    }
}

fn expression_fits(written: &str, text: &str) -> bool {
    EXPRESSIONS.iter().any(|expression| expression.text() == written && expression.fits(text))
}

fn header_fits(written: &NamedMatch, asked: &Asked) -> bool {
    let values: Vec<&str> =
        asked.headers.get_all(&written.name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    !values.is_empty() && text_fits(&written.value, &values.join(","))
}

/// The first parameter of the name counts.
fn parameter_fits(written: &NamedMatch, query: &str) -> bool {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut named =
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).filter(|(name, _)| *name == written.name);
    named.next().is_some_and(|(_, value)| text_fits(&written.value, value))
}
