//! One request with its answer, as the log and the counters see it, from the head to the last byte.
//!
//! It goes along with the request and then with the answer's body, and says what it has to say when it is dropped, so that
//! nothing goes unnoticed, whichever side ends it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use hyper::Request;
use hyper::body::{Body, Incoming};

use super::{Busy, Connection};
use crate::http::access_log::{Record, Upload, begin};
use crate::http::counters::Requests;
use crate::http::proxy_header::Ends;
use crate::http::reject::Reason;
use crate::http::snapshot::LiveListener;

/// A request that has not ended.
#[derive(Debug)]
pub struct Exchange {
    /// The connection that it came on.
    pub connection: Arc<Connection>,
    /// Who asks: the peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// Whether errors are told as gRPC does.
    pub is_grpc: bool,
    /// When the head was read.
    pub start: Instant,
    /// What is counted of the listener that it met.
    counted: Option<Arc<Requests>>,
    /// When the last attempt at a backend began.
    attempt: Option<Instant>,
    /// What the log says, if there is one.
    record: Option<Box<Record>>,
    has_ended: bool,
    _busy: Busy,
}

impl Exchange {
    /// A request whose head was read just now.
    pub fn begin(connection: Arc<Connection>, request: &Request<Incoming>) -> Self {
        let worker = &connection.worker;
        worker.counters.requests.fetch_add(1, Relaxed);
        worker.budget.note_request();
        let content_type = request.headers().get(hyper::header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|value| is_grpc(value.as_bytes()));
        let start = Instant::now();
        let named = connection.forwarded.client(request.headers(), &worker.options.trusted_proxies);
        let record = worker.lines.is_some().then(|| {
            let mut record = begin(connection.peer, connection.local, connection.listener.is_some());
            (record.start, record.date) = (start, SystemTime::now());
            record.named = named;
            record.method = request.method().clone();
            record.version = request.version();
            record.target = request.uri().path_and_query().map_or("*", |target| target.as_str()).to_string();
            record.upload = (!request.body().is_end_stream()).then(|| Arc::new(Upload::new(start)));
            Box::new(record)
        });
        let client = named.unwrap_or(connection.peer.ip());
        let busy = connection.busy();
        Self { connection, client, is_grpc, start, counted: None, attempt: None, record, has_ended: false, _busy: busy }
    }

    /// Who asks and what was reached, as backends of the PROXY protocol are told. The port of a client that a proxy names is not
    /// known.
    pub fn ends(&self) -> Ends {
        let Connection { peer, local, .. } = &*self.connection;
        let port = if peer.ip() == self.client { peer.port() } else { 0 };
        Ends { source: SocketAddr::new(self.client, port), destination: *local }
    }

    /// Whom the request is for.
    pub fn note_host(&mut self, host: &str) {
        if let Some(record) = &mut self.record {
            record.host = host.to_string();
        }
    }

    /// Which listener it met, for the counters.
    pub fn note_listener(&mut self, listener: &LiveListener) {
        self.counted = Some(Arc::clone(listener.requests.of(self.connection.worker.index)));
    }

    /// Which listener, route and rule it met.
    pub fn note_place(&mut self, listener: &str, route: &str, rule: impl FnOnce() -> String) {
        if let Some(record) = &mut self.record {
            record.listener = listener.to_string();
            record.route = route.to_string();
            record.rule = rule();
        }
    }

    /// What exactly was wrong, beyond the reason.
    pub fn note_detail(&mut self, detail: &'static str) {
        if let Some(record) = &mut self.record {
            record.detail = detail;
        }
    }

    /// An attempt at a backend begins.
    pub fn note_attempt(&mut self, backend: &str, address: SocketAddr) {
        let now = Instant::now();
        self.attempt = Some(now);
        if let Some(record) = &mut self.record {
            record.backend = backend.to_string();
            record.backend_address = Some(address);
            record.attempts += 1;
            record.back_request_start = Some(now);
        }
    }

    /// The backend's head is there.
    pub fn note_backend_head(&mut self) {
        if let (Some(counted), Some(attempt)) = (&self.counted, self.attempt) {
            counted.note_wait(attempt.elapsed());
        }
        if let Some(record) = &mut self.record {
            record.back_response_start = Some(Instant::now());
        }
    }

    /// The backend's answer has ended.
    pub fn note_backend_end(&mut self) {
        if let Some(record) = &mut self.record
            && record.back_response_start.is_some()
        {
            record.back_response_end.get_or_insert_with(Instant::now);
        }
    }

    /// The answer's head goes to the client.
    pub fn note_response(&mut self, status: u16) {
        if let Some(counted) = &self.counted {
            counted.note_status(status);
        }
        if let Some(record) = &mut self.record {
            record.status = status;
            record.front_response_start = Some(Instant::now());
        }
    }

    /// So many bytes of the answer's body go to the client.
    pub fn note_bytes(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes_out += bytes as u64;
        }
    }

    /// The request's body, for the log.
    pub fn upload(&self) -> Option<Arc<Upload>> {
        self.record.as_ref().and_then(|record| record.upload.clone())
    }

    /// It was not served, or broke off; the first reason counts.
    pub fn fail(&mut self, reason: Reason) {
        if self.has_ended {
            return;
        }
        self.has_ended = true;
        self.connection.worker.counters.reject(reason);
        if let Some(record) = &mut self.record {
            record.reason = Some(reason);
        }
    }

    /// The answer's body is not asked for any more.
    pub fn end(&mut self, is_complete: bool) {
        if is_complete {
            self.has_ended = true;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.fail(Reason::ClientGone);
        if let (Some(mut record), Some(lines)) = (self.record.take(), &self.connection.worker.lines) {
            record.front_response_end = Some(Instant::now());
            lines.add(&record);
        }
    }
}

/// Whether a content type is that of gRPC; gRPC-Web is another protocol.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}
