//! The HTTP layer beside the agent: the sockets that the datapath steers connections to, and what is served on them.
//!
//! It starts with the first site. New sites are served before the datapath sends anybody there; those that go are served
//! until it sends nobody any more, and their connections are then drained. An agent that has handed over keeps the
//! connections that it took until it is told to end.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::Context;
use gateway_common::FrontendKey;
use gateway_common::maps::Listener;
use tracing::{info, warn};

use crate::dataplane::Dataplane;
use crate::host::listeners;
use crate::http::{Live, Options, Server};
use crate::model::http::Site;
use crate::source::Problem;

type Sites = BTreeMap<FrontendKey, Arc<Site>>;

/// The HTTP layer, running or not needed yet.
#[derive(Default)]
pub struct HttpLayer {
    running: Option<Running>,
    /// What is served.
    sites: Sites,
}

struct Running {
    server: Server,
    /// Of each family one socket, which stands for those of all workers.
    doors: Vec<(Listener, TcpListener)>,
    /// Whether the datapath sends connections to the doors.
    open: bool,
}

impl HttpLayer {
    /// Serves these sites; those that are served and not among them stay until [`HttpLayer::retire`].
    pub fn prepare(&mut self, sites: &Sites, dataplane: &Dataplane) -> anyhow::Result<Vec<Problem>> {
        if sites.is_empty() && self.running.is_none() {
            return Ok(Vec::new());
        }
        let mut all = self.sites.clone();
        all.extend(sites.iter().map(|(key, site)| (*key, Arc::clone(site))));
        let running = match &mut self.running {
            Some(running) => running,
            None => self.running.insert(Running::start().context("the HTTP layer cannot be started")?),
        };
        let problems = running.server.live().install(&all);
        self.sites = all;
        running.open_doors(dataplane).context("connections cannot be steered to the HTTP layer")?;
        Ok(problems.into_iter().map(|problem| Problem::of_file("", problem.message)).collect())
    }

    /// Ends what is not among these sites, to which the datapath sends nobody any more.
    pub fn retire(&mut self, sites: &Sites) {
        let Some(running) = &self.running else { return };
        if self.sites.len() != sites.len() {
            self.sites.clone_from(sites);
            // What is wrong with them was said when they came.
            let _ = running.server.live().install(sites);
        }
    }

    /// Takes no more connections, and waits until those that are open have ended, within bounds.
    pub async fn drain(self) {
        let Some(Running { server, .. }) = self.running else { return };
        let connections = server.open_connections();
        if connections > 0 {
            info!(connections, "the HTTP layer lets its connections end");
        }
        server.drain().await;
    }
}

impl Running {
    fn start() -> anyhow::Result<Self> {
        let options = Options::default();
        let workers = options.workers;
        let (mut sockets, mut doors) = (Vec::new(), Vec::new());
        for family in Listener::ALL {
            match listeners::open(family, workers) {
                Ok(opened) => {
                    if let Some(first) = opened.first() {
                        doors.push((family, first.try_clone()?));
                    }
                    sockets.extend(opened);
                }
                Err(error) => warn!(%error, ?family, "the HTTP layer does without a family of addresses"),
            }
        }
        let server = Server::start(sockets, Live::new(options), None)?;
        info!(workers, "the HTTP layer serves");
        Ok(Self { server, doors, open: false })
    }

    fn open_doors(&mut self, dataplane: &Dataplane) -> anyhow::Result<()> {
        if !self.open {
            for (family, socket) in &self.doors {
                dataplane.steer(*family, Some(socket.as_fd()))?;
            }
            self.open = true;
        }
        Ok(())
    }
}
