//! Takes the agent's requests, asks the API server, and does the fault to what is between.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::config::AuthInfo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::answers::{self, Talk};
use super::bodies::{self, Answer};
use super::{ADDRESS, Fault, Weather};
use crate::api_server;

/// What every request needs.
#[derive(Clone)]
struct Between {
    upstream: Client,
    weather: watch::Receiver<Weather>,
    met: Arc<AtomicU64>,
}

/// Serves until nobody can change the weather any more.
pub fn run(kubeconfig: &Path, weather: watch::Receiver<Weather>, met: &Arc<AtomicU64>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut config = api_server::config(kubeconfig).await?;
        config.auth_info = AuthInfo::default();
        let upstream = Client::try_from(config)?;
        serve(Between { upstream, weather, met: Arc::clone(met) }).await
    })
}

async fn serve(between: Between) -> Result<()> {
    let (mut down, mut up) = (between.weather.clone(), between.weather.clone());
    loop {
        // Where nobody listens, the kernel refuses.
        if up.wait_for(|weather| weather.fault != Fault::Down).await.is_err() {
            return Ok(());
        }
        let listener = TcpListener::bind(ADDRESS).await.with_context(|| format!("cannot listen on {ADDRESS}"))?;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    tokio::spawn(converse(between.clone(), stream));
                }
                fallen = down.wait_for(|weather| weather.fault == Fault::Down) => match fallen {
                    Ok(_) => break,
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}

/// One connection, until it ends or the API server goes down.
async fn converse(between: Between, stream: TcpStream) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let mut weather = between.weather.clone();
    let service = hyper::service::service_fn(|request| {
        let between = between.clone();
        async move { Ok::<_, Infallible>(answer(between, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let broken = tokio::select! {
        outcome = connection => outcome.is_err(),
        _ = weather.wait_for(|weather| weather.fault == Fault::Down) => {
            between.met.fetch_add(1, Ordering::Relaxed);
            true
        }
    };
    if broken {
        reset(&socket);
    }
}

/// Has the connection reset when its last descriptor is closed.
fn reset(socket: &OwnedFd) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // A connection that is over already cannot be reset.
    let _over = setsockopt(socket, sockopt::Linger, &at_once);
}

async fn answer(between: Between, request: Request<Incoming>) -> Response<Answer> {
    let weather = between.weather.borrow().clone();
    let talk = Talk::new(request.uri());
    let fault = &weather.fault;
    let met = answers::concerns(fault, &talk);
    if met {
        between.met.fetch_add(1, Ordering::Relaxed);
    }
    if let Fault::Slow(time) = fault {
        tokio::time::sleep(*time).await;
    }
    if let Some(answer) = answers::instead(fault, &talk).filter(|_| met) {
        return answer;
    }
    match forward(&between.upstream, request).await {
        Ok(answer) if answer.status().is_success() => {
            bodies::disturb(answer, &talk, weather, between.weather.clone()).await
        }
        Ok(answer) => answer.map(bodies::whole),
        Err(error) => answers::status(StatusCode::BAD_GATEWAY, "BadGateway", &format!("{error:#}")),
    }
}

async fn forward(upstream: &Client, request: Request<Incoming>) -> Result<Response<kube::client::Body>> {
    let (mut head, body) = request.into_parts();
    // The connection's own business, and the name of who stands in between.
    for name in ["connection", "host", "accept-encoding"] {
        head.headers.remove(name);
    }
    let body = body.collect().await?.to_bytes();
    let mut answer = upstream.send(Request::from_parts(head, body.to_vec().into())).await?;
    for name in ["connection", "transfer-encoding", "content-length"] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}
