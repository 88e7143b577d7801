//! A small API server in memory for tests: objects with versions, preconditions, conflicts, watches and field ownership.
//!
//! [`FakeServer::client`] reaches it without sockets, so that paused time stays paused; [`FakeServer::listen`] serves the
//! same over loopback. Only as much of the API is there as is used here.

mod store;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use store::{Key, Refusal, Store};

type Stream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// The server.
#[derive(Clone, Default)]
pub(super) struct FakeServer {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    store: Store,
    /// What was asked for that changes something: who, method and path.
    writes: Vec<(String, String)>,
    /// Whoever gets no sensible answer.
    cut: Vec<String>,
    /// The next answers to requests whose line contains the text.
    faults: Vec<(String, StatusCode)>,
}

impl State {
    /// The next event of a watch; none for whoever is cut off.
    fn news_for(&self, who: &str, key: &Key, query: &str, from: u64) -> Option<(u64, Value)> {
        if self.cut.iter().any(|cut| cut == who) { None } else { self.store.next_event(key, query, from) }
    }
}

impl FakeServer {
    /// A client that says its name with each request.
    pub(super) fn client(&self, name: &str) -> Client {
        let (server, name) = (self.clone(), name.to_string());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, name) = (server.clone(), name.clone());
            async move { Ok::<_, Infallible>(server.answer(&name, request).await) }
        });
        Client::new(service, "default")
    }

    /// Serves over loopback and returns a client that comes that way.
    pub(super) async fn listen(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                let service = hyper::service::service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer("loopback", request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap()
    }

    /// Puts an object there, as its owner would.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.lock().store.put(&Key::parse(path).unwrap().0, object);
        self.news.notify_waiters();
    }

    /// Takes an object away, as its owner would.
    pub(super) fn remove(&self, path: &str) {
        self.lock().store.remove(&Key::parse(path).unwrap().0);
        self.news.notify_waiters();
    }

    /// An object as it is now.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.lock().store.get(&Key::parse(path).unwrap().0).cloned()
    }

    /// All objects of a collection.
    pub(super) fn list(&self, path: &str) -> Vec<Value> {
        self.lock().store.list(&Key::parse(path).unwrap().0, "")
    }

    /// How many requests whose line contains the text changed something or tried to.
    pub(super) fn writes(&self, text: &str) -> usize {
        self.lock().writes.iter().filter(|(who, line)| line.contains(text) || who == text).count()
    }

    /// From now on this client gets no sensible answer, and its watches tell nothing.
    pub(super) fn cut(&self, name: &str) {
        self.lock().cut.push(name.to_string());
    }

    /// The next request whose line contains the text is answered so.
    pub(super) fn fail(&self, text: &str, code: u16) {
        self.lock().faults.push((text.to_string(), StatusCode::from_u16(code).unwrap()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer<B>(&self, who: &str, request: Request<B>) -> Response<Stream>
    where
        B: Body,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let line = format!("{} {}", head.method, head.uri.path());
        let query = head.uri.query().unwrap_or_default().to_string();
        let content_type = head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_string();
        let mut state = self.lock();
        if state.cut.iter().any(|cut| cut == who) {
            return refusal(&Refusal(StatusCode::INTERNAL_SERVER_ERROR, "cut off"));
        }
        if head.method != Method::GET {
            state.writes.push((who.to_string(), line.clone()));
        }
        if let Some(index) = state.faults.iter().position(|(text, _)| line.contains(text)) {
            return refusal(&Refusal(state.faults.remove(index).1, "as asked for"));
        }
        let Some((key, is_status)) = Key::parse(head.uri.path()) else {
            return refusal(&Refusal(StatusCode::NOT_FOUND, "no such path"));
        };
        let input: Value = serde_json::from_slice(&body).unwrap_or_default();
        let store = &mut state.store;
        let outcome = match head.method {
            Method::GET if query.contains("watch=") => {
                drop(state);
                return self.watch(who, key, &query);
            }
            Method::GET if key.name.is_empty() => Ok(json!({
                "kind": "List", "apiVersion": "v1",
                "metadata": { "resourceVersion": store.version().to_string() },
                "items": store.list(&key, &query),
            })),
            Method::GET => store.get(&key).cloned().ok_or(store::NOT_FOUND),
            Method::POST => store.create(&key, input),
            Method::PUT => store.replace(&key, &input, is_status),
            Method::PATCH if !is_status && content_type == "application/apply-patch+yaml" => store.apply(&key, &input),
            Method::PATCH => store.patch(&key, &input, &content_type),
            Method::DELETE => store.delete(&key, &input),
            _ => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "not here")),
        };
        drop(state);
        self.news.notify_waiters();
        match outcome {
            Ok(object) => whole(StatusCode::OK, &object),
            Err(refused) => refusal(&refused),
        }
    }

    /// What has changed since a version, and what changes from then on.
    fn watch(&self, who: &str, key: Key, query: &str) -> Response<Stream> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse().ok()).unwrap_or(0);
        let (server, who, query) = (self.clone(), who.to_string(), query.to_string());
        let events = stream::unfold(from, move |from| {
            let (server, who, key, query) = (server.clone(), who.clone(), key.clone(), query.clone());
            async move {
                loop {
                    let notified = server.news.notified();
                    tokio::pin!(notified);
                    notified.as_mut().enable();
                    let next = server.lock().news_for(&who, &key, &query, from);
                    if let Some((version, event)) = next {
                        let line = format!("{event}\n");
                        return Some((Ok(Frame::data(Bytes::from(line))), version));
                    }
                    notified.await;
                }
            }
        });
        Response::new(StreamBody::new(events.boxed()))
    }
}

fn whole(code: StatusCode, value: &Value) -> Response<Stream> {
    let frame = Frame::data(Bytes::from(value.to_string()));
    let mut response = Response::new(StreamBody::new(stream::iter([Ok(frame)]).boxed()));
    *response.status_mut() = code;
    response
}

fn refusal(Refusal(code, message): &Refusal) -> Response<Stream> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "message": message,
    });
    whole(*code, &status)
}
