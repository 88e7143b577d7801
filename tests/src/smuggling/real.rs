//! The corpus through the server that is deployed: sockets, the tap, hyper, the rules, the router, and a Pod behind them.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway_common::{Address, FrontendKey, Place, Port, Protocol};
use gateway_userspace::http::{AccessLog, Live, Options, Server};
use gateway_userspace::model::http::{BackendRef, Handling, Listener, Match, Picker, Route, Rule, Site, Speech};
use gateway_userspace::model::{Backend, Group, Member, PodId};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;

use super::corpus::{BYTES, Case, HEADS};
use super::server::statuses;

const BEFORE: &[u8] = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The targets of requests that a Pod has read to their end.
type Complete = Arc<Mutex<Vec<String>>>;

#[test]
fn each_case_is_answered_400_and_closed_and_its_twin_is_served() {
    let gateway = Gateway::start();

    for case in BYTES.iter().chain(HEADS) {
        assert_eq!(gateway.refuse(case.refused), [200, 200, 400], "{}", case.name);
        assert_eq!(gateway.take_complete(), ["/1", "/2"], "{}: what the Pod has seen", case.name);
        assert_eq!(gateway.serve(case.served), [200; 4], "{}", case.name);
        assert_eq!(gateway.take_complete().last().map(String::as_str), Some("/behind"), "{}", case.name);
    }

    let names: Vec<&Case> = BYTES.iter().chain(HEADS).collect();
    let details = gateway.end();
    assert_eq!(details.len(), names.len());
    for (case, detail) in names.iter().zip(details) {
        assert_eq!(detail, case.reason, "{}", case.name);
    }
}

#[test]
fn connect_is_refused_and_closed_by_the_server_too() {
    let gateway = Gateway::start();

    assert_eq!(gateway.refuse(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"), [200, 200, 405]);
    assert_eq!(gateway.take_complete(), ["/1", "/2"]);
}

/// The server, with one frontend on loopback and a Pod behind it.
struct Gateway {
    address: SocketAddr,
    server: Server,
    complete: Complete,
    log: Log,
    runtime: Runtime,
}

impl Gateway {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let complete = Complete::default();
        let pod = runtime.block_on(pod(Arc::clone(&complete)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let live = Live::new(Options { workers: 1, ..Options::default() });
        let frontend = FrontendKey::new(Address::from(address.ip()), Port::new(address.port()), Protocol::TCP);
        assert_eq!(live.install(&[(frontend, Arc::new(site(pod)))].into()), []);
        let log = Log::default();
        let server = Server::start(vec![listener], live, Some(&AccessLog::new(log.clone()).unwrap())).unwrap();
        Self { address, server, complete, log, runtime }
    }

    /// Sends a request amid others; the statuses of all answers up to the connection's end.
    fn refuse(&self, request: &[u8]) -> Vec<u16> {
        let mut stream = self.send(request);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            // What was sent behind the refused request is not read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}, after {}", answer.escape_ascii()),
        }
        statuses(&answer)
    }

    /// The same for a request that is served: up to the fourth answer.
    fn serve(&self, request: &[u8]) -> Vec<u16> {
        let mut stream = self.send(request);
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while statuses(&answer).len() < 4 || !answer.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
            }
        }
        statuses(&answer)
    }

    fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[BEFORE, request, BEHIND].concat()).unwrap();
        stream
    }

    fn take_complete(&self) -> Vec<String> {
        std::mem::take(&mut self.complete.lock().unwrap())
    }

    /// Ends it all; what the log says of each request that was refused, in order.
    fn end(self) -> Vec<String> {
        self.runtime.block_on(self.server.drain());
        let begun = Instant::now();
        // The writer ends by itself when nobody can give it anything any more.
        while Arc::strong_count(&self.log.0) > 1 {
            assert!(begun.elapsed() < PATIENCE, "the log is still being written");
            std::thread::sleep(Duration::from_millis(5));
        }
        let lines = self.log.0.lock().unwrap();
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let values = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
        let refused = values.filter(|value| value["reason"] == "bad_request");
        refused.map(|value| value["detail"].as_str().unwrap().to_string()).collect()
    }
}

/// Where the log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A Pod that notes what it has read to the end.
async fn pod(complete: Complete) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let complete = Arc::clone(&complete);
            let service = service_fn(move |request| answer(request, Arc::clone(&complete)));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn answer(request: Request<Incoming>, complete: Complete) -> Result<Response<Empty<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    if request.into_body().collect().await.is_ok() {
        complete.lock().unwrap().push(target);
    }
    Ok(Response::new(Empty::new()))
}

/// A site whose one rule leads all requests to a Pod.
fn site(pod: SocketAddr) -> Site {
    let backend = Backend {
        address: Address::from(pod.ip()),
        port: Port::new(pod.port()),
        protocol: Protocol::TCP,
        pod: PodId::from_uid("pod"),
    };
    let member = Member { name: "shop/pod".to_string(), weight: 10, place: Place::Here };
    let to_pod = BackendRef {
        group: Group { reference: "Service shop/web:80".to_string(), weight: 1, members: [(backend, member)].into() },
        is_broken: false,
        picker: Picker::default(),
        filters: Vec::new(),
        speech: Speech::Http,
        tls: None,
        host_header: None,
        proxy: None,
        health_check: None,
    };
    let rule = Rule { matches: vec![Match::default()], backends: vec![to_pod], ..Rule::default() };
    let route = Route { owner: "HTTPRoute shop/web".to_string(), hostnames: Vec::new(), rules: vec![rule] };
    let handling = Handling::Http(vec![Arc::new(route)]);
    let listener = Listener { name: "web/http".to_string(), hostname: None, handling };
    Site { owner: "Gateway shop/web".to_string(), listeners: vec![listener], ..Site::default() }
}
