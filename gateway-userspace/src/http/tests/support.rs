//! Pods, clients and the running server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use gateway_common::{Address, FrontendKey, Port, Protocol};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http::{AccessLog, Live, Options, Problem, Server};
use crate::model::http::Site;

/// A body of any kind.
pub type AnyBody = BoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A body of a text.
pub fn text(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// No body.
pub fn nothing() -> AnyBody {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

/// What Pods speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PodSpeech {
    Http1,
    Http2,
}

/// A Pod: a server on a port of its own.
pub struct Pod {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Pod {
    /// A Pod that serves streams.
    pub async fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&connections), Arc::clone(&open));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counters.0.fetch_add(1, Ordering::SeqCst);
                counters.1.fetch_add(1, Ordering::SeqCst);
                let (serving, open) = (serve(stream), Arc::clone(&counters.1));
                tokio::spawn(async move {
                    serving.await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, open, accepting }
    }

    /// A Pod that neither reads nor answers.
    pub async fn silent() -> Self {
        Self::raw(|stream| async move {
            let _stream = stream;
            futures::future::pending::<()>().await;
        })
        .await
    }

    /// A Pod that answers requests.
    pub async fn of<F>(speech: PodSpeech, handle: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let handle = Arc::new(handle);
        Self::raw(move |stream| {
            let handle = Arc::clone(&handle);
            async move { serve_requests(speech, stream, handle).await }
        })
        .await
    }

    /// A Pod that answers with its name.
    pub async fn named(name: &'static str) -> Self {
        Self::of(PodSpeech::Http1, move |_| async move { Response::new(text(name)) }).await
    }

    /// A Pod that answers with what it was sent: the request line and the headers, in order of their names.
    pub async fn echo(speech: PodSpeech) -> Self {
        Self::of(speech, |request| async move { Response::new(text(described(&request))) }).await
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves requests on a stream.
pub async fn serve_requests<S, H, F>(speech: PodSpeech, stream: S, handle: Arc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answering: BoxFuture<'static, Response<AnyBody>> = Box::pin(handle(request));
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let stream = TokioIo::new(stream);
    let _ = match speech {
        PodSpeech::Http1 => {
            hyper::server::conn::http1::Builder::new().serve_connection(stream, service).with_upgrades().await
        }
        PodSpeech::Http2 => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
        }
    };
}

fn described(request: &Request<Incoming>) -> String {
    let mut lines = vec![format!("{} {}", request.method(), request.uri())];
    let headers: BTreeMap<_, _> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.join("\n")
}

/// The HTTP layer, with one frontend on loopback.
pub struct Gateway {
    pub address: SocketAddr,
    pub frontend: FrontendKey,
    pub live: Arc<Live>,
    pub server: Server,
}

impl Gateway {
    /// With these settings and two workers.
    pub fn with(site: Site, options: Options, log: Option<&AccessLog>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let frontend = FrontendKey::new(Address::from(address.ip()), Port::new(address.port()), Protocol::TCP);
        let live = Live::new(Options { workers: 2, ..options });
        let listeners = vec![listener.try_clone().unwrap(), listener];
        let server = Server::start(listeners, Arc::clone(&live), log).unwrap();
        let gateway = Self { address, frontend, live, server };
        assert_eq!(gateway.serve(site), []);
        gateway
    }

    pub fn new(site: Site) -> Self {
        Self::with(site, Options::default(), None)
    }

    /// Serves another site from now on.
    pub fn serve(&self, site: Site) -> Vec<Problem> {
        self.live.install(&BTreeMap::from([(self.frontend, Arc::new(site))]))
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub async fn http1(&self) -> http1::SendRequest<AnyBody> {
        over_http1(self.connect().await).await
    }

    pub async fn http2(&self) -> http2::SendRequest<AnyBody> {
        over_http2(self.connect().await).await
    }

    /// Asks for a path on a connection of its own.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut client = self.http1().await;
        read(client.send_request(get(path)).await.unwrap()).await
    }
}

pub async fn over_http1<S>(stream: S) -> http1::SendRequest<AnyBody>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    client
}

pub async fn over_http2<S>(stream: S) -> http2::SendRequest<AnyBody>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A request for a path of `shop.example`.
pub fn get(path: &str) -> Request<AnyBody> {
    Request::get(path).header("host", "shop.example").body(nothing()).unwrap()
}

/// The same in HTTP/2.
pub fn get2(host: &str, path: &str) -> Request<AnyBody> {
    Request::get(format!("http://{host}{path}")).body(nothing()).unwrap()
}

/// Status and body.
pub async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Sends bytes and reads until the text holds `end`, or the other side ends.
pub async fn say(stream: &mut TcpStream, bytes: &str, end: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let reading = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
        let count = reading.await.unwrap_or_else(|_| panic!("no `{end}` after `{text}`")).unwrap();
        if count == 0 {
            break;
        }
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

/// Waits for a condition.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
