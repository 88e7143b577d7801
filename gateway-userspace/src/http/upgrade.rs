//! WebSocket: by `Upgrade` in HTTP/1.1 (RFC 9110, 7.8), and by extended CONNECT in HTTP/2 (RFC 8441), to a backend that
//! speaks HTTP/1.1.
//!
//! The connection to the backend is a new one and never comes back to a pool. Other protocols are not gone over to: their
//! requests are served as if they had not asked.

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::ext::Protocol;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::body::ResponseBody;
use super::connection::Exchange;
use super::forward::{self, Answer, Outgoing, Target};
use super::framing::hop_by_hop::{self, Hops};
use super::reject::Reason;

const WEBSOCKET: &str = "websocket";

/// How a client asks for WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By `Upgrade`.
    Upgrade,
    /// By extended CONNECT.
    Connect,
}

/// How a request asks for WebSocket, if it does.
pub fn wanted(parts: &Parts) -> Option<Asked> {
    if parts.method == Method::CONNECT {
        let protocol = parts.extensions.get::<Protocol>()?;
        return protocol.as_str().eq_ignore_ascii_case(WEBSOCKET).then_some(Asked::Connect);
    }
    if parts.version < Version::HTTP_11 {
        // HTTP/1.0 cannot go over (RFC 9110, 7.8).
        return None;
    }
    let upgrade = parts.headers.get(UPGRADE)?;
    let is_announced =
        hop_by_hop::connection_options(&parts.headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let is_websocket = upgrade.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    (parts.method == Method::GET && is_announced && is_websocket).then_some(Asked::Upgrade)
}

/// Asks a backend to go over, and joins both sides if it does. Any other answer goes to the client as it is.
pub async fn serve(
    exchange: &mut Exchange,
    mut parts: Parts,
    body: Incoming,
    hops: &Hops,
    target: &Target<'_>,
    asked: Asked,
) -> Result<Response<ResponseBody>, Reason> {
    if asked == Asked::Upgrade && !body.is_end_stream() {
        return Err(Reason::BadRequest);
    }
    let client = parts.extensions.remove::<OnUpgrade>().ok_or(Reason::UpgradeFailed)?;
    let mut outgoing = target.outgoing(exchange, parts, hops);
    ask_for_websocket(&mut outgoing, asked);

    let answer = forward::attempts(exchange, outgoing, target).await?;
    if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(target.answer(answer));
    }
    // What follows may take as long as it likes: the rule's limits are for answers.
    let Answer { response, lease, member, limit: _ } = answer;
    let is_websocket = response
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    if !is_websocket {
        return Err(Reason::UpgradeFailed);
    }
    let mut headers = response.headers().clone();
    target.finish(member, &mut headers);
    let backend = hyper::upgrade::on(response);
    let connection = Arc::clone(&exchange.connection);
    let busy = connection.busy();
    exchange.connection.worker.spawn(async move {
        tokio::select! {
            () = join(client, backend) => {}
            () = connection.expired() => tracing::debug!(peer = %connection.peer, "a WebSocket has outlived its listener"),
        }
        drop((lease, busy));
    });
    Ok(agreed(headers, asked))
}

/// What HTTP/1.1 needs to ask.
fn ask_for_websocket(outgoing: &mut Outgoing, asked: Asked) {
    outgoing.method = Method::GET;
    outgoing.ask_for(HeaderValue::from_static(WEBSOCKET));
    let headers = &mut outgoing.headers;
    if asked == Asked::Connect {
        headers.insert(SEC_WEBSOCKET_KEY, key());
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    }
}

/// 16 bytes in base64, as RFC 6455, 4.1 wants them. They prove nothing to anybody here.
fn key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text: Vec<u8> = (0..21).map(|_| DIGITS[fastrand::usize(..64)]).collect();
    // The last digit carries two bits: 22 digits are 132 bits, the bytes 128.
    text.push(DIGITS[fastrand::usize(..4) << 4]);
    text.extend_from_slice(b"==");
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// What tells the client that it may begin.
fn agreed(mut headers: HeaderMap, asked: Asked) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    match asked {
        Asked::Upgrade => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        Asked::Connect => {
            const OF_HTTP1: [HeaderName; 3] = [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT];
            for name in &OF_HTTP1 {
                headers.remove(name);
            }
        }
    }
    *response.headers_mut() = headers;
    response
}

async fn join(client: OnUpgrade, backend: OnUpgrade) {
    let (client, backend) = match futures::future::try_join(client, backend).await {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a connection did not go over to WebSocket"),
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "a WebSocket broke off");
    }
}
