//! Makes the datapath and the host as the objects ask, again and again, and leaves behind what `status` tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gateway_common::Address;
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tracing::{debug, error, info};

use super::announce::{Announcer, AnswerTime};
use super::health_ports::HealthPorts;
use super::http_layer::{HttpLayer, Observed};
use super::recorder::{Record, Recorder};
use super::sockets::SocketSelection;
use super::source::{Reading, Source, Successor};
use super::sweep::Sweep;
use super::ways::{self, HostWays};
use super::{RETRY, announce, conflicts, places, report};
use crate::config::Config;
use crate::dataplane::{Dataplane, Sweeper, Uplink, monotonic_ns};
use crate::host::segment::Link;
use crate::host::uplinks::{Device, LinkState};
use crate::host::{ChangedSysctl, Host};
use crate::model::Model;
use crate::reconcile::{Plan, Reconciler};
use crate::source::Problem;
use crate::state::{LastReconcile, State};
use crate::translate::{Last, Options, Statuses, Translation};

/// How long other nodes may take to take VIPs over from an agent that is about to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);

/// Why a reconcile happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The agent has just started.
    Start,
    /// The manifests changed.
    Objects,
    /// A device, an address or a route may have changed.
    Host,
    /// Something waited for its time.
    Deadline,
    /// A health check port was lost or won.
    HealthPorts,
}

/// What a programmer is made of. It ends in this order: once the dataplane lets go of the directory, the next agent
/// serves the health checks and writes the state.
pub struct Parts {
    pub config: Config,
    /// The zero of reconcile's clock.
    pub epoch: Instant,
    pub host: Host,
    /// The names of the uplinks, whether they exist or not.
    pub uplinks: Vec<String>,
    pub source: Source,
    pub sockets: SocketSelection,
    pub health_ports: HealthPorts,
    pub http: HttpLayer,
    pub announcer: Announcer,
    pub recorder: Recorder,
    pub dataplane: Dataplane,
    pub reconciler: Reconciler,
    pub state: State,
    pub options: Options,
}

/// Holds everyone who takes part in a reconcile.
pub struct Programmer {
    parts: Parts,
    /// What the source complained about.
    source_problems: Vec<Problem>,
    translation: Translation,
    /// What the translation asks for.
    model: Arc<Model>,
    /// What it says of the objects' status.
    statuses: Arc<Statuses>,
    /// All that is wrong, as of the last reconcile.
    problems: Vec<Problem>,
    said: report::Said,
    /// The VIPs that the host has, as of the last reconcile.
    vips: BTreeSet<Address>,
    /// Where the programs are, as of the last reconcile.
    attached: BTreeSet<Uplink>,
    deadline: Option<Instant>,
    /// Whether a plan was not done whole, so that the reconciler is wrong about the maps.
    stale: bool,
    /// Whether all flows were looked at since the maps were read: which addresses of the node they bear.
    scanned: bool,
    /// Whether VIPs wait for their last flows to end, so that it matters when they have.
    waiting: bool,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The objects may have changed; when that was noticed.
    Objects(Instant),
    /// Something is due, or was heard, on the segments of VIPs.
    Neighbours,
}

/// What one reconcile came to.
struct Outcome {
    plan: Plan,
    writes: u64,
    problems: Vec<Problem>,
    sysctls: Vec<ChangedSysctl>,
    /// The ports that are ours now, if they are others than before.
    reserved_ports: Option<String>,
}

impl Programmer {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            source_problems: Vec::new(),
            translation: Translation::default(),
            model: Arc::default(),
            statuses: Arc::default(),
            problems: Vec::new(),
            said: report::Said::default(),
            vips: BTreeSet::new(),
            attached: BTreeSet::new(),
            deadline: None,
            stale: false,
            scanned: false,
            waiting: false,
        }
    }

    /// The collector of idle flows.
    pub fn sweeper(&self) -> anyhow::Result<Sweeper> {
        self.parts.dataplane.sweeper().context("the collector cannot be started")
    }

    /// How soon a flow may have to be collected.
    pub fn shortest_timeout(&self) -> Duration {
        self.parts.config.timeouts.shortest()
    }

    /// When to reconcile again though nothing changed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Tells when a health check port was lost or won.
    pub fn health_news(&self) -> Arc<Notify> {
        self.parts.health_ports.news()
    }

    /// Whether everything is served as the objects ask, and if not, why.
    pub fn ready(&self) -> Result<(), String> {
        match &self.parts.state.failure {
            Some(failure) => Err(format!("reconcile fails: {failure}")),
            None => self.parts.source.synced(),
        }
    }

    /// Leaves behind for `status` what of the objects is not known or followed, if that is news.
    pub fn note_source(&mut self) {
        let unsynced = self.parts.source.synced().err();
        if self.parts.state.unsynced != unsynced {
            self.parts.state.unsynced = unsynced;
            self.record();
        }
    }

    /// Waits until there is something to do. May be cancelled.
    pub async fn changed(&mut self) -> News {
        let Parts { source, announcer, .. } = &mut self.parts;
        tokio::select! {
            seen = source.changed() => News::Objects(seen),
            // What is wrong with the maps is mended first.
            () = announcer.next(), if !self.stale => News::Neighbours,
        }
    }

    /// Reads the objects and works out what they ask for. Says whether that may be something else than before.
    pub fn read(&mut self) -> bool {
        let Parts { source, options, .. } = &mut self.parts;
        let last = Last { model: &self.model, given: &self.translation.given, statuses: &self.statuses };
        match source.read(last, options) {
            Reading::Whole(mut translation, problems) => {
                self.model = Arc::new(std::mem::take(&mut translation.model));
                self.statuses = Arc::new(std::mem::take(&mut translation.statuses));
                self.translation = *translation;
                self.source_problems = problems;
            }
            Reading::Endpoints(model) => self.model = Arc::new(model),
            Reading::Same => return false,
        }
        true
    }

    /// From now on this agent speaks for its node.
    pub fn speak(&mut self) {
        let Parts { source, announcer, options, .. } = &mut self.parts;
        source.speak(options.adopt_tencent_annotations);
        if let Some(others) = source.others() {
            announcer.listen_to(others);
        }
        source.stand(announcer.stance());
        source.tell(&self.statuses, self.problems.clone());
    }

    /// Lets another agent speak for this node.
    pub async fn fall_silent(&mut self, successor: Successor) {
        self.parts.source.fall_silent(successor).await;
    }

    /// Lets the agents of other nodes take over the VIPs that this one answers for, and waits until they have.
    pub async fn leave(&mut self) {
        let Parts { source, announcer, .. } = &mut self.parts;
        if announcer.leave(Instant::now()) {
            info!("other nodes take over the VIPs that this one answers for");
            source.stand(announcer.stance());
        }
        let limit = Instant::now() + LEAVE_LIMIT;
        while self.parts.announcer.is_yielding() && !self.stale && Instant::now() < limit {
            let _ended = timeout_at(limit.into(), self.parts.announcer.next()).await;
            self.attend();
        }
        // Where there is nobody else, the datapath goes on without an agent.
        if self.parts.announcer.has_left()
            && let Err(error) = self.parts.dataplane.answer_until(u64::MAX)
        {
            debug!(%error, "the datapath cannot be told to go on answering");
        }
    }

    /// Does what is due on the segments of VIPs, and what was settled there.
    pub fn attend(&mut self) {
        self.parts.announcer.turn(Instant::now());
        if let Err(failure) = self.share_vips() {
            self.failed(&failure);
        }
    }

    /// The datapath answers for a VIP before this is announced, and as long as the agent lives.
    fn share_vips(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.go_on_answering(now)?;
        let Parts { announcer, dataplane, reconciler, state, .. } = &mut self.parts;
        if announcer.take_changed() {
            dataplane.assign(&reconciler.assign(&announcer.duties()))?;
            let answerers = announcer.answerers();
            if state.announcements != answerers {
                state.announcements = answerers;
                self.record();
            }
        }
        self.parts.announcer.announce(now);
        Ok(())
    }

    /// Has the datapath answer as long as this agent lives, whatever else fails.
    fn go_on_answering(&mut self, now: Instant) -> anyhow::Result<()> {
        let Parts { announcer, dataplane, .. } = &mut self.parts;
        match announcer.beat(now) {
            Some(AnswerTime::Always) => dataplane.answer_until(u64::MAX)?,
            Some(AnswerTime::For(time)) => {
                let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                dataplane.answer_until(monotonic_ns().saturating_add(time_ns))?;
            }
            None => {}
        }
        Ok(())
    }

    /// The reconcile of the start: what fails here ends the agent, since nobody has relied on it yet.
    pub fn first_reconcile(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        self.read();
        let outcome = self.apply()?;
        self.tell(Cause::Start, started, outcome);
        Ok(())
    }

    /// Makes everything as it shall be, and tries again later if that fails.
    pub fn reconcile(&mut self, cause: Cause, since: Instant) {
        if cause == Cause::Host {
            self.parts.host.look_again();
            self.parts.sockets.look_again();
        }
        match self.adopt_if_stale().and_then(|()| self.apply()) {
            Ok(outcome) => self.tell(cause, since, outcome),
            Err(failure) => self.failed(&failure),
        }
    }

    fn failed(&mut self, failure: &anyhow::Error) {
        let failure = format!("{failure:#}");
        error!("reconcile failed, trying again: {failure}");
        self.stale = true;
        self.scanned = false;
        if let Err(failure) = self.go_on_answering(Instant::now()) {
            debug!("the datapath cannot be told to go on answering: {failure:#}");
        }
        self.parts.host.look_again();
        self.deadline = Some(Instant::now() + RETRY);
        if self.parts.state.failure.as_ref() != Some(&failure) {
            self.parts.state.failure = Some(failure);
            self.record();
        }
    }

    /// Takes the news of a scan of all flows.
    pub fn swept(&mut self, sweep: &Sweep) {
        let busy: BTreeSet<Address> =
            sweep.round.vips.iter().filter(|(_, flows)| **flows > 0).map(|(vip, _)| *vip).collect();
        let began = sweep.began.saturating_duration_since(self.parts.epoch);
        self.parts.reconciler.release_idle_vips(&busy, began);
        self.parts.reconciler.release_idle_sources(&sweep.round.sources, began);
        let is_first = !std::mem::replace(&mut self.scanned, true);
        if self.waiting || is_first {
            self.reconcile(Cause::Deadline, Instant::now());
        }
    }

    /// The HTTP layer with its connections, which may outlive this agent's turn.
    pub fn take_http(&mut self) -> HttpLayer {
        std::mem::take(&mut self.parts.http)
    }

    /// What may be seen of the HTTP layer.
    pub fn observed_http(&self) -> Observed {
        self.parts.http.observed()
    }

    /// The last words. The datapath is left as it is.
    pub fn stopped(&self, signal: &str) {
        let bpffs = self.parts.config.bpffs.display();
        info!(signal, "stopped; the datapath goes on: `beeline unload --bpffs {bpffs}` removes it");
    }

    /// One pass. VIPs leave the host before their guard and join it after, so none is ever there without guard.
    fn apply(&mut self) -> anyhow::Result<Outcome> {
        let Self { parts, attached, scanned, .. } = self;
        let Parts {
            host,
            dataplane,
            reconciler,
            uplinks,
            epoch,
            sockets,
            health_ports,
            http,
            config,
            announcer,
            source,
            state,
            ..
        } = parts;
        let foreign = host.foreign_addresses().context("the host's addresses cannot be listed")?;
        let (model, mut problems) = conflicts::without(&self.model, &self.translation.vips, &foreign);
        let mut ways = HostWays::new(host);
        let plan = reconciler.plan(&model, &mut ways, epoch.elapsed());
        ways.finish().context("the kernel does not say how it routes")?;
        problems.extend(plan.unreachable.as_ref().map(ways::problem));
        host.withdraw(&plan.host_vips).context("VIP addresses cannot be removed from lo")?;
        let devices = host.devices_named(uplinks).context("devices cannot be listed")?;
        let mut wanted = places::wanted(host, &devices, &plan, &config.client_interfaces)?;
        if !*scanned {
            // Old flows may bear addresses that nobody knows of yet.
            wanted.extend(places::of_earlier_agent(host, dataplane)?);
        }
        if !wanted.is_subset(attached) {
            // Nobody is sent to a Pod elsewhere before its replies are met. What fails here fails below, too.
            let _ = places::attach(dataplane, &wanted.union(&places::still_there(host, attached)?).cloned().collect());
        }
        problems.extend(http.prepare(&model.sites, dataplane)?);
        let before = dataplane.writes();
        dataplane.apply(&plan.writes)?;
        http.retire(&model.sites);
        let writes = dataplane.writes() - before;
        attached.clone_from(&wanted);
        problems.extend(places::attach(dataplane, &wanted)?);
        problems.extend(sockets.serve(dataplane));
        problems.extend(missing_uplinks(uplinks, &devices));
        health_ports.serve(&model.health_checks);
        problems.extend(health_ports.problems());
        let mut published = host.publish(&plan.host_vips, &devices).context("VIP addresses cannot be added to lo")?;
        let ports = config.source_ports;
        let reserved_ports =
            host.reserve_ports(ports.first..=ports.last, &state.reserved_ports).unwrap_or_else(|error| {
                published.failures.push(format!("--source-ports {ports} are not reserved: {error}"));
                None
            });
        problems.extend(published.failures.into_iter().map(|failure| Problem::of_file("", failure)));
        if !plan.writes.is_empty() {
            announcer.tell_again();
        }
        announcer.look(&model, segments(host, &devices)?, Instant::now());
        source.stand(announcer.stance());
        self.share_vips()?;
        Ok(Outcome { plan, writes, problems, sysctls: published.sysctls, reserved_ports })
    }

    /// Logs and records a reconcile. One that was only a look, and found nothing to do, leaves no trace.
    fn tell(&mut self, cause: Cause, since: Instant, outcome: Outcome) {
        let Outcome { plan, writes, problems: found, sysctls, reserved_ports } = outcome;
        self.deadline = plan.next_deadline.map(|deadline| self.parts.epoch + deadline);
        self.waiting = plan.next_deadline.is_some();
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (frontends, backends) = (plan.frontends, plan.backends);
        let asked = matches!(cause, Cause::Start | Cause::Objects);
        if cause == Cause::Start || writes > 0 {
            info!(frontends, backends, writes, milliseconds = took_ms, "reconciled");
        } else {
            debug!(?cause, frontends, backends, "nothing to do");
        }
        let mut problems: Vec<Problem> =
            self.source_problems.iter().chain(&self.translation.problems).cloned().chain(found).collect();
        problems.sort();
        problems.dedup();
        let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
        let news = self.said.update(&problems, &notes);
        let state = &mut self.parts.state;
        state.sockets = self.parts.sockets.describe();
        let recovered = state.failure.take().is_some();
        if asked || recovered || news {
            self.parts.source.tell(&self.statuses, problems.clone());
        }
        let host_changed = !sysctls.is_empty() || reserved_ports.is_some();
        if !asked && writes == 0 && !news && !host_changed && !recovered {
            return;
        }
        state.problems = problems.iter().map(ToString::to_string).collect();
        self.problems = problems;
        state.notes = notes;
        if self.vips != plan.host_vips {
            state.vips = plan.host_vips.iter().map(ToString::to_string).collect();
            self.vips = plan.host_vips;
        }
        state.writes_since_start += writes;
        state.last_reconcile = Some(LastReconcile { unix_ms: report::unix_ms(), writes, took_ms, frontends, backends });
        if let Some(reserved_ports) = reserved_ports {
            state.reserved_ports = reserved_ports;
        }
        for changed in sysctls {
            if !state.sysctls.iter().any(|known| known.sysctl == changed.sysctl) {
                state.sysctls.push(changed);
            }
        }
        self.record();
    }

    fn record(&self) {
        let Parts { recorder, state, .. } = &self.parts;
        recorder.record(Record { state: state.clone(), model: self.model.clone() });
    }

    /// After a failure, forgets what was believed of the maps and reads them.
    fn adopt_if_stale(&mut self) -> anyhow::Result<()> {
        if self.stale {
            let Parts { dataplane, reconciler, announcer, epoch, .. } = &mut self.parts;
            let actual = dataplane.read_actual()?;
            announcer.tell_again();
            *reconciler = Reconciler::adopt(&actual, dataplane.capacities(), epoch.elapsed());
            self.stale = false;
        }
        Ok(())
    }
}

/// The devices by which clients and other nodes are neighbours.
fn segments(host: &mut Host, devices: &[Device]) -> anyhow::Result<Vec<announce::Uplink>> {
    let ethernet = devices.iter().filter(|device| device.ethernet);
    let uplinks = ethernet.filter_map(|device| Some((device, device.hardware?)));
    uplinks
        .map(|(device, hardware)| {
            let addresses = host.subnets(device.index).context("the host's addresses cannot be listed")?;
            let link = Link { index: device.index, hardware };
            let running = device.state == LinkState::Running;
            Ok(announce::Uplink { link, running, ups: device.carrier_ups, addresses })
        })
        .collect()
}

fn missing_uplinks<'a>(wanted: &'a [String], devices: &'a [Device]) -> impl Iterator<Item = Problem> + 'a {
    wanted.iter().filter(|name| !devices.iter().any(|device| device.name == **name)).map(|name| {
        let message = format!("uplink {name} is not there: clients that come by it are not served until it appears");
        Problem::of_file("", message)
    })
}
