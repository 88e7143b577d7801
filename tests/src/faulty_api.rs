//! Stands between an agent and its API server and does to their talk what networks, servers and administrators do.
//!
//! Plain HTTP on the agent's side, so that the talk can be understood; what is not disturbed is passed on as it is, the
//! agent's token included. A new fault also ends the watches that are open: otherwise it would not be met for minutes.

mod answers;
mod bodies;
mod serve;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tokio::sync::watch;

use crate::netns::Namespace;
use crate::wait;

/// Where it listens, in the agent's namespace.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6444);
/// How long it may take to listen, and how long a fault may take to be met.
const LIMIT: Duration = Duration::from_secs(20);

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Connections are refused, and those that were open are reset.
    Down,
    /// Every answer takes its time.
    Slow(Duration),
    /// Watches end without a word after this time, in the middle of a line.
    CutWatches(Duration),
    /// Watches that go on from a version are told that it is too old.
    Gone,
    /// Every request comes too early: 429, with the seconds after which it may come again.
    TooMany(u32),
    /// Nobody may list or watch a resource, named by its plural.
    Forbidden(&'static str),
    /// An object stands among those of a resource.
    Intruder(&'static str, Value),
}

/// A fault, and its number, which tells it from an equal one before.
#[derive(Clone, Debug, Default)]
struct Weather {
    fault: Fault,
    number: u64,
}

/// The one in between. Dropping it ends it.
pub struct FaultyApi {
    weather: watch::Sender<Weather>,
    /// Requests and watches that the present fault was done to.
    met: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl FaultyApi {
    /// Listens in a namespace for the API server of a kubeconfig, whose credentials are not used.
    pub fn start(namespace: &Namespace, kubeconfig: &Path) -> Result<Self> {
        let (weather, seen) = watch::channel(Weather::default());
        let (kubeconfig, met) = (kubeconfig.to_owned(), Arc::<AtomicU64>::default());
        let counter = Arc::clone(&met);
        let thread = namespace.spawn(move || serve::run(&kubeconfig, seen, &counter))?;
        let this = Self { weather, met, thread: Some(thread) };
        let listens = || namespace.enter(|| std::net::TcpStream::connect(ADDRESS).is_ok()).ok()?.then_some(());
        wait::until("the one in between listens", LIMIT, listens)?;
        Ok(this)
    }

    /// The address for a kubeconfig.
    pub fn server() -> String {
        format!("http://{ADDRESS}")
    }

    /// From now on this is wrong, and nothing else.
    pub fn set(&self, fault: Fault) {
        self.met.store(0, Ordering::Relaxed);
        self.weather.send_modify(|weather| {
            // The end of a fault is no reason to disturb what goes well in spite of it.
            weather.number += u64::from(fault != Fault::None);
            weather.fault = fault;
        });
    }

    /// Waits until the fault was done to somebody, again and again.
    pub fn wait_until_met(&self, times: u64) -> Result<()> {
        let met = || (self.met.load(Ordering::Relaxed) >= times).then_some(());
        wait::until(&format!("{:?} is met {times} times", self.weather.borrow().fault), LIMIT, met)
    }
}

impl Drop for FaultyApi {
    fn drop(&mut self) {
        // The thread ends when nobody can change the weather any more.
        let (closed, _) = watch::channel(Weather::default());
        drop(std::mem::replace(&mut self.weather, closed));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().map_err(|_| anyhow!("it panicked")).and_then(|result| result);
            if let Err(error) = ended.context("the one between agent and API server") {
                eprintln!("{error:#}");
            }
        }
    }
}
