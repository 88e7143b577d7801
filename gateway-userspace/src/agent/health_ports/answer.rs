//! What a health check node port says: what kube-proxy says there, whatever the path.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

use super::Checks;
use crate::model::HealthCheck;

/// How long a client may take to ask, the first time and between two questions.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How many endpoints there are, for balancers that weigh nodes by it.
const WEIGHT_HEADER: &str = "x-load-balancing-endpoint-weight";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Service<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Answers one connection until it ends.
pub async fn serve(stream: TcpStream, port: u16, checks: watch::Receiver<Checks>) {
    let answer = |_| {
        // A port that is just being closed has no endpoints any more.
        let check = checks.borrow().get(&port).cloned().unwrap_or_default();
        async move { Ok::<_, Infallible>(response(&check)) }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    if let Err(error) = served {
        debug!(%error, port, "a health check broke off");
    }
}

fn response(check: &HealthCheck) -> Response<Full<Bytes>> {
    let (namespace, name) = check.service.split_once('/').unwrap_or_default();
    let local_endpoints = check.local_endpoints;
    let body = Body { service: Service { namespace, name }, local_endpoints, service_proxy_healthy: true };
    let status = if local_endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, hyper::header::HeaderValue::from_static("nosniff"));
    headers.insert(WEIGHT_HEADER, local_endpoints.into());
    response
}
