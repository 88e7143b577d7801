//! Accepts connections: one thread with a runtime of its own for each worker, which keeps what it accepted.
//!
//! The listening sockets come from outside, already bound; they are never opened anew. The workers share the snapshot and
//! the cursors of weighted choices, and nothing else that a request touches. A panic ends the connection it happened on.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gateway_common::{Address, FrontendKey, Port, Protocol};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access_log::{AccessLog, Lines};
use super::activity::Activity;
use super::connection::{self, Arrival};
use super::counters::{Counters, Counts, OpenConnection};
use super::options::Options;
use super::reject::Reason;
use super::retry::Budget;
use super::silence;
use super::snapshot::Live;

/// How long a worker waits after it could not accept, as when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a server that stops still accepts, so that nobody is reset who was about to be accepted.
const LAST_ACCEPTS: Duration = Duration::from_millis(200);

/// How often a worker looks for connections that were idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How often gathered lines of the log are handed over.
const LOG_INTERVAL: Duration = Duration::from_millis(200);

/// What belongs to one worker.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// What is served.
    pub live: Arc<Live>,
    /// The settings.
    pub options: Arc<Options>,
    /// What it counts.
    pub counters: Counters,
    /// Its part of the log, if there is one.
    pub lines: Option<Lines>,
    /// How much it may try again.
    pub budget: Budget,
    /// Cancelled when all connections shall end.
    pub drain: CancellationToken,
    /// Cancelled when no more shall be accepted.
    closing: CancellationToken,
    /// Who may have a connection.
    pub admission: Arc<Admission>,
    connections: TaskTracker,
}

/// Sees what the HTTP layer serves and counts, and does nothing. It may outlive the server.
#[derive(Clone, Debug)]
pub struct Observer {
    live: Arc<Live>,
    workers: Vec<Arc<Worker>>,
}

impl Observer {
    /// What is served.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts::sum(self.workers.iter().map(|worker| &worker.counters))
    }

    /// The same with what was counted of each frontend that is served now.
    pub fn activity(&self) -> Activity {
        let lines = self.workers.first().and_then(|worker| worker.lines.as_ref());
        Activity::of(&self.live.load(), self.counts(), lines.map(Lines::dropped))
    }
}

/// The running HTTP layer.
#[derive(Debug)]
pub struct Server {
    live: Arc<Live>,
    workers: Vec<Arc<Worker>>,
    drain: CancellationToken,
    closing: CancellationToken,
    stop: CancellationToken,
    connections: TaskTracker,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts as many workers as the settings say. Each gets every so many-th of the listening sockets: give each worker
    /// sockets of its own (`SO_REUSEPORT`), one after the other.
    pub fn start(listeners: Vec<TcpListener>, live: Arc<Live>, log: Option<&AccessLog>) -> io::Result<Self> {
        let options = Arc::clone(live.options());
        let [drain, closing, stop] = std::array::from_fn(|_| CancellationToken::new());
        let connections = TaskTracker::new();
        let admission = Arc::new(Admission::default());
        let workers: Vec<Arc<Worker>> = (0..options.workers)
            .map(|index| {
                Arc::new(Worker {
                    index,
                    live: Arc::clone(&live),
                    options: Arc::clone(&options),
                    counters: Counters::default(),
                    lines: log.cloned().map(Lines::new),
                    budget: Budget::default(),
                    drain: drain.child_token(),
                    closing: closing.clone(),
                    admission: Arc::clone(&admission),
                    connections: connections.clone(),
                })
            })
            .collect();
        let mut shares: Vec<Vec<TcpListener>> = workers.iter().map(|_| Vec::new()).collect();
        for (index, listener) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            shares[index % workers.len()].push(listener);
        }
        let mut threads = Vec::new();
        for (worker, listeners) in workers.iter().zip(shares) {
            let (worker, stop) = (Arc::clone(worker), stop.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name(format!("http-{}", worker.index));
            threads.push(thread.spawn(move || {
                runtime.block_on(run(Arc::clone(&worker), listeners, stop));
                runtime.shutdown_background();
                // What was cut off has said so by now.
                worker.flush();
            })?);
        }
        Ok(Self { live, workers, drain, closing, stop, connections, threads })
    }

    /// What is served; to be given new sites.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whoever wants to know what is served, and how much.
    pub fn observer(&self) -> Observer {
        Observer { live: Arc::clone(&self.live), workers: self.workers.clone() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.observer().counts()
    }

    /// How many connections of clients are open.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Lets every connection end: `Connection: close` with the next answer, or GOAWAY. Who connects still is served, once.
    pub fn end_connections(&self) {
        self.drain.cancel();
    }

    /// Accepts no more, and lets every connection end. Returns when all have ended, or after the time that the settings
    /// give, when the rest are ended.
    pub async fn drain(mut self) {
        self.end_connections();
        tokio::time::sleep(LAST_ACCEPTS).await;
        self.closing.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(self.live.options().drain_timeout, self.connections.wait()).await;
        self.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        let _ = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.cancel();
        self.stop.cancel();
    }
}

/// A worker's life.
async fn run(worker: Arc<Worker>, listeners: Vec<TcpListener>, stop: CancellationToken) {
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(accept(Arc::clone(&worker), listener))),
            Err(error) => tracing::error!(%error, "a listening socket cannot be served"),
        }
    }
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut log = tokio::time::interval(LOG_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = sweep.tick() => {
                for endpoint in worker.live.endpoints() {
                    endpoint.sweep(worker.index, &worker.options);
                }
            }
            _ = log.tick(), if worker.lines.is_some() => worker.flush(),
        }
    }
}

impl Worker {
    /// Does what belongs to a connection, so that the server waits for it when it stops.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.connections.spawn(work));
    }

    /// Waits until a connection is to end: its listener is gone, or all shall end.
    pub async fn ended(&self, gone: &CancellationToken) {
        tokio::select! {
            () = gone.cancelled() => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// The same, and then for as long as a request may be under way.
    pub async fn last_call(&self, gone: &CancellationToken) {
        self.ended(gone).await;
        tokio::time::sleep(self.options.last_call).await;
    }

    /// Waits until a listener is gone for as long as connections are given to end.
    pub async fn expired(&self, gone: &CancellationToken) {
        gone.cancelled().await;
        tokio::time::sleep(self.options.drain_timeout).await;
    }

    fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: tokio::net::TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = worker.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(&worker, stream, plain(peer)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted for the moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(worker: &Arc<Worker>, stream: TcpStream, peer: SocketAddr) {
    worker.counters.connections.fetch_add(1, Relaxed);
    let Some(admitted) = worker.admission.admit(peer.ip(), &worker.options) else {
        worker.counters.reject(Reason::TooManyConnections);
        return;
    };
    let Ok(local) = stream.local_addr() else { return };
    let local = plain(local);
    let frontend = FrontendKey::new(Address::from(local.ip()), Port::new(local.port()), Protocol::TCP);
    let _ = stream.set_nodelay(true);
    // A kernel that refuses this serves all the same.
    let _ = silence::bound(&stream);
    let open = worker.live.site(&frontend).map(|site| OpenConnection::new(site.connections.of(worker.index)));
    let is_trusted = worker.options.trusts(peer.ip());
    let arrival = Arrival { worker: Arc::clone(worker), frontend, peer, local, admitted, open, is_trusted };
    worker.spawn(connection::serve(arrival, stream));
}

/// Whether only the connection failed that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// An address without the form that IPv4 has within IPv6.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Counts connections, in all and of each client where that is limited.
#[derive(Debug, Default)]
pub struct Admission(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of_client: HashMap<IpAddr, usize>,
}

impl Admission {
    /// One more connection of a client, if it may have it.
    fn admit(self: &Arc<Self>, client: IpAddr, options: &Options) -> Option<Admitted> {
        let mut open = self.open();
        if open.all >= options.max_connections {
            return None;
        }
        // A proxy speaks for many.
        let limit = options.max_connections_per_client.filter(|_| !options.trusts(client));
        if let Some(limit) = limit
            && !open.count(client, limit)
        {
            return None;
        }
        open.all += 1;
        Some(Admitted { admission: Arc::clone(self), client: limit.map(|_| client) })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// One more of a client, if it may have it.
    fn count(&mut self, client: IpAddr, limit: usize) -> bool {
        let of_client = self.of_client.entry(client).or_default();
        let may = *of_client < limit;
        *of_client += usize::from(may);
        may
    }
}

/// A connection's place, given back when it ends, whichever way.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
}

impl Admitted {
    /// The connection is for this client, as a proxy says; whether it may have one more.
    pub fn is_for(&mut self, client: IpAddr, options: &Options) -> bool {
        let Some(limit) = options.max_connections_per_client else { return true };
        let may = self.admission.open().count(client, limit);
        self.client = may.then_some(client);
        may
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.all -= 1;
        if let Some(client) = self.client
            && let Some(of_client) = open.of_client.get_mut(&client)
        {
            *of_client -= 1;
            if *of_client == 0 {
                open.of_client.remove(&client);
            }
        }
    }
}
