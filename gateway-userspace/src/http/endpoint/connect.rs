//! Makes a connection to an endpoint: TCP, TLS where it is asked for, and what is spoken within.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Endpoint;
use super::pool::{Shared, Wire};
use crate::http::options::Options;
use crate::http::proxy_header::{self, Ends};
use crate::http::server::Worker;
use crate::http::silence;
use crate::http::tls::{Alpn, ClientTls};
use crate::model::http::Speech;

/// Streams that are opened before the backend has said how many it allows (RFC 9113, 6.5.2 recommends no less).
const STREAMS_AT_FIRST: usize = 100;

/// Bytes that a backend may send on a stream, and on a connection, before we take them. A connection's are so many that
/// clients which read slowly, or not at all, leave room for the streams of all others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// TCP failed.
    #[error("the backend does not accept the connection")]
    Connect(#[source] io::Error),
    /// It took too long, TLS included.
    #[error("the backend does not accept the connection in time")]
    Timeout,
    /// TLS failed.
    #[error("no trusted TLS connection to the backend")]
    Tls(#[source] io::Error),
    /// HTTP/2 did not begin.
    #[error("the backend does not begin HTTP/2")]
    Http2(#[source] hyper::Error),
}

/// A connection for requests of any kind.
pub async fn any(endpoint: &Endpoint, worker: &Worker, ends: Ends) -> Result<Wire, Failure> {
    let alpn = alpn(endpoint);
    count(worker);
    open(endpoint, &worker.options, Some(ends), alpn).await
}

/// A connection of HTTP/1.1.
pub async fn http1(endpoint: &Endpoint, worker: &Worker, ends: Ends) -> Result<Wire, Failure> {
    count(worker);
    open(endpoint, &worker.options, Some(ends), Alpn::Http1).await
}

/// A connection for a health check, of no worker and no client.
pub async fn for_check(endpoint: &Endpoint, options: &Options) -> Result<Wire, Failure> {
    open(endpoint, options, None, alpn(endpoint)).await
}

fn alpn(endpoint: &Endpoint) -> Alpn {
    match endpoint.key.speech {
        Speech::Http => Alpn::Any,
        Speech::Http2 => Alpn::Http2,
        Speech::WebSocket => Alpn::Http1,
    }
}

fn count(worker: &Worker) {
    worker.counters.backend_connections.fetch_add(1, Relaxed);
}

async fn open(endpoint: &Endpoint, options: &Options, ends: Option<Ends>, alpn: Alpn) -> Result<Wire, Failure> {
    let opening = async {
        let stream = dial(endpoint, ends).await?;
        let Some(tls) = &endpoint.tls else {
            return if alpn == Alpn::Http2 {
                let _ = silence::expects_reading(&stream);
                speak_http2(stream, options).await
            } else {
                speak_http1(stream, options).await
            };
        };
        let stream = shake_hands(tls, alpn, stream).await?;
        let (socket, session) = stream.get_ref();
        let is_http2 = match session.alpn_protocol() {
            Some(agreed) => agreed == b"h2",
            // A backend without ALPN that is said to speak HTTP/2 is taken at its word.
            None => alpn == Alpn::Http2,
        };
        if is_http2 {
            let _ = silence::expects_reading(socket);
            speak_http2(stream, options).await
        } else {
            speak_http1(stream, options).await
        }
    };
    tokio::time::timeout(options.connect_timeout, opening).await.unwrap_or(Err(Failure::Timeout))
}

/// A connection as a stream of bytes, within TLS if there is a configuration for it.
pub async fn connect_stream(endpoint: &Endpoint, options: &Options, ends: Ends) -> Result<RawStream, Failure> {
    let opening = async {
        let stream = dial(endpoint, Some(ends)).await?;
        match &endpoint.tls {
            None => Ok(RawStream::Plain(stream)),
            Some(tls) => Ok(RawStream::Tls(Box::new(shake_hands(tls, Alpn::None, stream).await?))),
        }
    };
    tokio::time::timeout(options.connect_timeout, opening).await.unwrap_or(Err(Failure::Timeout))
}

/// A connection on which nothing was said but what the PROXY protocol says first.
async fn dial(endpoint: &Endpoint, ends: Option<Ends>) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(endpoint.address).await.map_err(Failure::Connect)?;
    let _ = stream.set_nodelay(true);
    let _ = silence::bound(&stream);
    if let Some(version) = endpoint.key.proxy {
        stream.write_all(&proxy_header::header(version, ends)).await.map_err(Failure::Connect)?;
    }
    Ok(stream)
}

/// A connection as a stream of bytes.
#[derive(Debug)]
pub enum RawStream {
    /// In the clear, or with TLS that is not ours.
    Plain(TcpStream),
    /// Within TLS of ours.
    Tls(Box<TlsStream<TcpStream>>),
}

async fn shake_hands(tls: &ClientTls, alpn: Alpn, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
    let connector = TlsConnector::from(tls.config(alpn));
    connector.connect(tls.server_name.clone(), stream).await.map_err(Failure::Tls)
}

async fn speak_http1<S>(stream: S, options: &Options) -> Result<Wire, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_header_size(options.max_header_bytes as usize);
    if let Some(limit) = options.other_max_headers() {
        builder.max_headers(limit);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Http2)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend broke off");
        }
    });
    Ok(Wire::Http1(sender))
}

async fn speak_http2<S>(stream: S, options: &Options) -> Result<Wire, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // No pings: a gRPC server that gets them on a silent stream ends the connection (`too_many_pings`). The kernel asks, and
        // finds out who does not read.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_header_list_size(options.max_header_bytes)
        .max_concurrent_reset_streams(options.max_streams as usize)
        .max_pending_accept_reset_streams(options.max_pending_resets)
        .max_local_error_reset_streams(options.max_error_resets)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Http2)?;
    let allowed = Arc::new(AtomicUsize::new(STREAMS_AT_FIRST));
    let shared = Shared::new(sender, Arc::clone(&allowed));
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let driving = std::future::poll_fn(|cx| {
            let outcome = connection.as_mut().poll(cx);
            if outcome.is_pending() {
                allowed.store(connection.current_max_send_streams(), Relaxed);
            }
            outcome
        });
        if let Err(error) = driving.await {
            tracing::debug!(%error, "a connection to a backend broke off");
        }
        // Whoever still holds the connection shall not open a stream on it.
        allowed.store(0, Relaxed);
    });
    Ok(Wire::Http2(shared.open()))
}
