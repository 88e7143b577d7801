//! A request on its way to a backend, in a form that is neither HTTP/1.1's nor HTTP/2's until it is sent.

use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use crate::http::body::{Gate, RequestBody};
use crate::http::framing::hop_by_hop::{self, Hops};
use crate::model::http::BackendRef;

/// A request of which nothing was sent.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// The fields, `Host` among them, and none that is for one connection only.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// Opens when the backend wants the body.
    pub gate: Option<Gate>,
    hops: Hops,
    is_https: bool,
}

impl Outgoing {
    /// The head of a client's request, without a body yet.
    pub fn new(parts: Parts, hops: &Hops, scheme: &str) -> Self {
        let Parts { method, uri, headers, .. } = parts;
        let target = uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        let hops = Hops { upgrade: None, accepts_trailers: hops.accepts_trailers };
        Self { method, target, headers, body: RequestBody::Empty, gate: None, hops, is_https: scheme == "https" }
    }

    /// The host that the backend sees.
    pub fn set_host(&mut self, host: HeaderValue) {
        self.headers.insert(HOST, host);
    }

    /// The host that a reference wants its backends to see, if it wants one.
    pub fn set_host_header(&mut self, backend: &BackendRef) {
        if let Some(host) = &backend.host_header
            && let Ok(host) = HeaderValue::from_str(host)
        {
            self.set_host(host);
        }
    }

    /// Whether the client waits for a word before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }

    /// Asks the backend to go over to a protocol.
    pub fn ask_for(&mut self, protocol: HeaderValue) {
        self.hops.upgrade = Some(protocol);
    }

    /// Whether the backend is asked to go over to another protocol, which takes a connection of its own.
    pub fn asks_to_switch(&self) -> bool {
        self.hops.upgrade.is_some()
    }

    /// The same head, without a body.
    pub fn head(&self) -> Self {
        Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: RequestBody::Empty,
            gate: None,
            hops: self.hops.clone(),
            is_https: self.is_https,
        }
    }

    /// The same request once more, if it has no body.
    pub fn copy(&self) -> Option<Self> {
        matches!(self.body, RequestBody::Empty).then(|| self.head())
    }

    /// The request as it is sent.
    pub fn into_request(self, is_http2: bool) -> Request<RequestBody> {
        let Self { method, target, mut headers, body, gate, hops, is_https } = self;
        let mut uri = hyper::http::uri::Parts::default();
        uri.path_and_query = Some(target);
        let version = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        hops.announce(&mut headers, version);
        if !is_http2 && is_open_ended(&body) && !headers.contains_key(CONTENT_LENGTH) {
            // hyper would take GET and HEAD to have no body then.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if is_http2 {
            // HTTP/2 says in `:authority` what HTTP/1.1 says in `Host`, and nothing of a body that waits.
            let host = headers.remove(HOST);
            headers.remove(EXPECT);
            uri.authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
            uri.scheme = uri.authority.is_some().then_some(if is_https { Scheme::HTTPS } else { Scheme::HTTP });
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        if let Some(gate) = gate {
            if is_http2 {
                gate.open();
            } else {
                hyper::ext::on_informational(&mut request, move |response| {
                    if response.status() == StatusCode::CONTINUE {
                        gate.open();
                    }
                });
            }
        }
        request
    }

    /// A request that came back because nothing of it was sent.
    pub fn from_request(request: Request<RequestBody>) -> Self {
        let (mut parts, body) = request.into_parts();
        let is_https = parts.uri.scheme() == Some(&Scheme::HTTPS);
        if let Some(authority) = parts.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(HOST, host);
        }
        let hops = hop_by_hop::strip(&mut parts.headers);
        let gate = parts.headers.contains_key(EXPECT).then(Gate::default);
        let mut outgoing = Self::new(parts, &hops, if is_https { "https" } else { "http" });
        outgoing.hops = hops;
        outgoing.body = body;
        if let (Some(gate), RequestBody::Client(body)) = (gate, &mut outgoing.body) {
            body.wait_for(gate.clone());
            outgoing.gate = Some(gate);
        }
        outgoing
    }
}

/// Whether there is a body of which nobody knows how long it is.
fn is_open_ended(body: &RequestBody) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::mirror;

    fn outgoing(method: Method, headers: HeaderMap, body: RequestBody) -> Outgoing {
        let mut request = Request::new(());
        (*request.method_mut(), *request.headers_mut()) = (method, headers);
        let outgoing = Outgoing::new(request.into_parts().0, &Hops::default(), "http");
        Outgoing { body, ..outgoing }
    }

    fn open_ended() -> RequestBody {
        RequestBody::Mirror(mirror::pair().1)
    }

    #[test]
    fn a_body_of_unknown_length_is_chunked_in_http1_also_when_it_comes_back_unsent() {
        let first = outgoing(Method::GET, HeaderMap::new(), open_ended()).into_request(false);
        assert_eq!(first.headers()["transfer-encoding"], "chunked");

        let second = Outgoing::from_request(first).into_request(true);
        assert!(!second.headers().contains_key("transfer-encoding"));

        let third = Outgoing::from_request(second).into_request(false);
        assert_eq!(third.headers().get_all("transfer-encoding").iter().collect::<Vec<_>>(), ["chunked"]);
    }

    #[test]
    fn a_body_whose_length_is_said_is_not_chunked_and_neither_is_none() {
        let length = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("4"))]);

        for outgoing in
            [outgoing(Method::GET, length, open_ended()), outgoing(Method::GET, HeaderMap::new(), RequestBody::Empty)]
        {
            assert!(!outgoing.into_request(false).headers().contains_key("transfer-encoding"));
        }
    }
}
