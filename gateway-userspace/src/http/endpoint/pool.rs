//! One worker's connections to one endpoint that are free for a request.
//!
//! Connections of HTTP/1.1 are taken and put back, the last one first, so that those not needed grow old and go. A
//! connection of HTTP/2 stays here while it is used, for as many streams as the backend allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};

use crate::http::body::RequestBody;

/// Connections of HTTP/1.1 that are looked at for one that is ready.
const LOOKED_AT: usize = 4;

/// What a request is sent on.
#[derive(Debug)]
pub enum Wire {
    /// A connection of its own.
    Http1(http1::SendRequest<RequestBody>),
    /// A stream of a shared connection.
    Http2(Stream),
}

impl Wire {
    /// Whether the connection serves many requests at a time.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a request. The error holds it again if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(shared) => shared.sender().try_send_request(request).await,
        }
    }

    /// The shared connection, if it is one.
    pub fn share(&self) -> Option<Arc<Shared>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(Arc::clone(&stream.0)),
        }
    }
}

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: AtomicUsize,
    /// How many streams the backend allows; whoever drives the connection keeps it up to date.
    allowed: Arc<AtomicUsize>,
}

impl Shared {
    /// A connection without streams.
    pub fn new(sender: http2::SendRequest<RequestBody>, allowed: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { sender, streams: AtomicUsize::new(0), allowed })
    }

    /// One more stream, whether or not there is room.
    pub fn open(self: &Arc<Self>) -> Stream {
        self.streams.fetch_add(1, Relaxed);
        Stream(Arc::clone(self))
    }
}

/// A place for one request on a connection of HTTP/2.
#[derive(Debug)]
pub struct Stream(Arc<Shared>);

impl Stream {
    /// What sends.
    pub fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.0.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// The free connections.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Vec<Idle>,
    shared: Vec<SharedEntry>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

#[derive(Debug)]
struct SharedEntry {
    connection: Arc<Shared>,
    made: Instant,
    /// When it was last seen with a stream.
    busy: Instant,
}

impl Pool {
    /// A connection that can take a request now.
    pub fn take(&mut self) -> Option<Wire> {
        if !self.shared.is_empty()
            && let Some(stream) = self.take_shared(|_| true)
        {
            return Some(stream);
        }
        // The end of the last answer may be known here before the connection is ready for the next request.
        for index in (self.idle.len().saturating_sub(LOOKED_AT)..self.idle.len()).rev() {
            if self.idle[index].sender.is_closed() {
                self.idle.swap_remove(index);
            } else if self.idle[index].sender.is_ready() {
                return Some(Wire::Http1(self.idle.remove(index).sender));
            }
        }
        None
    }

    /// A stream of a connection that was made after this.
    pub fn take_newer(&mut self, than: Instant) -> Option<Wire> {
        self.take_shared(|entry| entry.made > than)
    }

    fn take_shared(&mut self, may_be: impl Fn(&SharedEntry) -> bool) -> Option<Wire> {
        self.shared.retain(|entry| !entry.connection.sender.is_closed());
        let has_room = |connection: &Shared| connection.streams.load(Relaxed) < connection.allowed.load(Relaxed);
        let entry = self.shared.iter_mut().find(|entry| has_room(&entry.connection) && may_be(entry))?;
        entry.busy = Instant::now();
        Some(Wire::Http2(entry.connection.open()))
    }

    /// Puts a connection of HTTP/1.1 back; the oldest goes if there are more than `limit` then.
    pub fn put(&mut self, sender: http1::SendRequest<RequestBody>, limit: usize) {
        if !sender.is_closed() {
            self.idle.push(Idle { sender, since: Instant::now() });
        }
        if self.idle.len() > limit {
            self.idle.remove(0);
        }
    }

    /// Adds a connection of HTTP/2.
    pub fn add_shared(&mut self, connection: Arc<Shared>) {
        let now = Instant::now();
        self.shared.push(SharedEntry { connection, made: now, busy: now });
    }

    /// Ends connections that were idle for longer than `limit`, and forgets those that ended by themselves.
    pub fn sweep(&mut self, limit: Duration) {
        let now = Instant::now();
        self.idle.retain(|idle| !idle.sender.is_closed() && now.duration_since(idle.since) < limit);
        for entry in &mut self.shared {
            if entry.connection.streams.load(Relaxed) > 0 {
                entry.busy = now;
            }
        }
        self.shared.retain(|entry| !entry.connection.sender.is_closed() && now.duration_since(entry.busy) < limit);
    }

    /// Ends all that are idle, and lets no further stream onto those that are shared.
    pub fn clear(&mut self) {
        self.idle.clear();
        self.shared.clear();
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.idle.len() + self.shared.len()
    }
}
