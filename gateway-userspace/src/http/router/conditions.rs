//! What a match asks of a request beside its path, compiled.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use super::{BadExpression, Request};
use crate::model::http::{Match, NamedMatch, TextMatch};

/// The conditions of one match; all hold together.
#[derive(Debug, Default)]
pub struct Conditions {
    method: Option<Method>,
    headers: Vec<(HeaderName, Text)>,
    query: Vec<(String, Text)>,
    /// Of a gRPC match that names a method of any service.
    grpc_method: Option<String>,
    /// Of a gRPC match with an expression, which is for one element of the path.
    is_grpc: bool,
}

/// What a text must be.
#[derive(Debug)]
enum Text {
    Exact(String),
    Regex(Regex),
}

impl Conditions {
    /// Compiles those of a match. Nothing, if one of them can never hold.
    pub fn new(owner: &str, written: &Match, bad: &mut Vec<BadExpression>) -> Option<Self> {
        let method = written.method.as_ref().map(|name| Method::from_bytes(name.as_bytes()));
        let header = |header: &NamedMatch, bad: &mut Vec<BadExpression>| {
            Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, Text::new(owner, &header.value, bad)?))
        };
        let parameter = |parameter: &NamedMatch, bad: &mut Vec<BadExpression>| {
            Some((parameter.name.clone(), Text::new(owner, &parameter.value, bad)?))
        };
        Some(Self {
            method: method.transpose().ok()?,
            headers: written.headers.iter().map(|written| header(written, bad)).collect::<Option<_>>()?,
            query: written.query.iter().map(|written| parameter(written, bad)).collect::<Option<_>>()?,
            grpc_method: None,
            is_grpc: false,
        })
    }

    /// The same for a gRPC method of any service.
    pub fn for_grpc_method(self, method: &str) -> Self {
        Self { grpc_method: Some(method.to_owned()), ..self }
    }

    /// The same for paths of gRPC alone.
    pub fn for_grpc(self) -> Self {
        Self { is_grpc: true, ..self }
    }

    /// The larger, the better is the match among those with an equally good path.
    pub fn rank(&self) -> (usize, bool, usize, usize) {
        let grpc_method = self.grpc_method.as_ref().map_or(0, String::len);
        (grpc_method, self.method.is_some(), self.headers.len(), self.query.len())
    }

    /// Whether all hold.
    pub fn hold(&self, request: &Request<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && (!self.is_grpc || request.path.matches('/').count() == 2)
            && self.grpc_method.as_ref().is_none_or(|method| grpc_method(request.path) == Some(method))
            && self.headers.iter().all(|(name, text)| header_is(request.headers, name, text))
            && self.query_holds(request.query)
    }

    /// Of a parameter that is given several times the first counts.
    fn query_holds(&self, query: Option<&str>) -> bool {
        if self.query.is_empty() {
            return true;
        }
        let given = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        self.query.iter().all(|(name, text)| {
            let value = given().find(|(given, _)| given == name).map(|(_, value)| value);
            value.is_some_and(|value| text.is(&value))
        })
    }
}

impl Text {
    fn new(owner: &str, written: &TextMatch, bad: &mut Vec<BadExpression>) -> Option<Self> {
        match written {
            TextMatch::Exact(text) => Some(Self::Exact(text.clone())),
            TextMatch::Regex(expression) => whole(owner, expression, bad).map(Self::Regex),
        }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// An expression that is to fit the whole text.
pub fn whole(owner: &str, expression: &str, bad: &mut Vec<BadExpression>) -> Option<Regex> {
    // By itself first: what closes a parenthesis that is not its own would be one within ours.
    match Regex::new(expression).and_then(|_| Regex::new(&format!("^(?:{expression})$"))) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let (owner, expression) = (owner.to_owned(), expression.to_owned());
            bad.push(BadExpression { owner, expression, reason: error.to_string() });
            None
        }
    }
}

/// The method in `/service/method`, and nothing of any other path.
fn grpc_method(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.contains('/')).then_some(method)
}

/// A header that is given several times is one list (RFC 9110, section 5.3).
fn header_is(headers: &HeaderMap, name: &HeaderName, text: &Text) -> bool {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(first) = values.next() else { return false };
    let joined = values.fold(first, |list, value| Cow::Owned(format!("{list},{value}")));
    text.is(&joined)
}
