//! A backend as the HTTP layer meets it: its address, what it speaks, its connections, and how it has behaved.
//!
//! Its identity is the Pod's, with what is spoken there. It lives from snapshot to snapshot as long as any site names it;
//! then its idle connections end at once and nothing new goes there, while requests on their way run to their end.
//! Every worker has a pool of its own, so that no two of them wait for each other.

mod connect;
mod pool;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::{Request, Response};

pub use self::connect::{Failure, RawStream, connect_stream};
use self::pool::Pool;
pub use self::pool::Wire;
use super::body::RequestBody;
use super::counters::Counters;
use super::options::Options;
use super::proxy_header::Ends;
use super::server::Worker;
use super::tls::ClientTls;
use crate::model::Backend;
use crate::model::http::{HealthCheck, ProxyVersion, Speech};

/// Failures in a row after which a backend is left out for a while.
const FAILURES_UNTIL_EJECTED: u32 = 5;

/// For how long it is left out.
const EJECTION: Duration = Duration::from_secs(10);

/// What makes an endpoint the same as an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The backend.
    pub backend: Backend,
    /// What is spoken there.
    pub speech: Speech,
    /// The TLS there, by the number of its configuration; 0: none.
    pub tls: u64,
    /// The PROXY protocol that each connection begins with.
    pub proxy: Option<ProxyVersion>,
    /// The fingerprint of its health check; 0: none.
    pub check: u64,
}

/// Why a backend gets nothing new, as long as others can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// It fails its health check.
    FailsCheck,
    /// Requests have failed there of late.
    Ejected,
}

impl Ailment {
    /// The name in logs and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FailsCheck => "fails_check",
            Self::Ejected => "ejected",
        }
    }
}

/// A backend with its connections.
#[derive(Debug)]
pub struct Endpoint {
    /// Its identity.
    pub key: EndpointKey,
    /// Where it is.
    pub address: SocketAddr,
    tls: Option<Arc<ClientTls>>,
    check: Option<Arc<HealthCheck>>,
    /// Whether somebody asks by the check already.
    is_checked: AtomicBool,
    /// Whether it fails its check.
    fails_check: AtomicBool,
    /// Idle connections of HTTP/1.1 that a worker keeps.
    max_idle: usize,
    workers: Box<[PerWorker]>,
    is_gone: AtomicBool,
    /// Whether the last TLS handshake agreed on HTTP/2.
    agreed_on_http2: AtomicBool,
    /// Requests and connections that are passed on, which have not ended.
    open: AtomicUsize,
    failures: AtomicU32,
    /// Until when it is left out, in milliseconds of `now_ms`.
    ejected_until_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct PerWorker {
    pool: Mutex<Pool>,
    /// Held while a connection of HTTP/2 is made, so that those who come meanwhile share it.
    connecting: tokio::sync::Mutex<()>,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(
        key: EndpointKey,
        tls: Option<Arc<ClientTls>>,
        check: Option<Arc<HealthCheck>>,
        options: &Options,
    ) -> Self {
        Self {
            key,
            address: SocketAddr::new(key.backend.address.to_ip(), key.backend.port.get()),
            tls,
            check,
            is_checked: AtomicBool::new(false),
            fails_check: AtomicBool::new(false),
            max_idle: options.backend_idle_connections,
            workers: (0..options.workers).map(|_| PerWorker::default()).collect(),
            is_gone: AtomicBool::new(false),
            agreed_on_http2: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
        }
    }

    /// No site names it any more: idle connections end now, the others with their requests.
    pub fn close(&self) {
        self.is_gone.store(true, Relaxed);
        for worker in &self.workers {
            lock(&worker.pool).clear();
        }
    }

    /// Whether no site names it any more.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    /// Whether connections are made within TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Why it gets nothing new, as long as others can, if so.
    pub fn ailment(&self) -> Option<Ailment> {
        if self.fails_check.load(Relaxed) {
            return Some(Ailment::FailsCheck);
        }
        let until = self.ejected_until_ms.load(Relaxed);
        (until != 0 && now_ms() < until).then_some(Ailment::Ejected)
    }

    /// Whether nothing is known that speaks against it.
    pub fn is_healthy(&self) -> bool {
        self.ailment().is_none()
    }

    /// Its check, if it has one and nobody asks by it yet; whoever gets it does so from now on.
    pub fn begin_checks(&self) -> Option<Arc<HealthCheck>> {
        let check = self.check.as_ref()?;
        (!self.is_checked.swap(true, Relaxed)).then(|| Arc::clone(check))
    }

    /// What its check has come to.
    pub fn note_checked(&self, is_healthy: bool) {
        self.fails_check.store(!is_healthy, Relaxed);
    }

    /// A connection for a check, on which we speak for ourselves.
    pub async fn connect_for_check(&self, options: &Options) -> Result<Wire, Failure> {
        connect::for_check(self, options).await
    }

    /// A worker could not reach it, or it ended a connection without answer.
    pub fn note_failure(&self, counters: &Counters) {
        if self.failures.fetch_add(1, Relaxed) + 1 >= FAILURES_UNTIL_EJECTED {
            if self.is_healthy() {
                counters.ejections.fetch_add(1, Relaxed);
            }
            self.ejected_until_ms.store(now_ms() + EJECTION.as_millis() as u64, Relaxed);
        }
    }

    /// It answered.
    pub fn note_success(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.ejected_until_ms.store(0, Relaxed);
        }
    }

    /// How many requests, and connections that are passed on, have not ended.
    pub fn open_requests(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Ends connections that were idle for too long.
    pub fn sweep(&self, worker: usize, options: &Options) {
        lock(&self.workers[worker].pool).sweep(options.backend_idle_timeout);
    }

    /// How many connections are in all pools.
    pub fn pooled(&self) -> usize {
        self.workers.iter().map(|worker| lock(&worker.pool).len()).sum()
    }

    /// A connection for one request: one that is there, or a new one. `fresh` wants one that was made after now. `ends` are those
    /// of the client's connection, for backends that are told.
    pub async fn lease(self: &Arc<Self>, worker: &Worker, ends: Ends, fresh: bool) -> Result<Lease, Failure> {
        let in_use = InUse::new(self);
        if !self.is_pooled() {
            return Box::pin(self.connect(in_use, worker, ends)).await;
        }
        if !fresh && let Some(wire) = self.pool(worker.index).take() {
            return Ok(Lease { in_use, worker: worker.index, wire, is_reused: true });
        }
        if self.shares_connections() {
            let asked = Instant::now();
            let turn = self.workers[worker.index].connecting.lock();
            // Whoever waits behind one that cannot connect waits no longer than that one.
            let Ok(_connecting) = tokio::time::timeout(worker.options.connect_timeout, turn).await else {
                return Err(Failure::Timeout);
            };
            let wire = if fresh { self.pool(worker.index).take_newer(asked) } else { self.pool(worker.index).take() };
            if let Some(wire) = wire {
                return Ok(Lease { in_use, worker: worker.index, wire, is_reused: true });
            }
            return Box::pin(self.connect(in_use, worker, ends)).await;
        }
        Box::pin(self.connect(in_use, worker, ends)).await
    }

    /// A connection of HTTP/1.1 that goes over to another protocol, and never comes back.
    pub async fn lease_for_upgrade(self: &Arc<Self>, worker: &Worker, ends: Ends) -> Result<Lease, Failure> {
        let in_use = InUse::new(self);
        let wire = connect::http1(self, worker, ends).await?;
        Ok(Lease { in_use, worker: worker.index, wire, is_reused: false })
    }

    async fn connect(&self, in_use: InUse, worker: &Worker, ends: Ends) -> Result<Lease, Failure> {
        let wire = connect::any(self, worker, ends).await?;
        self.agreed_on_http2.store(wire.is_shared(), Relaxed);
        if let Some(shared) = wire.share()
            && self.is_pooled()
            && !self.is_gone.load(Relaxed)
        {
            self.pool(worker.index).add_shared(shared);
        }
        Ok(Lease { in_use, worker: worker.index, wire, is_reused: false })
    }

    /// Whether connections are kept for requests of others. One that began with a client's address is for that client alone.
    fn is_pooled(&self) -> bool {
        self.key.proxy.is_none()
    }

    /// Whether one connection serves many requests at a time.
    fn shares_connections(&self) -> bool {
        match self.key.speech {
            Speech::Http2 => true,
            Speech::Http => self.agreed_on_http2.load(Relaxed),
            Speech::WebSocket => false,
        }
    }

    fn pool(&self, worker: usize) -> MutexGuard<'_, Pool> {
        lock(&self.workers[worker].pool)
    }
}

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the first call, and one.
fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// A request, or a connection that is passed on, which an endpoint has open until this is dropped.
#[derive(Debug)]
pub struct InUse(Arc<Endpoint>);

impl InUse {
    /// One more.
    pub fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.open.fetch_add(1, Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// Where it is open.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// A connection to an endpoint, for one request.
#[derive(Debug)]
pub struct Lease {
    in_use: InUse,
    worker: usize,
    wire: Wire,
    /// Whether it has carried requests before: it may have been ended by the backend without our knowing.
    pub is_reused: bool,
}

impl Lease {
    /// Whether it is HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.wire.is_shared()
    }

    /// Sends the request. The error holds it again if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.wire.send(request).await
    }

    /// The answer was read to its end: the connection may carry another request.
    pub fn give_back(self) {
        let Self { in_use, worker, wire, .. } = self;
        let endpoint = in_use.endpoint();
        if let Wire::Http1(sender) = wire
            && endpoint.is_pooled()
            && !endpoint.is_gone.load(Relaxed)
        {
            let mut pool = endpoint.pool(worker);
            pool.put(sender, endpoint.max_idle);
            // Between the question and the lock the endpoint may have gone: nobody would end this connection then.
            if endpoint.is_gone.load(Relaxed) {
                pool.clear();
            }
        }
    }
}
