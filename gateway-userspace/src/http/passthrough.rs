//! Carries a connection of TLS on as a stream of bytes, as it came or after TLS has ended here.
//!
//! Which backend it goes to is chosen by weight for each connection; one that does not accept it is passed over for
//! another, since nothing was sent yet. Each side may end its half (`FIN`) while the other goes on.

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use super::endpoint::{Failure, InUse, RawStream, connect_stream};
use super::pick::{Asker, Reference};
use super::proxy_header::Ends;
use super::reject::Reason;
use super::server::Worker;
use super::snapshot::LiveSite;

/// Bytes that wait for the slower side, in each direction.
const BUFFER: usize = 32 << 10;

/// Backends that are tried for one connection.
const ATTEMPTS: usize = 3;

/// A connection to a backend.
pub struct Outlet {
    stream: RawStream,
    /// Held until the connection ends.
    _in_use: InUse,
}

/// A connection to a backend for a client that asked a listener for a name.
pub async fn connect(
    worker: &Worker,
    site: &LiveSite,
    listener: usize,
    name: &str,
    ends: Ends,
) -> Result<Outlet, Reason> {
    let route = site.router.find_tls(listener, name).ok_or(Reason::NoRoute)?;
    let references = &site.listeners[listener].routes[route][0].references;
    any_of(worker, &references.all[references.choose()?], ends).await
}

/// Carries bytes between both until both have ended.
pub async fn relay(mut client: impl AsyncRead + AsyncWrite + Unpin, backend: Outlet) {
    let ended = match backend.stream {
        RawStream::Plain(mut backend) => copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await,
        RawStream::Tls(mut backend) => copy_bidirectional_with_sizes(&mut client, &mut *backend, BUFFER, BUFFER).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a relayed connection broke off");
    }
}

async fn any_of(worker: &Worker, reference: &Reference, ends: Ends) -> Result<Outlet, Reason> {
    let mut choice = reference.choose(&Asker { client: ends.source.ip(), headers: None })?;
    let mut tried = Vec::new();
    loop {
        let (endpoint, _) = &reference.members[choice.member];
        let in_use = InUse::new(endpoint);
        let failure = match connect_stream(endpoint, &worker.options, ends).await {
            Ok(stream) => {
                endpoint.note_success();
                return Ok(Outlet { stream, _in_use: in_use });
            }
            Err(failure) => failure,
        };
        endpoint.note_failure(&worker.counters);
        tried.push(choice.member);
        let other = reference.choose_other(choice, &tried).filter(|_| tried.len() < ATTEMPTS);
        choice = other.ok_or(match failure {
            Failure::Connect(_) | Failure::Http2(_) => Reason::ConnectFailed,
            Failure::Timeout => Reason::ConnectTimeout,
            Failure::Tls(_) => Reason::BackendTls,
        })?;
    }
}
