//! Requests at a steady rate over connections that are kept, as browsers, gateways and services send them.
//!
//! A client connects anew when it is told to (`Connection: close`, GOAWAY) or finds its connection closed before it sends.
//! Everything else that is not a whole 2xx answer in time is a failure: none is sent again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use crate::netns::Namespace;
use crate::wait;

/// An answer that takes longer is a failure.
const LIMIT: Duration = Duration::from_secs(10);

/// What the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// How much of it there is, and where to.
#[derive(Clone, Debug)]
pub struct Load {
    /// The frontend.
    pub target: SocketAddr,
    /// The request.
    pub request: Request<Empty<Bytes>>,
    /// What is spoken.
    pub speech: Speech,
    /// Requests per second of all connections.
    pub per_second: u32,
    /// Connections that are kept.
    pub connections: u32,
}

/// How the requests fared.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long it went on.
    pub elapsed: Duration,
    /// Requests.
    pub requests: u64,
    /// Connections that were made, the first ones too.
    pub connections: u64,
    /// The longest time that an answer took.
    pub slowest: Duration,
    /// What happened to those that were not answered 2xx.
    pub failures: Vec<String>,
}

/// The clients, on a thread of their own.
pub struct Requests {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    worker: JoinHandle<Result<Report>>,
}

impl Load {
    /// Requests for the root of a host, some hundred milliseconds apart on each connection.
    pub fn new(target: SocketAddr, host: &str, speech: Speech, per_second: u32) -> Result<Self> {
        let request = match speech {
            Speech::Http1 => Request::get("/").header(HOST, host),
            Speech::Http2 => Request::get(format!("http://{host}/")),
        };
        let request = request.body(Empty::new()).with_context(|| format!("no request can be made for `{host}`"))?;
        Ok(Self { target, request, speech, per_second, connections: (per_second / 5).max(1) })
    }
}

impl Requests {
    /// Begins.
    pub fn start(from: &Namespace, load: Load) -> Result<Self> {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let worker = from.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drive(load, stopped, count))
        })?;
        Ok(Self { stop, done, worker })
    }

    /// Waits until more requests have ended.
    pub fn wait_for_more(&self, count: u64) -> Result<()> {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        let done = || (self.done.load(Ordering::Relaxed) >= wanted).then_some(());
        wait::until(&format!("{count} more requests have ended"), LIMIT * 3, done)
    }

    /// Ends and says how all went.
    pub fn finish(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.worker.join().map_err(|_| anyhow!("it panicked"));
        report.and_then(|report| report).context("the requests")
    }
}

async fn drive(load: Load, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Result<Report> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..load.connections {
        let client = Client { load: load.clone(), number, stop: Arc::clone(&stop), done: Arc::clone(&done), begin };
        clients.spawn(client.run());
    }
    let mut whole = Report::default();
    while let Some(report) = clients.join_next().await {
        let Report { elapsed: _, requests, connections, slowest, failures } = report?;
        whole.requests += requests;
        whole.connections += connections;
        whole.slowest = whole.slowest.max(slowest);
        whole.failures.extend(failures);
    }
    whole.elapsed = begin.elapsed();
    Ok(whole)
}

/// One connection after the other, with a request whenever one is due.
struct Client {
    load: Load,
    number: u32,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    begin: Instant,
}

impl Client {
    async fn run(self) -> Report {
        let every = Duration::from_secs(1) * self.load.connections / self.load.per_second;
        // They do not all send at the same instant.
        let first = tokio::time::Instant::now() + every * self.number / self.load.connections;
        let mut due = interval_at(first, every);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut report = Report::default();
        let mut sender = None;
        while !self.stop.load(Ordering::Relaxed) {
            due.tick().await;
            let asked = Instant::now();
            report.requests += 1;
            match timeout(LIMIT, self.ask(&mut sender, &mut report.connections)).await {
                Ok(Ok(())) => report.slowest = report.slowest.max(asked.elapsed()),
                Ok(Err(error)) => report.failures.push(self.at(&error.to_string())),
                Err(_) => {
                    sender = None;
                    report.failures.push(self.at("no answer in time"));
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        report
    }

    fn at(&self, what: &str) -> String {
        let Load { target, speech, .. } = &self.load;
        format!("at {:.1?} client {} of {target} ({speech:?}): {what}", self.begin.elapsed(), self.number)
    }

    async fn ask(&self, sender: &mut Option<Sender>, connections: &mut u64) -> io::Result<()> {
        let kept = sender.take();
        let answered = match kept {
            Some(mut open) => open.send(&self.load).await.map_err(said)?.map(|response| (open, response)),
            None => None,
        };
        let (open, response) = if let Some(answered) = answered {
            answered
        } else {
            *connections += 1;
            let mut open = Sender::connect(&self.load).await?;
            let response = open.send(&self.load).await.map_err(said)?;
            (open, response.ok_or_else(|| io::Error::other("a new connection took no request"))?)
        };
        let (status, is_last) =
            (response.status(), response.headers().get(CONNECTION).is_some_and(|value| value == "close"));
        response.into_body().collect().await.map_err(said)?;
        if !is_last {
            *sender = Some(open);
        }
        if status.is_success() { Ok(()) } else { Err(io::Error::other(format!("answered {status}"))) }
    }
}

/// An error with what caused it, which hyper leaves out of its own text.
fn said(error: impl std::error::Error) -> io::Error {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    io::Error::other(format!("{error}{cause}"))
}

/// A connection that takes requests.
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn connect(load: &Load) -> io::Result<Self> {
        let stream = TcpStream::connect(load.target).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        // How a connection ends is seen by its requests.
        match load.speech {
            Speech::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.map_err(said)?;
                drop(tokio::spawn(connection));
                Ok(Self::Http1(sender))
            }
            Speech::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(said)?;
                drop(tokio::spawn(connection));
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Sends a request, and gives the answer; nothing if the connection was closed before a byte of it was sent.
    async fn send(&mut self, load: &Load) -> hyper::Result<Option<Response<Incoming>>> {
        let is_ready = match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        };
        if !is_ready {
            return Ok(None);
        }
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(load.request.clone()).await,
            Self::Http2(sender) => sender.try_send_request(load.request.clone()).await,
        };
        match sent {
            Ok(response) => Ok(Some(response)),
            Err(mut error) => match error.take_message() {
                Some(_unsent) => Ok(None),
                None => Err(error.into_error()),
            },
        }
    }
}
