//! Serves the health check node ports of Services with `externalTrafficPolicy: Local`, as kube-proxy does.
//!
//! A load balancer before the cluster asks each node by HTTP whether it has ready endpoints of the Service. A thread of
//! its own answers, so neither a slow client nor a busy agent holds the other up. The ports are those of the node's own
//! addresses; at a VIP the guard refuses them like everything else.

mod answer;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{self, JoinSet};
use tokio::time::sleep;
use tracing::debug;

use crate::model::HealthCheck;
use crate::source::{Problem, Severity};

/// Pause before a port is tried again that another process holds.
const RETRY: Duration = Duration::from_secs(30);

/// Pause after the system could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections at once, of all ports; more are closed at once.
const MOST_CONNECTIONS: usize = 512;

/// What each port answers.
type Checks = BTreeMap<u16, HealthCheck>;

/// The ports. Dropping this closes them, and returns when they are closed.
pub struct HealthPorts {
    checks: Option<watch::Sender<Checks>>,
    taken: Arc<Taken>,
    thread: Option<JoinHandle<()>>,
}

/// Where we cannot listen, and why.
#[derive(Default)]
struct Taken {
    addresses: Mutex<BTreeMap<SocketAddr, String>>,
    news: Arc<Notify>,
}

impl HealthPorts {
    /// Starts the thread, without any port.
    pub fn start() -> io::Result<Self> {
        Self::retrying_after(RETRY)
    }

    fn retrying_after(retry: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, checks) = watch::channel(Checks::new());
        let taken = Arc::new(Taken::default());
        let server =
            Server { checks, taken: Arc::clone(&taken), room: Arc::new(Semaphore::new(MOST_CONNECTIONS)), retry };
        let run = move || runtime.block_on(server.run());
        let thread = thread::Builder::new().name("health-ports".to_owned()).spawn(run)?;
        Ok(Self { checks: Some(sender), taken, thread: Some(thread) })
    }

    /// Makes the ports as the model asks; those that stay do not notice.
    pub fn serve(&self, wanted: &BTreeMap<u16, HealthCheck>) {
        if let Some(checks) = &self.checks {
            checks.send_if_modified(|checks| {
                let changed = checks != wanted;
                if changed {
                    checks.clone_from(wanted);
                }
                changed
            });
        }
    }

    /// The ports that cannot be had, one problem each.
    pub fn problems(&self) -> Vec<Problem> {
        let Some(checks) = &self.checks else { return Vec::new() };
        let taken = self.taken.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = Vec::new();
        for (port, check) in &*checks.borrow() {
            let mut addresses = taken.iter().filter(|(address, _)| address.port() == *port).peekable();
            let Some((_, error)) = addresses.peek() else { continue };
            let error = error.as_str();
            let addresses = addresses.map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" and ");
            let message = format!(
                "{addresses}: {error}: if it is kube-proxy that listens there, it answers in our place; else end that \
                 process, and the port is taken over by itself"
            );
            problems.push(Problem {
                object: format!("Service {}", check.service),
                field: "spec.healthCheckNodePort".to_owned(),
                severity: Severity::Warning,
                ..Problem::of_file("", message)
            });
        }
        problems
    }

    /// Tells when there may be other problems than before.
    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.taken.news)
    }
}

impl Drop for HealthPorts {
    fn drop(&mut self) {
        drop(self.checks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Taken {
    /// Notes whether an address could be had.
    fn note(&self, address: SocketAddr, failure: Option<String>) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match failure {
            Some(failure) => addresses.insert(address, failure.clone()) != Some(failure),
            None => addresses.remove(&address).is_some(),
        };
        if changed {
            self.news.notify_one();
        }
    }
}

/// The thread's side.
#[derive(Clone)]
struct Server {
    checks: watch::Receiver<Checks>,
    taken: Arc<Taken>,
    room: Arc<Semaphore>,
    retry: Duration,
}

impl Server {
    /// Until the sender is dropped; then everything that was spawned ends with the runtime.
    async fn run(mut self) {
        let mut listening: BTreeMap<SocketAddr, task::JoinHandle<()>> = BTreeMap::new();
        loop {
            let wanted: BTreeSet<_> = self.checks.borrow_and_update().keys().copied().flat_map(addresses).collect();
            for (address, task) in listening.extract_if(.., |address, _| !wanted.contains(address)) {
                // It is waited for, so that the port is free should it be wanted again.
                task.abort();
                let _ = task.await;
                self.taken.note(address, None);
            }
            for address in wanted {
                listening.entry(address).or_insert_with(|| task::spawn(self.clone().listen(address)));
            }
            if self.checks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Serves one address for as long as it is wanted.
    async fn listen(self, address: SocketAddr) {
        let listener = loop {
            match socket::listen(address) {
                Ok(listener) => break listener,
                Err(error) if socket::is_family_missing(&error) => {
                    debug!(%address, %error, "this host has no addresses of the family");
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.taken.note(address, Some("another process listens there".to_owned()));
                }
                Err(error) => self.taken.note(address, Some(format!("could not listen ({error})"))),
            }
            sleep(self.retry).await;
        };
        self.taken.note(address, None);
        // With this task end its connections.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                stream = accept(&listener) => {
                    if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
                        let checks = self.checks.clone();
                        connections.spawn(async move {
                            answer::serve(stream, address.port(), checks).await;
                            drop(room);
                        });
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// A port on all addresses of the node, each family by itself.
fn addresses(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
