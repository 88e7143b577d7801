//! The agent: starts everyone in order, follows changes, and stops without touching the datapath.
//!
//! One task does one thing at a time: something happened → read, translate, reconcile, write. Only the collector
//! of idle flows runs beside it, on a thread of its own. Whatever fails is tried again; what the maps contain is
//! read anew first, so a failure is never built upon. Beside the folder and the maps nothing decides. Once another
//! agent has taken over, this one only stands by.

mod announce;
mod conflicts;
pub(crate) mod handover;
mod health_ports;
mod http_layer;
pub(crate) mod inspection;
mod local;
mod places;
pub(crate) mod probe;
mod program;
mod recorder;
mod report;
mod sockets;
mod source;
mod sweep;
mod ways;

use std::future::pending;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use self::announce::Announcer;
use self::handover::{Introduction, Listener, Place, Standby};
use self::health_ports::HealthPorts;
use self::http_layer::HttpLayer;
use self::inspection::Inspection;
use self::probe::Pulse;
use self::program::{Cause, News, Programmer};
use self::recorder::Recorder;
use self::sockets::SocketSelection;
use self::source::{Source, Successor};
use self::sweep::Sweep;
use crate::config::Config;
use crate::dataplane::{Dataplane, Directory, is_locked};
use crate::host::uplinks::UplinkError;
use crate::host::{self, Host};
use crate::http::{AccessLog, LogTarget};
use crate::reconcile::{Reconciler, memory_bytes};
use crate::state::{RunDirectory, State};

/// How often devices, addresses and routes are looked at even if no change was signalled.
const HOST_LOOK: Duration = Duration::from_secs(5);

/// Changes of the host that follow each other this closely are answered once: a new device brings several.
const HOST_QUIET: Duration = Duration::from_millis(20);

/// However often the host changes, it is not looked at more often than this because of it.
const HOST_SPACING: Duration = Duration::from_millis(250);

/// Pause before a failed reconcile is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let pulse = Pulse::new();
    pulse.answer_probes(&config.instance).context("probes cannot be answered")?;
    let (bpffs, me) = (config.bpffs.clone(), Introduction::of(&config.instance));
    let mut prepared = Prepared::new(config)?;
    let prepare = async {
        prepared.source.settled(|| is_locked(&bpffs).unwrap_or(false)).await;
        handover::take(&bpffs, &me).await
    };
    let place = tokio::select! {
        signal = stop.wait() => {
            info!(signal, "stopped before anything was served");
            return Ok(());
        }
        place = pulse.while_waiting(prepare) => place?,
    };
    let standby = match place {
        Place::Holder(directory, listener) => follow(prepared, directory, listener, &mut stop, &pulse).await?,
        Place::Taken => {
            drop(prepared);
            Some((Standby::begin(&bpffs), HttpLayer::default()))
        }
    };
    let Some((standby, http)) = standby else { return Ok(()) };
    tokio::select! {
        signal = stop.wait() => {
            http.drain().await;
            info!(signal, "stopped while standing by");
            Ok(())
        }
        () = standby.until_free(&pulse) => Err(standby.resume()),
    }
}

/// Serves until a signal comes, or until another agent takes over from this one, which then stands by and keeps the
/// connections that its HTTP layer has.
async fn follow(
    prepared: Prepared,
    directory: Directory,
    listener: Listener,
    stop: &mut Stop,
    pulse: &Pulse,
) -> anyhow::Result<Option<(Standby, HttpLayer)>> {
    let bpffs = prepared.config.bpffs.clone();
    let mut programmer = start(prepared, directory)?;
    let mut host = HostChanges::new();
    let inspection = RunDirectory::of(&bpffs)
        .and_then(|directory| Inspection::start(&directory, programmer.observed_http()))
        .inspect_err(|error| warn!(%error, "`beeline explain` cannot ask this agent"));
    let (mut sweeps, sweeper) = sweep::start(programmer.sweeper()?, programmer.shortest_timeout())?;
    programmer.first_reconcile()?;
    programmer.speak();
    let health_news = programmer.health_news();
    loop {
        programmer.note_source();
        pulse.turned(programmer.ready());
        let deadline = programmer.deadline();
        tokio::select! {
            biased;
            signal = stop.wait() => {
                programmer.leave().await;
                programmer.fall_silent(Successor::Others).await;
                programmer.take_http().drain().await;
                programmer.stopped(signal);
                return Ok(None);
            }
            stream = listener.next() => {
                if let Some(request) = listener.request(stream).await {
                    programmer.fall_silent(Successor::OfThisNode).await;
                    let (standby, http) = (Standby::begin(&bpffs), programmer.take_http());
                    http.hand_over();
                    // The programmer is the last: with it goes the lock, and then another agent needs all the rest.
                    drop((inspection, sweeper, listener, programmer));
                    request.answer().await;
                    return Ok(Some((standby, http)));
                }
            }
            news = programmer.changed() => match news {
                News::Objects(seen) => {
                    if programmer.read() {
                        programmer.reconcile(Cause::Objects, seen);
                    }
                }
                News::Neighbours => programmer.attend(),
            },
            () = host.next() => programmer.reconcile(Cause::Host, Instant::now()),
            () = until(deadline) => programmer.reconcile(Cause::Deadline, Instant::now()),
            () = health_news.notified() => programmer.reconcile(Cause::HealthPorts, Instant::now()),
            sweep = next(&mut sweeps) => programmer.swept(&sweep),
        }
    }
}

/// All that is needed to serve and can be had beside an agent that still does.
struct Prepared {
    config: Config,
    host: Host,
    uplinks: Vec<String>,
    source: Source,
    access_log: Option<AccessLog>,
}

impl Prepared {
    /// Opens what can fail, so that an agent that cannot serve takes nothing over. It changes nothing.
    fn new(config: Config) -> anyhow::Result<Self> {
        info!(version = env!("CARGO_PKG_VERSION"), bpffs = %config.bpffs.display(), "beeline starts");
        let mut host = Host::open().context("the kernel's routing socket cannot be opened")?;
        let before = RunDirectory::of(&config.bpffs).ok().and_then(|directory| directory.state());
        let uplinks = choose_uplinks(&mut host, &config, before.as_ref())?;
        let source = Source::open(&config)?;
        let access_log = config.access_log.as_ref().map(open_log).transpose()?;
        Ok(Self { config, host, uplinks, source, access_log })
    }
}

fn open_log(target: &LogTarget) -> anyhow::Result<AccessLog> {
    AccessLog::open(target).with_context(|| format!("--access-log {target}: it cannot be opened for writing"))
}

/// Everything up to the first reconcile, which alone changes what is served.
fn start(prepared: Prepared, directory: Directory) -> anyhow::Result<Programmer> {
    let Prepared { config, host, uplinks, source, access_log } = prepared;
    let dataplane = Dataplane::open(directory, config.capacities, &config.settings())?;
    for warning in dataplane.warnings() {
        warn!("{warning}");
    }
    let directory =
        RunDirectory::of(&config.bpffs).with_context(|| format!("{} cannot be looked at", config.bpffs.display()))?;
    // The earlier agent may have changed settings until it let go of the directory.
    let state = first_state(&config, &dataplane, &uplinks, directory.state());
    let capacities = dataplane.capacities();
    info!(
        memory_mb = state.map_memory_bytes.div_ceil(1_000_000),
        max_flows = capacities.flows,
        max_frontends = capacities.frontends,
        max_backends = capacities.backends,
        uplinks = uplinks.join(","),
        "maps are open"
    );
    if let Some(warning) = config.source_ports.warning() {
        warn!("{warning}");
    }
    let epoch = Instant::now();
    let actual = dataplane.read_actual()?;
    let reconciler = Reconciler::adopt(&actual, capacities, epoch.elapsed());
    let announcer = Announcer::new(config.node().map(str::to_owned), &actual.vips, epoch);
    let (options, http) = (config.options(), HttpLayer::new(config.http(), access_log));
    let sockets = config.sockets.clone();
    Ok(Programmer::new(program::Parts {
        config,
        options,
        epoch,
        host,
        uplinks,
        source,
        announcer,
        sockets: SocketSelection::new(&sockets),
        health_ports: HealthPorts::start().context("the health check ports cannot be served")?,
        http,
        recorder: Recorder::start(directory).context("the recorder cannot be started")?,
        dataplane,
        reconciler,
        state,
    }))
}

/// The uplinks. Those of an earlier agent are kept if none was named and the default routes are gone for now: a
/// restart must not take away what is served.
fn choose_uplinks(host: &mut Host, config: &Config, before: Option<&State>) -> anyhow::Result<Vec<String>> {
    match (host.choose_uplinks(&config.interfaces), before) {
        (Err(error @ UplinkError::NoDefaultRoute(_)), Some(before)) if !before.uplinks.is_empty() => {
            warn!(uplinks = before.uplinks.join(","), "{error}; going on with those of the earlier agent");
            Ok(before.uplinks.clone())
        }
        (chosen, _) => Ok(chosen?),
    }
}

fn first_state(config: &Config, dataplane: &Dataplane, uplinks: &[String], before: Option<State>) -> State {
    let before = before.unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_unix_ms: report::unix_ms(),
        objects: config.objects.to_string(),
        uplinks: uplinks.to_vec(),
        map_memory_bytes: memory_bytes(&dataplane.capacities(), cpus),
        // What an earlier agent changed is still to be put back by `unload`.
        sysctls: before.sysctls,
        reserved_ports: before.reserved_ports,
        ..State::default()
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Signals that the host may have changed, and a steady tick in case one was lost.
struct HostChanges {
    signals: Option<mpsc::Receiver<()>>,
    tick: Interval,
    /// When a change that was signalled is to be told.
    due: Option<Instant>,
    told: Instant,
}

impl HostChanges {
    fn new() -> Self {
        let signals = host::watch::changes()
            .inspect_err(|error| warn!(%error, "devices cannot be watched: looking at them every few seconds"))
            .ok();
        let mut tick = interval(HOST_LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        Self { signals, tick, due: None, told: Instant::now() }
    }

    /// Waits for a change. May be cancelled: what was signalled meanwhile is told the next time.
    async fn next(&mut self) {
        while self.due.is_none_or(|due| due > Instant::now()) {
            tokio::select! {
                _ = self.tick.tick() => break,
                () = until(self.due) => break,
                () = next_or_never(&mut self.signals), if self.due.is_none() => {
                    self.due = Some((Instant::now() + HOST_QUIET).max(self.told + HOST_SPACING));
                }
            }
        }
        self.due = None;
        self.told = Instant::now();
    }
}

async fn next_or_never(signals: &mut Option<mpsc::Receiver<()>>) {
    match signals {
        Some(receiver) => {
            if receiver.recv().await.is_none() {
                *signals = None;
            }
        }
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// The collector's news; none come any more once its thread has ended.
async fn next(sweeps: &mut mpsc::Receiver<Sweep>) -> Sweep {
    match sweeps.recv().await {
        Some(sweep) => sweep,
        None => pending().await,
    }
}
