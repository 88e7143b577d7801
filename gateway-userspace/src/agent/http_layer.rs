//! The HTTP layer beside the agent: the sockets that the datapath steers connections to, and what is served on them.
//!
//! It starts with the first site. New sites are served before the datapath sends anybody there; those that go are served
//! until it sends nobody any more, and their connections are then drained. An agent that has handed over tells
//! the clients of its connections to connect anew, and keeps those that go on, as `WebSocket`s do, until it is told to end.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use gateway_common::FrontendKey;
use gateway_common::maps::Listener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::dataplane::Dataplane;
use crate::host::{listeners, open_files};
use crate::http::{AccessLog, Live, Observer, Options, Server, health};
use crate::model::http::Site;
use crate::source::Problem;

type Sites = BTreeMap<FrontendKey, Arc<Site>>;

/// Whoever wants to know what the HTTP layer does; nothing before it runs.
pub type Observed = Arc<OnceLock<Observer>>;

/// The HTTP layer, running or not needed yet.
#[derive(Default)]
pub struct HttpLayer {
    options: Options,
    server: Option<Server>,
    /// Where requests are logged, if they are.
    log: Option<AccessLog>,
    observed: Observed,
    /// Who asks backends whether they can serve.
    checks: Option<JoinHandle<()>>,
    /// What is served.
    sites: Sites,
}

impl HttpLayer {
    /// One that will follow these settings once there is something to serve, with a log, if requests are logged.
    pub fn new(options: Options, log: Option<AccessLog>) -> Self {
        Self { options, log, ..Self::default() }
    }

    /// Serves these sites; those that are served and not among them stay until [`HttpLayer::retire`].
    pub fn prepare(&mut self, sites: &Sites, dataplane: &Dataplane) -> anyhow::Result<Vec<Problem>> {
        if sites.is_empty() && self.server.is_none() {
            return Ok(Vec::new());
        }
        let mut all = self.sites.clone();
        all.extend(sites.iter().map(|(key, site)| (*key, Arc::clone(site))));
        let problems = if let Some(server) = &self.server {
            server.live().install(&all)
        } else {
            let live = Live::new(self.options.clone());
            // An earlier agent's frontends may lead here from the moment that the sockets are steered to.
            let problems = live.install(&all);
            let server = start(live, dataplane, self.log.as_ref()).context("the HTTP layer cannot be started")?;
            // It starts once.
            let _ = self.observed.set(server.observer());
            self.checks = Some(tokio::spawn(health::run(Arc::clone(server.live()))));
            self.server = Some(server);
            problems
        };
        self.sites = all;
        Ok(problems.into_iter().map(|problem| Problem::of_file("", problem.message)).collect())
    }

    /// What others may see of it, from when it runs.
    pub fn observed(&self) -> Observed {
        Arc::clone(&self.observed)
    }

    /// Ends what is not among these sites, to which the datapath sends nobody any more.
    pub fn retire(&mut self, sites: &Sites) {
        let Some(server) = &self.server else { return };
        if self.sites.len() != sites.len() {
            self.sites.clone_from(sites);
            // What is wrong with them was said when they came.
            let _ = server.live().install(sites);
        }
    }

    /// Another agent takes new connections over: the clients of open ones are told to connect anew, and until that agent's
    /// sockets are in place these go on accepting.
    pub fn hand_over(&self) {
        if let Some(server) = &self.server {
            server.end_connections();
        }
    }

    /// Takes no more connections, and waits until those that are open have ended, within bounds.
    pub async fn drain(self) {
        let Some(server) = self.server else { return };
        let connections = server.open_connections();
        if connections > 0 {
            info!(connections, "the HTTP layer lets its connections end");
        }
        server.drain().await;
        if let Some(checks) = self.checks {
            checks.abort();
        }
        if let Some(log) = self.log {
            log.flush();
        }
    }
}

/// Starts the workers, with sockets of each family that the datapath sends connections to. The sockets are the workers' alone,
/// so they end when these take no more.
fn start(live: Arc<Live>, dataplane: &Dataplane, log: Option<&AccessLog>) -> anyhow::Result<Server> {
    let workers = live.options().workers;
    let files = open_files::allow_most().context("cannot allow more open files")?;
    let mut sockets = Vec::new();
    for family in Listener::ALL {
        match listeners::open(family, workers) {
            Ok(opened) => {
                // One stands for those of all workers.
                dataplane.steer(family, opened.first().map(AsFd::as_fd))?;
                sockets.extend(opened);
            }
            Err(error) => warn!(%error, ?family, "the HTTP layer does without a family of addresses"),
        }
    }
    let server = Server::start(sockets, live, log)?;
    info!(workers, files, "the HTTP layer serves");
    Ok(server)
}
