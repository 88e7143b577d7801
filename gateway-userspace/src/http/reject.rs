//! The one place where an error becomes an answer, a field of the log and a count.
//!
//! The names are part of the log's and the metrics' form: they are added to, and never changed.

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::ResponseBody;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $reason:ident: $name:literal, $status:ident, $grpc:literal, $sentence:literal;)+) => {
        /// Why a request was not served, or broke off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $reason,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// The name in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)+ }
            }

            /// What HTTP answers.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$reason => StatusCode::$status,)+ }
            }

            /// What gRPC answers (grpc, "Status codes and their use").
            pub const fn grpc_status(self) -> &'static str {
                match self { $(Self::$reason => $grpc,)+ }
            }

            /// What the client is told.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$reason => $sentence,)+ }
            }
        }
    };
}

reasons! {
    /// The frontend is not served any more.
    NoSite: "no_site", NOT_FOUND, "12", "nothing is served here any more";
    /// No listener or route is for the request.
    NoRoute: "no_route", NOT_FOUND, "12", "no route for this request";
    /// The connection was made for another listener than the host's (RFC 9110, 15.5.20).
    Misdirected: "misdirected", MISDIRECTED_REQUEST, "14", "this host is not served on this connection";
    /// The request itself is not fit: framing, Host, target.
    BadRequest: "bad_request", BAD_REQUEST, "13", "the request is not well formed";
    /// The head is longer, or has more fields, than it may.
    HeadTooLarge: "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "8", "the request's head is too large";
    /// The head did not come in time.
    HeadTimeout: "head_timeout", REQUEST_TIMEOUT, "4", "the request's head did not come in time";
    /// A client of HTTP/2 costs more than it may: resets, empty frames, heads without end (CVE-2023-44487, CVE-2024-27316).
    Http2Flood: "http2_flood", TOO_MANY_REQUESTS, "8", "the connection costs too much";
    /// CONNECT, or a protocol to which nobody here goes over.
    ConnectRefused: "connect_refused", METHOD_NOT_ALLOWED, "12", "CONNECT is not served here";
    /// A reference of the rule leads nowhere.
    BrokenReference: "broken_reference", INTERNAL_SERVER_ERROR, "14", "the route's backend does not exist";
    /// A filter of the rule cannot be served.
    BrokenFilter: "broken_filter", INTERNAL_SERVER_ERROR, "14", "the route has a filter that cannot be served";
    /// The rule has no backends.
    NoBackends: "no_backends", INTERNAL_SERVER_ERROR, "14", "the route has no backend";
    /// None of the backends is ready.
    NoneReady: "none_ready", SERVICE_UNAVAILABLE, "14", "no backend is ready";
    /// No connection to a backend.
    ConnectFailed: "connect_failed", BAD_GATEWAY, "14", "the backend does not accept the connection";
    /// No connection to a backend in time.
    ConnectTimeout: "connect_timeout", GATEWAY_TIMEOUT, "14", "the backend does not accept the connection in time";
    /// No TLS with the backend: its certificate is not what the policy asks for, or it speaks none.
    BackendTls: "backend_tls", BAD_GATEWAY, "14", "no trusted TLS connection to the backend";
    /// The backend ended the connection before it answered.
    BackendClosed: "backend_closed", BAD_GATEWAY, "14", "the backend ended the connection without an answer";
    /// The backend's answer is not HTTP.
    BackendProtocol: "backend_protocol", BAD_GATEWAY, "14", "the backend's answer cannot be understood";
    /// The backend did not take up the other protocol as it said.
    UpgradeFailed: "upgrade_failed", BAD_GATEWAY, "14", "the backend did not go over to the protocol";
    /// One attempt took too long.
    BackendTimeout: "backend_timeout", GATEWAY_TIMEOUT, "4", "the backend does not answer in time";
    /// The request as a whole took too long.
    RequestTimeout: "request_timeout", GATEWAY_TIMEOUT, "4", "no answer in time";
    /// The client paused for too long within the request's body.
    BodyTimeout: "body_timeout", REQUEST_TIMEOUT, "4", "the request's body did not come in time";
    /// The client broke off the request's body.
    ClientBody: "client_body", BAD_REQUEST, "1", "the request's body broke off";
    /// The answer's body broke off at the backend.
    BackendBody: "backend_body", BAD_GATEWAY, "14", "the backend's answer broke off";
    /// The client was gone before the end of the answer.
    ClientGone: "client_gone", BAD_REQUEST, "1", "the client has gone";
    /// More connections than one client, or all together, may have.
    TooManyConnections: "too_many_connections", SERVICE_UNAVAILABLE, "8", "too many connections";
    /// The connection does not begin with the PROXY protocol as it has to, or is from somebody whose word does not count.
    ProxyHeader: "proxy_header", BAD_REQUEST, "14", "the connection does not begin with the header of a trusted proxy";
    /// TLS with the client failed.
    TlsHandshake: "tls_handshake", BAD_REQUEST, "14", "no TLS connection with the client";
    /// No listener is for the name that the client asked for by SNI.
    NoListener: "no_listener", NOT_FOUND, "14", "no listener for this name";
}

/// The answer to a request that is not served.
///
/// A client of gRPC is told in its own words: status 200 and trailers only, which is a head that ends the stream.
pub fn response(reason: Reason, is_grpc: bool) -> Response<ResponseBody> {
    let mut response = if is_grpc { grpc_response(reason) } else { text_response(reason) };
    if ends_connection(reason) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn grpc_response(reason: Reason) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(reason.grpc_status()));
    headers.insert(HeaderName::from_static("grpc-message"), HeaderValue::from_static(reason.sentence()));
    response
}

fn text_response(reason: Reason) -> Response<ResponseBody> {
    let text = Bytes::from([reason.name(), ": ", reason.sentence(), "\n"].concat());
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = reason.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Whether nothing that follows on the connection can be trusted, or served.
fn ends_connection(reason: Reason) -> bool {
    use Reason::{BadRequest, BodyTimeout, ClientBody, ConnectRefused, HeadTimeout, HeadTooLarge, NoSite};
    matches!(reason, BadRequest | BodyTimeout | ClientBody | ConnectRefused | HeadTimeout | HeadTooLarge | NoSite)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();

        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn grpc_is_told_by_a_head_alone() {
        let response = response(Reason::NoneReady, true);

        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(hyper::body::Body::is_end_stream(response.body()));
    }
}
