//! The matches of all routes for one hostname, found by path.

use std::cmp::Reverse;
use std::collections::HashMap;

use regex::Regex;

use super::conditions::{Conditions, whole};
use super::{BadExpression, Found, Request};
use crate::model::http::{PathMatch, Route, TextMatch};

/// Matches by path; of equal paths the best first, once it is settled.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Vec<Candidate>>,
    /// The longest expression first.
    expressions: Vec<(Regex, Candidate)>,
    /// Without a final slash, but for `/` itself, which is the empty text.
    prefixes: HashMap<String, Vec<Candidate>>,
}

#[derive(Debug)]
struct Candidate {
    conditions: Conditions,
    found: Found,
}

impl Candidate {
    /// What comes first among candidates of one path. Routes and rules are in order already.
    fn order(&self) -> impl Ord + use<> {
        let Found { route, rule, matched } = self.found;
        (Reverse(self.conditions.rank()), route, rule, matched)
    }
}

impl Table {
    /// Adds the matches of a route, which is the one with this index.
    pub fn add(&mut self, index: usize, route: &Route, bad: &mut Vec<BadExpression>) {
        for (rule_index, rule) in route.rules.iter().enumerate() {
            for (match_index, written) in rule.matches.iter().enumerate() {
                let Some(conditions) = Conditions::new(&route.owner, written, bad) else { continue };
                let found = Found { route: index, rule: rule_index, matched: match_index };
                self.place(&route.owner, &written.path, Candidate { conditions, found }, bad);
            }
        }
    }

    fn place(&mut self, owner: &str, path: &PathMatch, candidate: Candidate, bad: &mut Vec<BadExpression>) {
        match path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default().push(candidate),
            PathMatch::Prefix(prefix) => self.place_prefix(prefix, candidate),
            PathMatch::Regex(expression) => self.place_expression(owner, expression, candidate, bad),
            PathMatch::Grpc { service, method } => match (service, method) {
                (None, None) => self.place_prefix("", candidate),
                (Some(TextMatch::Exact(service)), None) => self.place_prefix(&format!("/{service}"), candidate),
                (Some(TextMatch::Exact(service)), Some(TextMatch::Exact(method))) => {
                    self.exact.entry(format!("/{service}/{method}")).or_default().push(candidate);
                }
                (None, Some(TextMatch::Exact(method))) => {
                    let conditions = candidate.conditions.for_grpc_method(method);
                    self.place_prefix("", Candidate { conditions, ..candidate });
                }
                (service, method) => {
                    let expression = format!("/{}/{}", grpc_part(service.as_ref()), grpc_part(method.as_ref()));
                    let candidate = Candidate { conditions: candidate.conditions.for_grpc(), ..candidate };
                    self.place_expression(owner, &expression, candidate, bad);
                }
            },
        }
    }

    fn place_prefix(&mut self, prefix: &str, candidate: Candidate) {
        self.prefixes.entry(prefix.trim_end_matches('/').to_owned()).or_default().push(candidate);
    }

    fn place_expression(&mut self, owner: &str, expression: &str, candidate: Candidate, bad: &mut Vec<BadExpression>) {
        self.expressions.extend(whole(owner, expression, bad).map(|regex| (regex, candidate)));
    }

    /// To be called once all routes are in.
    pub fn settle(&mut self) {
        let lists = self.exact.values_mut().chain(self.prefixes.values_mut());
        lists.for_each(|list| list.sort_by_cached_key(Candidate::order));
        self.expressions.sort_by_cached_key(|(regex, candidate)| (Reverse(regex.as_str().len()), candidate.order()));
    }

    /// The best match of a request.
    pub fn find(&self, request: &Request<'_>) -> Option<Found> {
        let path = request.path;
        self.exact
            .get(path)
            .and_then(|list| first(list, request))
            .or_else(|| self.find_expression(request))
            .or_else(|| prefixes(path).find_map(|prefix| first(self.prefixes.get(prefix)?, request)))
    }

    fn find_expression(&self, request: &Request<'_>) -> Option<Found> {
        let fits = |(regex, candidate): &&(Regex, Candidate)| {
            candidate.conditions.hold(request) && regex.is_match(request.path)
        };
        self.expressions.iter().find(fits).map(|(_, candidate)| candidate.found)
    }
}

fn first(list: &[Candidate], request: &Request<'_>) -> Option<Found> {
    list.iter().find(|candidate| candidate.conditions.hold(request)).map(|candidate| candidate.found)
}

/// The prefixes of a path that end where an element ends, the longest first; the last is the empty one.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |prefix| Some(&prefix[..prefix.rfind('/')?]))
}

/// A service or method of a gRPC match, as an expression.
fn grpc_part(part: Option<&TextMatch>) -> String {
    match part {
        None => "[^/]+".to_owned(),
        Some(TextMatch::Exact(text)) => regex::escape(text),
        Some(TextMatch::Regex(expression)) => format!("(?:{expression})"),
    }
}
