//! One connection of a client: finds out what it is, and serves it until it ends.
//!
//! Its frontend is its local address. In the clear it is HTTP/1.1, or HTTP/2 by prior knowledge; a `ClientHello` names the
//! listener, which says whether TLS ends here and what is within. Requests always meet the current snapshot; a connection
//! only ends early, and gently, if its listener is gone.

mod ending;
mod exchange;
mod head_timer;
mod sniff;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use gateway_common::FrontendKey;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

pub use self::exchange::Exchange;
use self::head_timer::HeadTimer;
use self::sniff::Spoken;
use super::access_log;
use super::client_hello;
use super::counters::OpenConnection;
use super::forward;
use super::forwarded::Forwarded;
use super::passthrough;
use super::prefixed::Prefixed;
use super::proxy_header::{self, Ends, Speaker};
use super::reject::Reason;
use super::server::{Admitted, Worker};
use super::snapshot::LiveSite;
use super::tap::{self, Tap, Violation};
use crate::model::http::Handling;

/// Bytes that a client may send on a stream, and on a connection, before a backend takes them: enough for some dozen uploads
/// that do not get on beside one that does.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Bytes of answers that wait on a stream for the client.
const SEND_BUFFER: usize = 256 << 10;

/// The alert for a name that nobody here has (RFC 6066, 3: fatal, `unrecognized_name`), as a record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A connection of a client, as its requests know it.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Arc<Worker>,
    /// The frontend that it was made to.
    pub frontend: FrontendKey,
    /// The client.
    pub peer: SocketAddr,
    /// The frontend's address and port.
    pub local: SocketAddr,
    /// The listener's name, if TLS ended for it.
    pub listener: Option<String>,
    /// What backends are told of it.
    pub forwarded: Forwarded,
    /// The judge of its bytes, for HTTP/1.1.
    pub tap: Option<tap::Handle>,
    /// Cancelled when its listener is gone.
    gone: CancellationToken,
    /// Requests that have not ended, and what they have become.
    active: AtomicUsize,
    /// Requests that there have been.
    begun: AtomicUsize,
    /// The place that it takes among all.
    _admitted: Admitted,
    /// Counts it among those of its frontend.
    _open: Option<OpenConnection>,
}

impl Connection {
    /// What is served here now.
    pub fn site(&self) -> Option<Arc<LiveSite>> {
        self.worker.live.site(&self.frontend)
    }

    /// Whether it ends with the requests that it has.
    pub fn is_ending(&self) -> bool {
        self.gone.is_cancelled() || self.worker.drain.is_cancelled()
    }

    /// Waits until it is to end.
    async fn ended(&self) {
        self.worker.ended(&self.gone).await;
    }

    /// Waits until it has outlived its listener for so long that whatever is left of it is ended.
    pub async fn expired(&self) {
        self.worker.expired(&self.gone).await;
    }

    /// Waits until it is to end, and no request can be under way any more that a client sent without knowing that. hyper
    /// would end a connection of HTTP/1.1 without request at once, in the face of the next.
    async fn last_call(&self) {
        self.worker.last_call(&self.gone).await;
    }

    /// It is in use until the answer is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.active.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Counts and logs why the connection ended, if that has to do with what the client sent, or did not.
    fn note_end(&self, outcome: &hyper::Result<()>) {
        let violation = self.tap.as_ref().and_then(tap::Handle::violation);
        let is_amid_head = self.tap.as_ref().is_some_and(tap::Handle::is_amid_head);
        let reason = match (violation, outcome) {
            (Some(Violation::HeadTooLarge), _) => Reason::HeadTooLarge,
            (Some(_), _) => Reason::BadRequest,
            (None, Ok(())) => return,
            (None, Err(error)) => {
                let Some(reason) = ending::reason(error, is_amid_head) else {
                    return tracing::debug!(peer = %self.peer, %error, "a client's connection broke off");
                };
                reason
            }
        };
        let detail = violation.map_or("", Violation::name);
        tracing::debug!(peer = %self.peer, reason = reason.name(), detail, "the client's connection is ended");
        self.worker.counters.reject(reason);
        if let Some(lines) = &self.worker.lines {
            let mut record = access_log::begin(self.peer, self.local, self.listener.is_some());
            record.status = reason.status().as_u16();
            record.reason = Some(reason);
            record.detail = detail;
            lines.add(&record);
        }
    }
}

/// A use of a connection.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// What is known of a connection before it is served.
pub struct Arrival {
    /// The worker that accepted it.
    pub worker: Arc<Worker>,
    /// The frontend that it was made to.
    pub frontend: FrontendKey,
    /// The client.
    pub peer: SocketAddr,
    /// The frontend's address and port.
    pub local: SocketAddr,
    /// The place that it takes among all.
    pub admitted: Admitted,
    /// Counts it, if its frontend is there.
    pub open: Option<OpenConnection>,
    /// Whether the peer's word about its clients counts.
    pub is_trusted: bool,
}

impl Arrival {
    fn connection(
        self,
        listener: Option<String>,
        gone: CancellationToken,
        tap: Option<tap::Handle>,
    ) -> Arc<Connection> {
        let Self { worker, frontend, peer, local, admitted, open, is_trusted } = self;
        let forwarded = Forwarded::new(peer, local, listener.is_some(), is_trusted);
        Arc::new(Connection {
            worker,
            frontend,
            peer,
            local,
            listener,
            forwarded,
            tap,
            gone,
            active: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            _admitted: admitted,
            _open: open,
        })
    }

    /// Takes the client from the header that the connection has to begin with. A proxy that speaks for itself is the client;
    /// so is one that does not know its client, but then what the client says of itself counts no more than elsewhere.
    async fn learn_client(&mut self, stream: &mut TcpStream) -> Result<(), Reason> {
        let options = &self.worker.options;
        if !options.trusts(self.peer.ip()) {
            return Err(Reason::ProxyHeader);
        }
        let read = tokio::time::timeout(options.header_timeout, proxy_header::read(stream)).await;
        let speaker = read.map_err(|_| Reason::ProxyHeader)?.map_err(|error| {
            tracing::debug!(peer = %self.peer, %error, "no client is named");
            Reason::ProxyHeader
        })?;
        match speaker {
            Speaker::Proxy => {}
            Speaker::Unknown => self.is_trusted = false,
            Speaker::Client(ends) => {
                self.peer = ends.source;
                self.is_trusted = options.trusts(ends.source.ip());
                if !self.admitted.is_for(ends.source.ip(), options) {
                    return Err(Reason::TooManyConnections);
                }
            }
        }
        Ok(())
    }

    fn reject(&self, reason: Reason) {
        self.worker.counters.reject(reason);
        tracing::debug!(peer = %self.peer, frontend = %self.frontend, reason = reason.name(), "connection refused");
    }
}

/// Serves a connection until it ends.
pub async fn serve(mut arrival: Arrival, mut stream: TcpStream) {
    let Some(site) = arrival.worker.live.site(&arrival.frontend) else { return arrival.reject(Reason::NoSite) };
    if site.site.needs_proxy_header
        && let Err(reason) = arrival.learn_client(&mut stream).await
    {
        return arrival.reject(reason);
    }
    if site.is_tls() {
        return Box::pin(serve_tls(arrival, stream, site)).await;
    }
    let gone = site.gone.clone();
    // The connection may outlive many versions of the site, and must not keep this one.
    drop(site);
    Box::pin(serve_clear(arrival, stream, gone)).await;
}

async fn serve_clear(arrival: Arrival, mut stream: TcpStream, gone: CancellationToken) {
    let limit = arrival.worker.options.header_timeout;
    let spoken = tokio::select! {
        spoken = tokio::time::timeout(limit, sniff::read(&mut stream)) => spoken,
        () = arrival.worker.last_call(&gone) => return,
    };
    match spoken {
        Ok(Ok((Spoken::Http1, prefix))) => serve_http1(arrival, Prefixed::new(prefix, stream), None, gone).await,
        Ok(Ok((Spoken::Http2, prefix))) => serve_http2(arrival, Prefixed::new(prefix, stream), None, gone).await,
        Ok(Err(_)) => {}
        Err(_) => arrival.reject(Reason::HeadTimeout),
    }
}

async fn serve_tls(arrival: Arrival, mut stream: TcpStream, site: Arc<LiveSite>) {
    let limit = arrival.worker.options.handshake_timeout;
    let hello = match client_hello::read(&mut stream, limit).await {
        Ok(hello) => hello,
        Err(error) => {
            tracing::debug!(peer = %arrival.peer, %error, "no TLS");
            return arrival.reject(Reason::TlsHandshake);
        }
    };
    let name = hello.server_name.as_deref().unwrap_or_default();
    let Some(index) = site.router.secure_listener(name) else {
        arrival.reject(Reason::NoListener);
        // Where streams are passed on, a name without route ends without a word, too: Gateway API's tests have it so.
        if site.site.listeners.iter().all(|listener| matches!(listener.handling, Handling::Https(..))) {
            let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
            let _ = stream.shutdown().await;
        }
        return;
    };
    let stream = Prefixed::new(hello.bytes, stream);
    let outcome = match &site.site.listeners[index].handling {
        Handling::TlsPassthrough(_) => relay(&arrival, stream, site, index, name).await,
        Handling::TlsTerminate(..) => match terminate(&site, index, stream, limit).await {
            Ok(stream) => relay(&arrival, stream, site, index, name).await,
            Err(reason) => Err(reason),
        },
        Handling::Https(..) => match terminate(&site, index, stream, limit).await {
            Ok(stream) => {
                let serving = serve_https(arrival, stream, &site, index);
                drop(site);
                return serving.await;
            }
            Err(reason) => Err(reason),
        },
        Handling::Http(_) => Err(Reason::NoListener),
    };
    if let Err(reason) = outcome {
        arrival.reject(reason);
    }
}

/// Ends TLS by a listener's certificates.
async fn terminate(
    site: &LiveSite,
    listener: usize,
    stream: Prefixed<TcpStream>,
    limit: Duration,
) -> Result<TlsStream<Prefixed<TcpStream>>, Reason> {
    let tls = site.listeners[listener].tls.as_ref().ok_or(Reason::NoListener)?;
    let accepting = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
    let accepted = tokio::time::timeout(limit, accepting).await;
    accepted.ok().and_then(Result::ok).ok_or(Reason::TlsHandshake)
}

async fn relay(
    arrival: &Arrival,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<LiveSite>,
    listener: usize,
    name: &str,
) -> Result<(), Reason> {
    let ends = Ends { source: arrival.peer, destination: arrival.local };
    let backend = passthrough::connect(&arrival.worker, &site, listener, name, ends).await?;
    let gone = site.listeners[listener].gone.clone();
    // The connection may outlive many versions of the site, and must not keep this one.
    drop(site);
    tokio::select! {
        () = passthrough::relay(stream, backend) => {}
        () = arrival.worker.expired(&gone) => tracing::debug!(peer = %arrival.peer, "a stream has outlived its listener"),
    }
    Ok(())
}

fn serve_https(
    arrival: Arrival,
    stream: TlsStream<Prefixed<TcpStream>>,
    site: &LiveSite,
    listener: usize,
) -> impl Future<Output = ()> + use<> {
    let name = Some(site.site.listeners[listener].name.clone());
    let gone = site.listeners[listener].gone.clone();
    async move {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            serve_http2(arrival, stream, name, gone).await;
        } else {
            serve_http1(arrival, stream, name, gone).await;
        }
    }
}

async fn serve_http1<S>(arrival: Arrival, stream: S, listener: Option<String>, gone: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let options = Arc::clone(&arrival.worker.options);
    let stream = Tap::new(stream, options.max_header_bytes as usize);
    let connection = arrival.connection(listener, gone, Some(stream.handle()));
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request| forward::handle(Arc::clone(&connection), request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer::new(stream.handle(), options.idle_timeout))
        .header_read_timeout(options.header_timeout)
        .max_buf_size((options.max_header_bytes as usize).max(8 << 10));
    if let Some(limit) = options.other_max_headers() {
        builder.max_headers(limit);
    }
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let outcome = tokio::select! {
        biased;
        outcome = serving.as_mut() => outcome,
        () = seldom(connection.last_call()) => {
            serving.as_mut().graceful_shutdown();
            rest(&connection, serving).await
        }
    };
    connection.note_end(&outcome);
}

async fn serve_http2<S>(arrival: Arrival, stream: S, listener: Option<String>, gone: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let options = Arc::clone(&arrival.worker.options);
    let connection = arrival.connection(listener, gone, None);
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request| forward::handle(Arc::clone(&connection), request)
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(options.max_header_bytes)
        .max_pending_accept_reset_streams(options.max_pending_resets)
        .max_local_error_reset_streams(options.max_error_resets)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended_or_idle = async {
        tokio::select! {
            () = connection.ended() => {}
            () = idle(&connection, options.idle_timeout) => {}
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = serving.as_mut() => outcome,
        () = seldom(ended_or_idle) => {
            serving.as_mut().graceful_shutdown();
            // Whoever has not even begun is not waited for. Of what was answered some may still be on its way.
            let has_begun = connection.begun.load(Relaxed) > 0;
            let patience = if has_begun { options.drain_timeout } else { options.ping_timeout };
            tokio::select! {
                outcome = rest(&connection, serving) => outcome,
                () = idle(&connection, patience) => Ok(()),
            }
        }
    };
    connection.note_end(&outcome);
}

/// What is left of a connection that was told to end.
async fn rest(connection: &Connection, serving: impl Future<Output = hyper::Result<()>>) -> hyper::Result<()> {
    tokio::select! {
        outcome = serving => outcome,
        () = connection.expired() => {
            tracing::debug!(peer = %connection.peer, "a connection has outlived its listener");
            Ok(())
        }
    }
}

/// Polls a future only when it was woken itself, and not whenever the connection is.
async fn seldom(future: impl Future<Output = ()>) {
    FuturesUnordered::from_iter([future]).next().await;
}

/// Waits until a connection has had no request for so long. hyper knows no such limit for HTTP/2.
async fn idle(connection: &Connection, limit: Duration) {
    let mut since = Instant::now();
    let mut seen = usize::MAX;
    loop {
        tokio::time::sleep(limit / 4).await;
        let begun = connection.begun.load(Relaxed);
        if connection.active.load(Relaxed) > 0 || seen != begun {
            since = Instant::now();
        }
        seen = begun;
        if since.elapsed() >= limit {
            return;
        }
    }
}
