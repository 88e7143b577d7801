//! Whether the regular expressions of a route are such: a rule with one that is none is not served, and its route says so.
//!
//! They are only parsed here, which is cheap enough for every pass; the router compiles them.

use regex_syntax::{Error, parse};

use super::RouteRef;
use crate::source::route::{GrpcMethodMatch, MethodMatch, RouteMatch, RouteRule, ValueMatch};

const REGULAR_EXPRESSION: &str = "RegularExpression";

/// An expression that is none.
pub struct BadExpression {
    /// The rule, by its place.
    pub rule: usize,
    /// The field.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The first expression of each rule of a route that is none.
pub fn bad_expressions(route: RouteRef<'_>) -> Vec<BadExpression> {
    let rules = route.found.object.spec.rules.iter().enumerate();
    rules.filter_map(|(rule, written)| bad_expression(rule, written)).collect()
}

/// The first expression of a rule that is none.
pub fn bad_expression(rule: usize, written: &RouteRule) -> Option<BadExpression> {
    written.matches.iter().enumerate().find_map(|(index, matched)| {
        expressions(matched).into_iter().find_map(|(part, expression)| {
            let reason = reason(expression)?;
            let field = format!("spec.rules[{rule}].matches[{index}].{part}");
            let message = format!("`{expression}` is not a regular expression: {reason}: correct it");
            Some(BadExpression { rule, field, message })
        })
    })
}

/// The expressions of a match, each with its place in there.
fn expressions(matched: &RouteMatch) -> Vec<(String, &str)> {
    let path = matched.path.iter().map(|path| (&path.kind, "path.value".to_owned(), path.value.as_ref()));
    let grpc = match &matched.method {
        Some(MethodMatch::Grpc(method)) => Some(method),
        Some(MethodMatch::Http(_)) | None => None,
    };
    let grpc = grpc.into_iter().flat_map(|GrpcMethodMatch { kind, service, method }| {
        let service = (kind, "method.service".to_owned(), service.as_ref());
        [service, (kind, "method.method".to_owned(), method.as_ref())]
    });
    let all =
        path.chain(grpc).chain(named("headers", &matched.headers)).chain(named("queryParams", &matched.query_params));
    all.filter(|(kind, ..)| kind.as_deref() == Some(REGULAR_EXPRESSION))
        .filter_map(|(_, part, text)| Some((part, text?.as_str())))
        .collect()
}

/// Kind, place and text of the values that headers or query parameters are to have.
fn named<'a>(list: &str, values: &'a [ValueMatch]) -> Vec<(&'a Option<String>, String, Option<&'a String>)> {
    let values = values.iter().enumerate();
    values.map(|(index, one)| (&one.kind, format!("{list}[{index}].value"), Some(&one.value))).collect()
}

/// Why a text is no expression, on one line.
fn reason(expression: &str) -> Option<String> {
    match parse(expression).err()? {
        Error::Parse(error) => Some(error.kind().to_string()),
        Error::Translate(error) => Some(error.kind().to_string()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_expression_is_said_on_one_line() {
        assert_eq!(reason("/v[0-9]+/.*"), None);
        for bad in ["(", "a)|(b", "[z-a]", "\\p{nothing}", "a{2,1}"] {
            let reason = reason(bad).unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
}
