//! The bodies of requests and answers on their way through: streamed, never gathered.
//!
//! A piece is read only when the other side takes it, so a slow reader slows the writer. What breaks off on one side breaks
//! off on the other: a body is never ended as if it were complete.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::access_log::Upload;
use super::connection::Exchange;
use super::endpoint::Lease;
use super::framing::hop_by_hop;
use super::mirror::{MirrorBody, MirrorTap};
use super::reject::Reason;

/// How long a backend may be silent after `Expect: 100-continue` before the body is sent all the same (RFC 9110,
/// 10.1.1: a client should not wait for an indefinite time).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// Until when an answer must have ended, and what it means if it has not.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The instant.
    pub at: Instant,
    /// Whose time is over then: the request's or the attempt's.
    pub reason: Reason,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender broke off.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// The client paused for too long.
    #[error("the request's body did not come in time")]
    Idle,
    /// The answer did not end in time.
    #[error("the answer did not end in time")]
    Deadline,
    /// A mirror did not follow, or the request that it copies broke off.
    #[error("the copy broke off")]
    Copy,
}

impl BodyError {
    /// The reason, if it is the body of a request.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Broken(_) | Self::Copy => Reason::ClientBody,
            Self::Idle => Reason::BodyTimeout,
            Self::Deadline => Reason::RequestTimeout,
        }
    }
}

/// What a backend is sent.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// What the client sends.
    Client(Box<ClientBody>),
    /// A copy of what the client sends.
    Mirror(MirrorBody),
}

/// Why a client's body broke off, for whoever waits for the answer: hyper forgets it on connections of HTTP/2.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<OnceLock<Reason>>);

impl Fault {
    /// The reason, if it did.
    pub fn reason(&self) -> Option<Reason> {
        self.0.get().copied()
    }

    fn note(&self, error: BodyError) -> BodyError {
        let _ = self.0.set(error.reason());
        error
    }
}

/// What a client sends.
#[derive(Debug)]
pub struct ClientBody {
    incoming: Incoming,
    upload: Option<Arc<Upload>>,
    /// How long it may pause.
    pause: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    gate: Option<Gate>,
    taps: Vec<MirrorTap>,
    fault: Fault,
}

impl ClientBody {
    /// A body of which nothing was read; with `pause`, it breaks off if nothing comes for so long.
    /// What is read is noted in `upload`, for the log.
    pub fn new(incoming: Incoming, pause: Option<Duration>, upload: Option<Arc<Upload>>) -> Self {
        Self { incoming, upload, pause, timer: None, gate: None, taps: Vec::new(), fault: Fault::default() }
    }

    /// Nothing is read before the gate opens. Reading is what makes hyper send "100 Continue" to the client.
    pub fn wait_for(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    /// Whatever is read is copied there, too.
    pub fn copy_to(&mut self, tap: MirrorTap) {
        self.taps.push(tap);
    }

    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(gate) = &self.gate else { return Poll::Ready(()) };
        if !gate.poll_open(cx) {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(CONTINUE_PATIENCE)));
            ready!(timer.as_mut().poll(cx));
        }
        self.gate = None;
        self.timer = None;
        Poll::Ready(())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        ready!(self.poll_gate(cx));
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            if let Some(pause) = self.pause {
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(self.fault.note(BodyError::Idle))));
            }
            return Poll::Pending;
        };
        self.timer = None;
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    hop_by_hop::strip_trailers(trailers);
                }
                self.taps.retain_mut(|tap| tap.copy(&frame));
                if let Some(upload) = &self.upload {
                    upload.add(frame.data_ref().map_or(0, Bytes::len));
                }
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.fault.note(BodyError::Broken(error))))),
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn end(&mut self) {
        if let Some(upload) = &self.upload {
            upload.end();
        }
        for tap in self.taps.drain(..) {
            tap.end();
        }
    }
}

impl RequestBody {
    /// Where it is noted why it broke off, if it comes from a client.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Client(body) => Some(body.fault.clone()),
            Self::Empty | Self::Mirror(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll_frame(cx),
            Self::Mirror(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.is_end_stream(),
            Self::Mirror(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.size_hint(),
            Self::Mirror(_) => SizeHint::default(),
        }
    }
}

/// Holds a body back until the backend has said "100 Continue".
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    is_open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    /// Lets the body through.
    pub fn open(&self) {
        self.0.is_open.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    fn poll_open(&self, cx: &Context<'_>) -> bool {
        self.0.waker.register(cx.waker());
        self.0.is_open.load(Ordering::Acquire)
    }
}

/// What a client is sent.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    /// What was read of the source already.
    ahead: Option<Result<Frame<Bytes>, BodyError>>,
    /// The connection that it comes on, which goes back to its endpoint at the end.
    lease: Option<Lease>,
    limit: Option<(Pin<Box<Sleep>>, Reason)>,
    exchange: Option<Exchange>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Text(Bytes),
    Backend(Incoming),
}

impl ResponseBody {
    /// Nothing.
    pub fn empty() -> Self {
        Self::of(Source::Empty)
    }

    /// A text of our own.
    pub fn text(text: Bytes) -> Self {
        Self::of(Source::Text(text))
    }

    /// What a backend sends on a connection, within the limit if there is one.
    pub fn backend(incoming: Incoming, lease: Lease, limit: Option<Limit>) -> Self {
        let is_over = incoming.is_end_stream();
        let mut body = Self::of(if is_over { Source::Empty } else { Source::Backend(incoming) });
        body.lease = Some(lease);
        if is_over {
            body.give_back();
        } else {
            body.limit = limit.map(|Limit { at, reason }| (Box::pin(tokio::time::sleep_until(at.into())), reason));
        }
        body
    }

    fn of(source: Source) -> Self {
        Self { source, ahead: None, lease: None, limit: None, exchange: None }
    }

    /// Takes what has come already of a backend's body, so that it goes to the client together with the head, in one write.
    /// Whoever reads the backend's connection gets one turn for it; what takes longer is not waited for.
    pub async fn look_ahead(&mut self) {
        let mut has_waited = false;
        std::future::poll_fn(|cx| {
            let Source::Backend(incoming) = &mut self.source else { return Poll::Ready(()) };
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(frame) => {
                    let is_over = frame.is_none() || incoming.is_end_stream();
                    self.ahead = frame.map(|frame| frame.map(passed_on).map_err(BodyError::Broken));
                    if is_over && !matches!(self.ahead, Some(Err(_))) {
                        self.end();
                    }
                    Poll::Ready(())
                }
                Poll::Pending if has_waited => Poll::Ready(()),
                Poll::Pending => {
                    // Being read makes the backend's connection deliver; it is to be polled before this is again.
                    has_waited = true;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Leaves out a text of our own, if it is one: how long it would have been.
    pub fn omit_text(&mut self) -> Option<usize> {
        let Source::Text(text) = &self.source else { return None };
        let length = text.len();
        self.source = Source::Empty;
        Some(length)
    }

    /// The exchange ends with this body.
    pub fn attach(&mut self, mut exchange: Exchange) {
        if !matches!(self.source, Source::Backend(_)) {
            exchange.note_backend_end();
        }
        self.exchange = Some(exchange);
    }

    /// The backend's connection is free for another request.
    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.note_backend_end();
        }
    }

    fn end(&mut self) {
        self.limit = None;
        self.give_back();
        self.source = Source::Empty;
    }

    fn break_off(&mut self, reason: Reason, error: BodyError) -> BodyError {
        self.lease = None;
        self.source = Source::Empty;
        if let Some(exchange) = &mut self.exchange {
            exchange.fail(reason);
        }
        error
    }

    /// What was read ahead, which is the client's now.
    fn deliver_ahead(&mut self, piece: Result<Frame<Bytes>, BodyError>) -> Result<Frame<Bytes>, BodyError> {
        match piece {
            Ok(frame) => {
                if let (Some(exchange), Some(data)) = (&mut self.exchange, frame.data_ref()) {
                    exchange.note_bytes(data.len());
                }
                Ok(frame)
            }
            Err(error) => Err(self.break_off(Reason::BackendBody, error)),
        }
    }

    fn poll_backend(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some((end, reason)) = &mut self.limit
            && end.as_mut().poll(cx).is_ready()
        {
            let reason = *reason;
            return Poll::Ready(Some(Err(self.break_off(reason, BodyError::Deadline))));
        }
        let Source::Backend(incoming) = &mut self.source else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let is_last = incoming.is_end_stream();
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let (Some(exchange), Some(data)) = (&mut self.exchange, frame.data_ref()) {
                    exchange.note_bytes(data.len());
                }
                if is_last || frame.is_trailers() {
                    self.end();
                }
                Some(Ok(passed_on(frame)))
            }
            Some(Err(error)) => Some(Err(self.break_off(Reason::BackendBody, BodyError::Broken(error)))),
            None => {
                self.end();
                None
            }
        })
    }
}

/// A piece of an answer as the client gets it.
fn passed_on(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        hop_by_hop::strip_answer_trailers(trailers);
    }
    frame
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(piece) = self.ahead.take() {
            return Poll::Ready(Some(self.deliver_ahead(piece)));
        }
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Text(text) => {
                let text = std::mem::take(text);
                self.source = Source::Empty;
                if let Some(exchange) = &mut self.exchange {
                    exchange.note_bytes(text.len());
                }
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Source::Backend(_) => self.poll_backend(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            _ if self.ahead.is_some() => false,
            Source::Empty => true,
            Source::Text(_) => false,
            Source::Backend(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Backend(incoming) => incoming.size_hint(),
        };
        let ahead = match &self.ahead {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) => return SizeHint::default(),
            None => 0,
        };
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead),
            None => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body that hyper does not want to the end, as of an answer to HEAD, has no more to say.
        let is_complete = self.is_end_stream() || matches!(self.source, Source::Text(_));
        if let Some(exchange) = &mut self.exchange {
            exchange.end(is_complete);
        }
    }
}
