//! A hyper server behind the tap, over a connection that is a script.
//!
//! The service answers 200 to what it could read as a whole, and 400 to what `framing` refuses or whose body breaks off,
//! as a gateway does. It notes each request as it saw it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gateway_userspace::http::framing::{self, Rules};
use gateway_userspace::http::tap::{self, Tap, Verdict};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest head that the tap lets through here.
pub const MAX_HEAD: usize = 16 * 1024;

/// A request as hyper showed it to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The whole body, decoded; none if it broke off.
    pub body: Option<Vec<u8>>,
}

/// What became of a connection, when all of the script was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The final status of each answer, in order.
    pub statuses: Vec<u16>,
    /// The requests that reached the service.
    pub seen: Vec<Seen>,
    /// Whether the server closed the connection.
    pub is_closed: bool,
    /// The tap's or `framing`'s reason, if one refused.
    pub reason: Option<&'static str>,
}

/// Serves a connection whose client sends these pieces, each of which is one read, and then waits.
pub fn serve(pieces: &[&[u8]]) -> Outcome {
    let script = Script {
        pieces: pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect(),
        ..Script::default()
    };
    let written = Rc::clone(&script.written);
    let tap = Tap::new(script, MAX_HEAD);
    let handle = tap.handle();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let refusal = Rc::new(RefCell::new(None));
    let service = service_fn(|request| answer(request, handle.clone(), Rc::clone(&seen), Rc::clone(&refusal)));
    let mut connection =
        pin!(http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(tap), service));

    let is_closed = run(connection.as_mut());

    let statuses = statuses(&written.borrow());
    // The tap may have read on, behind what `framing` refused.
    let reason = refusal.take().or(handle.violation().map(tap::Violation::name));
    Outcome { statuses, seen: seen.take(), is_closed, reason }
}

/// Polls as long as anybody wakes; returns whether it came to an end.
fn run(mut connection: Pin<&mut impl Future>) -> bool {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    while woken.0.swap(false, Ordering::Relaxed) {
        if connection.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
    }
    false
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn answer(
    request: Request<Incoming>,
    handle: tap::Handle,
    seen: Rc<RefCell<Vec<Seen>>>,
    refusal: Rc<RefCell<Option<&'static str>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(Empty::new());
    if let Err(reason) = framing::check(&parts, Rules::default()) {
        *refusal.borrow_mut() = Some(reason.name());
        *response.status_mut() = reason.status();
    } else {
        let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
        if body.is_none() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        seen.borrow_mut().push(Seen { method: parts.method.to_string(), target: parts.uri.to_string(), body });
    }
    if tap::asks_to_switch(&parts.method, &parts.headers) {
        handle.decide(Verdict::Refused);
    }
    if !response.status().is_success() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The status codes of answers whose bodies hold no head, interim ones left out.
pub fn statuses(written: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(written);
    let heads = text.split("\r\n\r\n").filter(|head| !head.is_empty());
    heads.filter_map(|head| head.split(' ').nth(1)?.parse().ok()).filter(|&status| status >= 200).collect()
}

/// The server's end of a connection.
#[derive(Default)]
struct Script {
    pieces: VecDeque<Vec<u8>>,
    written: Rc<RefCell<Vec<u8>>>,
    /// Whether the server has ended its side; then the client ends the other.
    is_shut: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return if self.is_shut { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }
}
