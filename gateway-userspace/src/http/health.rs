//! Asks backends whether they can serve, where their Upstream wants that.
//!
//! It is the control plane's, beside the workers: each backend with a check is asked at its interval, at times that drift
//! apart, and no more than so many are asked at once. What comes of it stands at the endpoint, next to how requests fared
//! there: one that fails either way gets nothing new, unless all do. Until it has failed often enough a backend counts as
//! healthy, since its Pod is ready.

mod streak;

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::TrySendError;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::streak::Streak;
use super::body::RequestBody;
use super::endpoint::{Endpoint, Failure};
use super::options::Options;
use super::snapshot::Live;
use crate::model::http::HealthCheck;

/// Checks that are under way at once.
const MAX_IN_FLIGHT: usize = 512;

/// Asks all backends that are served, now and later, for as long as it is polled.
pub async fn run(live: Arc<Live>) {
    let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut watched = JoinSet::new();
    loop {
        for endpoint in live.endpoints() {
            if let Some(check) = endpoint.begin_checks() {
                let watching = watch(endpoint, check, Arc::clone(live.options()), Arc::clone(&in_flight));
                watched.spawn(watching);
            }
        }
        while watched.try_join_next().is_some() {}
        live.changed().await;
    }
}

/// Asks one backend until no site names it any more.
async fn watch(endpoint: Arc<Endpoint>, check: Arc<HealthCheck>, options: Arc<Options>, in_flight: Arc<Semaphore>) {
    let mut streak = Streak::default();
    // Backends that came at once are not asked at once.
    let mut pause = check.interval.mul_f64(fastrand::f64());
    loop {
        tokio::time::sleep(pause).await;
        if endpoint.is_gone() {
            return;
        }
        let outcome = {
            let Ok(_permit) = in_flight.acquire().await else { return };
            ask(&endpoint, &check, &options).await
        };
        if let Err(trouble) = &outcome {
            tracing::debug!(address = %endpoint.address, %trouble, "a health check failed");
        }
        if let Some(is_healthy) = streak.note(outcome.is_ok(), &check) {
            endpoint.note_checked(is_healthy);
            let path = &check.path;
            match outcome {
                Ok(()) => tracing::info!(address = %endpoint.address, path, "a backend passes its health check again"),
                Err(trouble) => {
                    tracing::warn!(address = %endpoint.address, path, %trouble, "a backend fails its health check");
                }
            }
        }
        pause = jittered(check.interval);
    }
}

/// A tenth less to a tenth more.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Connection(#[from] Failure),
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the check is no request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer in time")]
    Timeout,
}

async fn ask(endpoint: &Endpoint, check: &HealthCheck, options: &Options) -> Result<(), Trouble> {
    let asking = async {
        let status = status(endpoint, check, options).await?;
        if check.expects(status.as_u16()) { Ok(()) } else { Err(Trouble::Status(status)) }
    };
    tokio::time::timeout(check.timeout, asking).await.unwrap_or(Err(Trouble::Timeout))
}

/// The answer to one request, on a connection of its own that ends with it: one that works already tells nothing of new ones.
async fn status(endpoint: &Endpoint, check: &HealthCheck, options: &Options) -> Result<StatusCode, Trouble> {
    let mut wire = endpoint.connect_for_check(options).await?;
    let host = check.host.clone().unwrap_or_else(|| endpoint.address.to_string());
    let request = Request::builder().header(USER_AGENT, "beeline-health-check");
    let request = if wire.is_shared() {
        let scheme = if endpoint.is_tls() { "https" } else { "http" };
        request.uri(format!("{scheme}://{host}{}", check.path))
    } else {
        request.uri(&*check.path).header(HOST, host)
    };
    let answered = wire.send(request.body(RequestBody::Empty)?).await;
    Ok(answered.map_err(TrySendError::into_error)?.status())
}
