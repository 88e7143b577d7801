//! An API server for tests: real HTTP on the loopback, with whatever answers a test wants.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::backoff::Pace;

/// What the server says to a question.
pub(super) enum Answer {
    /// A whole answer.
    Json(u16, Value),
    /// The same, with a header of one's own.
    WithHeader(u16, (&'static str, &'static str), Value),
    /// The lines of a watch, and what comes after them.
    Lines(Vec<Value>, Then),
    /// Nothing at all, for ever.
    Silence,
}

/// What comes after the lines of a watch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Silence.
    Wait,
    /// The end, in good order.
    End,
    /// The connection is torn down.
    Reset,
}

/// The server. It ends when it is dropped.
pub(super) struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server that answers by path and query, and the number of the question from 0.
    pub(super) async fn start(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (answer, questions) = (Arc::new(answer), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (answer, questions) = (answer.clone(), questions.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, questions) = (answer.clone(), questions.clone());
                    async move {
                        let question = request.uri().path_and_query().unwrap().to_string();
                        let number = {
                            let mut questions = questions.lock().unwrap();
                            questions.push(question.clone());
                            questions.len() - 1
                        };
                        Ok::<_, Infallible>(respond(answer(&question, number)).await)
                    }
                });
                tokio::spawn(async move {
                    // A connection that breaks is what some tests are about.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, asked, task }
    }

    /// Where it is, as a URL.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn client(&self) -> Client {
        let mut config = Config::new(self.address.parse().unwrap());
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// Every path and query that was asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn respond(answer: Answer) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let whole =
        |value: &Value| Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    match answer {
        Answer::Json(code, value) => Response::builder().status(code).body(whole(&value)).unwrap(),
        Answer::WithHeader(code, (name, header), value) => {
            Response::builder().status(code).header(name, header).body(whole(&value)).unwrap()
        }
        Answer::Lines(lines, then) => {
            let frames: Vec<_> = lines.iter().map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n"))))).collect();
            let rest = match then {
                Then::Wait => stream::pending().boxed(),
                Then::End => stream::empty().boxed(),
                // After a moment, or the lines before it would be lost with the connection.
                Then::Reset => stream::once(async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(io::Error::other("reset"))
                })
                .boxed(),
            };
            Response::new(StreamBody::new(stream::iter(frames).chain(rest)).boxed_unsync())
        }
        Answer::Silence => std::future::pending().await,
    }
}

/// Short waits.
pub(super) fn pace() -> Pace {
    Pace {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(50),
        answer: Duration::from_millis(500),
        quiet: Duration::from_millis(200),
        settled: Duration::from_millis(100),
    }
}

/// The refusal of a question.
pub(super) fn refusal(code: u16, message: &str) -> Answer {
    Answer::Json(code, json!({"kind": "Status", "code": code, "message": message}))
}

/// A line of a watch.
pub(super) fn line(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

/// The line after everything that was there.
pub(super) fn end_of_beginning(version: &str) -> Value {
    let metadata = json!({"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}});
    line("BOOKMARK", &json!({"metadata": metadata}))
}

/// A Service of the namespace `shop`.
pub(super) fn service(name: &str, version: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version, "managedFields": [{"fieldsV1": {}}]},
        "spec": {"ports": [{"port": 80}]},
    })
}
