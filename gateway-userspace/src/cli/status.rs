//! `beeline status`: what is served, by whom and how much, whether the agent runs or not.
//!
//! Numbers come from the maps, names and problems from what the agent left in its runtime directory; what only its memory
//! holds, the requests, it is asked for.

mod requests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::table::Table;
use super::{Outcome, Output, names, print, print_json};
use crate::dataplane::{self, BackendDump, CounterDump, Dump, FlowsDump, FrontendDump, LinkView, View};
use crate::http::Activity;
use crate::state::{RunDirectory, State};

const EXAMPLES: &str = "\
Examples:
  beeline status
  beeline status --all                    drop reasons and events that never happened too
  beeline status --output json | jq '.agent.problems, .drops'

Works when the agent is not running: the datapath and its counters outlive it. Requests are counted by the agent that
serves, from its start.";

/// Print what is served and how much, problems first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Form of the result
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,

    /// Drop reasons and events whose count is 0 too
    #[arg(long)]
    all: bool,
}

/// Everything that is known, before it is text or JSON.
struct Status {
    agent: Agent,
    links: Vec<LinkView>,
    dump: Dump,
    http: Option<Activity>,
}

/// The same as JSON: counts stand under their names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    agent: &'a Agent,
    links: &'a [LinkView],
    http: Option<&'a Activity>,
    flows: &'a FlowsDump,
    frontends: &'a [FrontendDump],
    idle_backends: &'a [BackendDump],
    drops: BTreeMap<&'a str, u64>,
    events: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct Agent {
    running: bool,
    #[serde(flatten)]
    state: Option<State>,
}

pub fn execute(arguments: &Arguments, bpffs: &Path) -> anyhow::Result<Outcome> {
    let view = View::open(bpffs)?;
    let directory = RunDirectory::of(bpffs)?;
    let mut dump = view.dump()?;
    names::fill(&mut dump, &directory.names());
    let agent = Agent { running: dataplane::is_locked(bpffs)?, state: directory.state() };
    let http = agent.running.then(|| requests::ask(bpffs)).flatten();
    let status = Status { agent, links: view.links(), dump, http };
    match arguments.output {
        Output::Json => print_json(&document(&status))?,
        Output::Text => print(&text(&status, arguments.all, SystemTime::now())?)?,
    }
    Ok(Outcome::Fine)
}

fn document(status: &Status) -> Document<'_> {
    fn counts(counters: &[CounterDump]) -> BTreeMap<&str, u64> {
        counters.iter().map(|counter| (counter.name.as_str(), counter.packets)).collect()
    }
    let Status { agent, links, dump, http } = status;
    Document {
        agent,
        links,
        http: http.as_ref(),
        flows: &dump.flows,
        frontends: &dump.frontends,
        idle_backends: &dump.idle_backends,
        drops: counts(&dump.drops),
        events: counts(&dump.events),
    }
}

fn text(status: &Status, all: bool, now: SystemTime) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    agent(&mut out, status, now)?;
    let sections = [
        ("VIPS", vips(status)),
        ("FRONTENDS", frontends(&status.dump, status.http.as_ref())),
        ("BACKENDS", backends(&status.dump)),
        ("REQUESTS", status.http.as_ref().map(requests::listeners).unwrap_or_default()),
        ("NOT SERVED", status.http.as_ref().map(requests::rejected).unwrap_or_default()),
        ("DROPS", counters(&status.dump.drops, all)),
        ("EVENTS", counters(&status.dump.events, all)),
    ];
    for (title, table) in sections {
        if table.is_empty() {
            continue;
        }
        write!(out, "\n{title}\n{table}")?;
    }
    Ok(out)
}

fn agent(out: &mut String, status: &Status, now: SystemTime) -> std::fmt::Result {
    let running = status.agent.running;
    let Some(state) = &status.agent.state else {
        let known = if running { "running" } else { "not running" };
        return writeln!(out, "agent      {known}; it has left no state behind");
    };
    if running {
        let up = age(state.started_unix_ms, now);
        writeln!(out, "agent      running, process {}, version {}, for {up}", state.pid, state.version)?;
    } else {
        writeln!(out, "agent      not running; the datapath goes on with what it was last told")?;
    }
    writeln!(out, "objects    {}", state.objects)?;
    writeln!(out, "uplinks    {}", listed(&state.uplinks))?;
    writeln!(out, "links      {}", listed(&status.links.iter().map(link).collect::<Vec<_>>()))?;
    writeln!(out, "sockets    {}", state.sockets)?;
    let flows = &status.dump.flows;
    writeln!(out, "flows      {} of {}", flows.active, flows.max)?;
    if let Some(activity) = &status.http {
        requests::summary(out, activity)?;
    }
    writeln!(out, "memory     {} MB in maps", state.map_memory_bytes.div_ceil(1_000_000))?;
    if let Some(last) = &state.last_reconcile {
        let ago = age(last.unix_ms, now);
        let total = state.writes_since_start;
        writeln!(out, "reconciled {ago} ago: {} writes in {} ms, {total} since the start", last.writes, last.took_ms)?;
    }
    if let Some(failure) = &state.failure {
        writeln!(out, "failing    {failure}; what was served before goes on")?;
    }
    // Of an agent that is gone it says nothing of now.
    if let Some(unsynced) = state.unsynced.as_ref().filter(|_| running) {
        writeln!(out, "unsynced   {unsynced}; what is known keeps serving")?;
    }
    for problem in &state.problems {
        writeln!(out, "problem    {problem}")?;
    }
    for note in &state.notes {
        writeln!(out, "note       {note}")?;
    }
    Ok(())
}

/// The VIPs on the host, and who tells clients where each is. One whose frontends are gone is told of by nobody.
fn vips(status: &Status) -> Table {
    let mut table = Table::new(["VIP", "ANNOUNCED BY"]);
    let state = status.agent.state.iter();
    for (state, vip) in state.flat_map(|state| state.vips.iter().map(move |vip| (state, vip))) {
        let answerer = state.announcements.get(vip).cloned();
        table.row([vip.clone(), answerer.unwrap_or_else(|| "-".to_owned())]);
    }
    table
}

fn frontends(dump: &Dump, http: Option<&Activity>) -> Table {
    let mut table =
        Table::new(["FRONTEND", "OWNER", "ALGORITHM", "AFFINITY", "SOURCES", "NEW", "ACTIVE", "PACKETS", "BYTES"]);
    for frontend in &dump.frontends {
        let open = http.and_then(|http| http.frontend(&frontend.key.to_string())).map(|found| found.open.to_string());
        table.row([
            frontend.key.to_string(),
            frontend.owner.clone().unwrap_or_else(|| "-".to_owned()),
            if frontend.http { "http".to_owned() } else { frontend.algorithm.clone() },
            frontend.affinity().unwrap_or_else(|| "-".to_owned()),
            sources(frontend.sources.as_deref()),
            frontend.connections.new.to_string(),
            open.unwrap_or_else(|| counted(frontend, frontend.connections.active)),
            counted(frontend, frontend.traffic.packets),
            counted(frontend, frontend.traffic.bytes),
        ]);
    }
    table
}

/// What the datapath counts of a frontend; of one of the HTTP layer it sees only that connections begin.
fn counted(frontend: &FrontendDump, count: u64) -> String {
    if frontend.http { "-".to_owned() } else { count.to_string() }
}

/// The clients that a frontend lets in: the first range and how many more there are.
fn sources(ranges: Option<&[String]>) -> String {
    match ranges {
        None => "all".to_owned(),
        Some([]) => "none".to_owned(),
        Some([only]) => only.clone(),
        Some([first, more @ ..]) => format!("{first} and {} more", more.len()),
    }
}

/// A backend stands once for each frontend it serves; its counters are those of all of them.
fn backends(dump: &Dump) -> Table {
    let mut table = Table::new([
        "FRONTEND",
        "REFERENCE",
        "BACKEND",
        "POD",
        "PLACE",
        "WEIGHT",
        "SHARE",
        "NEW",
        "ACTIVE",
        "PACKETS",
        "BYTES",
    ]);
    for frontend in &dump.frontends {
        let shares: u32 = frontend.groups.iter().map(|group| group.share).sum();
        for group in &frontend.groups {
            let reference = group.reference.clone().unwrap_or_else(|| group.fingerprint.clone());
            for backend in &group.backends {
                let share = share(group.share, shares, backend.weight, group.slots);
                table.row(backend_row(Some(frontend), &reference, backend, &share));
            }
            if group.backends.is_empty() {
                let share = share(group.share, shares, 1, 1);
                let dash = || "-".to_owned();
                let none = "none ready: refused".to_owned();
                let key = frontend.key.to_string();
                table.row([key, reference, none, dash(), dash(), dash(), share, dash(), dash(), dash(), dash()]);
            }
        }
    }
    for backend in &dump.idle_backends {
        table.row(backend_row(None, "-", backend, "0%"));
    }
    table
}

fn backend_row(frontend: Option<&FrontendDump>, reference: &str, backend: &BackendDump, share: &str) -> [String; 11] {
    [
        frontend.map_or_else(|| "-".to_owned(), |frontend| frontend.key.to_string()),
        reference.to_owned(),
        std::net::SocketAddr::new(backend.address, backend.port).to_string(),
        backend.name.clone().unwrap_or_else(|| "-".to_owned()),
        backend.place_text(),
        backend.weight.to_string(),
        share.to_owned(),
        backend.connections.new.to_string(),
        backend.connections.active.to_string(),
        backend.traffic.packets.to_string(),
        backend.traffic.bytes.to_string(),
    ]
}

/// The part of the frontend's new connections that a member gets: the product of both levels.
fn share(group: u32, groups: u32, member: u32, members: u32) -> String {
    if groups == 0 || members == 0 {
        return "0%".to_owned();
    }
    let part = f64::from(group) / f64::from(groups) * f64::from(member) / f64::from(members);
    format!("{:.2}%", part * 100.0)
}

fn counters(counters: &[CounterDump], all: bool) -> Table {
    let mut table = Table::new(["NAME", "COUNT", "MEANING"]);
    for counter in counters.iter().filter(|counter| all || counter.packets > 0) {
        table.row([counter.name.clone(), counter.packets.to_string(), counter.meaning.clone()]);
    }
    table
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A link's name, and whether its device is gone: then nothing passes it.
fn link(link: &LinkView) -> String {
    if link.attached { link.name.clone() } else { format!("{} (detached)", link.name) }
}

/// How long ago that was, in the two largest units.
fn age(unix_ms: u64, now: SystemTime) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, ..) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(200_000);

        assert_eq!(age(199_997_000, now), "3s");
        assert_eq!(age(199_000_000, now), "16m40s");
        assert_eq!(age(190_000_000, now), "2h46m");
        assert_eq!(age(0, now), "2d7h");
        assert_eq!(age(300_000_000, now), "0s");
    }

    fn status_of(running: bool, state: State) -> String {
        let agent = Agent { running, state: Some(state) };
        let status = Status { agent, links: Vec::new(), dump: Dump::default(), http: None };
        text(&status, false, SystemTime::now()).expect("a text")
    }

    #[test]
    fn what_cannot_be_received_from_the_api_server_is_shown_while_the_agent_runs() {
        let denied = "Node: the API server refuses: nodes is forbidden: grant it to the agent's role";
        let state = State { unsynced: Some(denied.to_owned()), ..State::default() };
        let line = format!("unsynced   {denied}; what is known keeps serving");

        let has_line = |text: String| text.lines().any(|found| found == line);
        assert!(has_line(status_of(true, state.clone())));
        assert!(!has_line(status_of(false, state)));
        assert!(!status_of(true, State::default()).contains("unsynced"));
    }

    #[test]
    fn of_source_ranges_the_first_is_named_and_the_others_are_counted() {
        let ranges = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.7/32"].map(str::to_owned);

        assert_eq!(
            [0, 1, 3].map(|count| sources(Some(&ranges[..count]))),
            ["none", "10.0.0.0/8", "10.0.0.0/8 and 2 more"]
        );
        assert_eq!(sources(None), "all");
    }

    #[test]
    fn a_share_is_the_product_of_both_levels() {
        assert_eq!(share(9, 10, 5, 9), "50.00%");
        assert_eq!(share(0, 0, 1, 1), "0%");
    }
}
