//! What a Pod's HTTP server answers: who it is and what it saw, a stream without end, or what it was sent: the request's own
//! body, the messages of a WebSocket, those of a gRPC stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::http::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How a call of gRPC went, at its end.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How often the stream sends a line.
const STREAM_INTERVAL: Duration = Duration::from_millis(50);

/// Who answered, and what it saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The Pod's name.
    pub pod: String,
    /// The client's address and port, as the Pod sees them.
    pub client: SocketAddr,
    /// The request's path.
    pub path: String,
    /// The request's headers.
    pub headers: BTreeMap<String, String>,
}

/// Answers one request: `GET /stream` sends a line every 50 ms, `GET /ready` is 503 if the Pod is not, `POST /echo` and every
/// call of gRPC return the body, a WebSocket its messages; all else says who answers.
pub fn answer(
    pod: &str,
    is_ready: bool,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, hyper::http::Error> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) {
        let accepted = derive_accept_key(key.as_bytes());
        tokio::spawn(echo_messages(request));
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let switching = switching.header(CONNECTION, "upgrade").header(UPGRADE, "websocket");
        return switching
            .header(SEC_WEBSOCKET_ACCEPT, accepted)
            .body(Empty::new().map_err(|never| match never {}).boxed());
    }
    let path = request.uri().path();
    if request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let ended = async { Some(Ok(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]))) };
        let body = request.into_body().with_trailers(ended).boxed();
        return Response::builder().header(CONTENT_TYPE, "application/grpc").body(body);
    }
    if *request.method() == Method::POST && path == "/echo" {
        return Ok(Response::new(request.into_body().boxed()));
    }
    if path == "/stream" {
        return Ok(Response::new(Ticker::start(pod).boxed()));
    }
    let status = if path == "/ready" && !is_ready { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let answer = Answer { pod: pod.to_owned(), client, path: path.to_owned(), headers };
    let text = serde_json::json!(answer).to_string() + "\n";
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    Response::builder().status(status).header(CONTENT_TYPE, "application/json").body(body)
}

/// Returns the messages of a WebSocket until the client closes it.
async fn echo_messages(request: Request<Incoming>) {
    // A client that goes away is no error of ours.
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_binary() || message.is_text()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// A body that never ends: `POD NUMBER`, one line an interval.
struct Ticker {
    pod: String,
    interval: Interval,
    number: u64,
}

impl Ticker {
    fn start(pod: &str) -> Self {
        let mut interval = interval(STREAM_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { pod: pod.to_owned(), interval, number: 0 }
    }
}

impl Body for Ticker {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        std::task::ready!(self.interval.poll_tick(context));
        let line = format!("{} {}\n", self.pod, self.number);
        self.number += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))))
    }
}
