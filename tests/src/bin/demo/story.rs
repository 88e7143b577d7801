//! What the demo does, in order.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use beeline_tests::agent::Agent;
use beeline_tests::binaries;
use beeline_tests::certificate::Certificate;
use beeline_tests::client;
use beeline_tests::curl::Curl;
use beeline_tests::interrupt::Interrupt;
use beeline_tests::long_lived;
use beeline_tests::manifests::Folder;
use beeline_tests::netns::Lifetime;
use beeline_tests::topology::{CLIENT, Dual, Plan, Topology, pod_addresses};
use serde_json::Value;

use crate::maps;
use crate::report::{LongLived, Report, Share, Traffic};
use crate::requests::{Asked, HOST, Requests, Told};

/// The Pods of `examples/folder`, in the order of their addresses.
const PODS: [&str; 3] = ["v1", "v2", "v3"];
/// Their weights there.
const WEIGHTS: [u64; 3] = [5, 3, 1];
/// How often each schedule is gone through, so that every Pod gets this many times its weight.
const ROUNDS: u64 = 40;
/// Requests to each frontend of the HTTP layer, in each way of speaking.
const REQUESTS: u64 = 900;
/// What is served beside `examples/folder`.
const WEB: &str = "examples/gateway/web.yaml";
/// The addresses in there.
const WEB_VIP: Dual = Dual { v4: Ipv4Addr::new(10, 96, 100, 3), v6: Ipv6Addr::new(0xfd00, 0x96, 0x100, 0, 0, 0, 0, 3) };
/// Long-lived connections to each frontend.
const LONG_LIVED: usize = 20;
/// The change that is made to the Pods' weights while connections are open.
const CHANGE: (&str, &str) = ("weight: \"5\"", "weight: \"1\"");

/// Builds the network, runs the agent and sees what happens.
pub fn tell(interrupt: &Interrupt, lifetime: Lifetime) -> Result<Report> {
    eprintln!("building namespaces: client, node and Pods {}", PODS.join(", "));
    let network = Topology::build(&Plan::pods(&PODS), lifetime)?;
    let folder = network.group.folder().join("manifests");
    let folder = Folder::copy(&binaries::workspace().join("examples/folder"), folder)?;
    let web = fs::read_to_string(binaries::workspace().join(WEB)).with_context(|| format!("cannot read {WEB}"))?;
    let certificate = Certificate::of(&[HOST])?;
    folder.write("web.yaml", &web)?;
    folder.write("secret.yaml", &certificate.secret("shop", "web"))?;
    let mut agent = Agent::new(&network.group, &network.node, folder.path())?;
    interrupt.check()?;
    eprintln!("starting the agent with the manifests of examples/folder and {WEB}");
    agent.start()?;
    let frontends = frontends(&agent)?;
    let mut traffic = Vec::new();
    for frontend in &frontends {
        interrupt.check()?;
        let count = ROUNDS * frontend.weights();
        let what = if frontend.protocol == "UDP" { "flows" } else { "connections" };
        eprintln!("opening {count} {what} to {} {}", frontend.protocol, frontend.address);
        traffic.push(measure(&network, frontend)?);
    }
    let maps = maps::excerpts(&agent.maps())?;
    interrupt.check()?;
    let requests = send_requests(&network, &certificate)?;
    let explained = Told::explained(WEB_VIP.v4.into(), |arguments| agent.call(arguments))?;
    let long_lived = disturb(interrupt, &network, &folder, &mut agent, &frontends)?;
    let look_around = if lifetime == Lifetime::Kept { look_around(&network, &agent, &frontends) } else { Vec::new() };
    Ok(Report { traffic, requests, explained, maps, long_lived, look_around })
}

/// A frontend, as `beeline status` describes it.
struct Frontend {
    protocol: String,
    address: SocketAddr,
    backends: Vec<(SocketAddr, u64)>,
}

impl Frontend {
    fn weights(&self) -> u64 {
        self.backends.iter().map(|(_, weight)| weight).sum()
    }
}

fn frontends(agent: &Agent<'_>) -> Result<Vec<Frontend>> {
    let status = agent.status()?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let read = |frontend: &Value| -> Option<Frontend> {
        let groups = list(&frontend["groups"]);
        let backends = groups.iter().flat_map(|group| list(&group["backends"]));
        let backends = backends.map(|backend| Some((socket(&backend)?, backend["weight"].as_u64()?)));
        let protocol = frontend["protocol"].as_str()?.to_owned();
        Some(Frontend { protocol, address: socket(frontend)?, backends: backends.collect::<Option<_>>()? })
    };
    let of_datapath = list(&status["frontends"]).into_iter().filter(|frontend| frontend["http"] != true);
    let frontends: Option<Vec<_>> = of_datapath.map(|frontend| read(&frontend)).collect();
    let frontends = frontends.with_context(|| format!("`beeline status` does not describe its frontends: {status}"))?;
    ensure!(!frontends.is_empty(), "no frontend is programmed: {}", agent.log().tail());
    Ok(frontends)
}

fn socket(value: &Value) -> Option<SocketAddr> {
    let address: IpAddr = value["address"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(address, value["port"].as_u64()?.try_into().ok()?))
}

/// The Pod that has an address.
fn pod(address: IpAddr) -> String {
    let mut pods = PODS.iter().zip(1..);
    let found = pods.find(|(_, number)| pod_addresses(*number).both().contains(&address));
    found.map_or_else(|| address.to_string(), |(name, _)| (*name).to_owned())
}

fn measure(network: &Topology, frontend: &Frontend) -> Result<Traffic> {
    let count = (ROUNDS * frontend.weights()) as usize;
    let distribution = if frontend.protocol == "UDP" {
        client::flows(&network.client, frontend.address, count)?
    } else {
        client::connections(&network.client, frontend.address, count)?
    };
    let share = |(backend, weight): &(SocketAddr, u64)| {
        let pod = pod(backend.ip());
        let received = distribution.of(&pod);
        Share { pod, backend: *backend, weight: *weight, expected: ROUNDS * weight, received }
    };
    Ok(Traffic {
        frontend: format!("{} {}", frontend.protocol, frontend.address),
        backends: frontend.backends.iter().map(share).collect(),
        refused: distribution.refused,
        failures: distribution.failures,
        clients_seen: distribution.clients,
        client: CLIENT.like(frontend.address.ip()),
    })
}

/// Sends requests in each way that curl speaks.
fn send_requests(network: &Topology, certificate: &Certificate) -> Result<Vec<Requests>> {
    let authority = network.group.folder().join("authority.pem");
    certificate.write(&authority)?;
    let curl = Curl::new(&network.client, HOST, &authority);
    let pods = PODS.iter().zip(WEIGHTS).map(|(pod, weight)| ((*pod).to_owned(), weight)).collect();
    let asked = Asked { curl: &curl, pods, count: REQUESTS };
    let mut requests = Vec::new();
    for address in WEB_VIP.both() {
        eprintln!("sending {REQUESTS} requests to {address} in each way that curl speaks");
        requests.extend(asked.in_each_way(None, address)?);
    }
    Ok(requests)
}

/// Changes weights, kills the agent and starts it again, while connections are open.
fn disturb(
    interrupt: &Interrupt,
    network: &Topology,
    folder: &Folder,
    agent: &mut Agent<'_>,
    frontends: &[Frontend],
) -> Result<LongLived> {
    let http: Vec<_> = frontends.iter().filter(|frontend| frontend.protocol == "TCP").collect();
    let open = |frontend: &&Frontend| long_lived::LongLived::open_http(&network.client, frontend.address, LONG_LIVED);
    eprintln!("opening {} long-lived connections", http.len() * LONG_LIVED);
    let connections = http.iter().map(open).collect::<Result<Vec<_>>>()?;
    // What breaks is told in the report, with all else.
    let go_on = || connections.iter().for_each(|connections| drop(connections.wait_for_progress()));
    go_on();

    eprintln!("changing weights");
    let change_applied_ms = change_weights(folder, agent)?;
    go_on();
    interrupt.check()?;

    eprintln!("killing the agent");
    agent.kill()?;
    go_on();
    let mut answered_while_dead = 0;
    for frontend in &http {
        answered_while_dead += client::connections(&network.client, frontend.address, 50)?.answered();
    }
    interrupt.check()?;

    eprintln!("starting the agent again");
    agent.start()?;
    let writes_after_restart = agent.writes()?;
    go_on();

    let reports = connections.into_iter().map(long_lived::LongLived::finish).collect::<Result<Vec<_>>>()?;
    Ok(LongLived {
        connections: reports.iter().map(|report| report.connections).sum(),
        lines: reports.iter().map(|report| report.messages).sum(),
        longest_silence_ms: reports.iter().map(|report| report.longest_wait.as_millis()).max().unwrap_or_default(),
        change_applied_ms,
        answered_while_dead,
        writes_after_restart,
        broken: reports.into_iter().flat_map(|report| report.broken).collect(),
    })
}

/// Changes the manifests; gives the milliseconds until the maps had it.
fn change_weights(folder: &Folder, agent: &Agent<'_>) -> Result<u128> {
    let before = agent.dump()?;
    let begin = Instant::now();
    let mut is_changed = false;
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        let changed = text.replace(CHANGE.0, CHANGE.1);
        if changed != text {
            folder.write(&entry.file_name().to_string_lossy(), &changed)?;
            is_changed = true;
        }
    }
    ensure!(is_changed, "no Pod of examples/folder has the {}", CHANGE.0);
    agent.wait_for_dump("the maps have the new weights", |dump| dump != before)?;
    Ok(begin.elapsed().as_millis())
}

fn look_around(network: &Topology, agent: &Agent<'_>, frontends: &[Frontend]) -> Vec<String> {
    let client = network.client.path();
    let node = network.node.path();
    let binary = binaries::beeline().map(|path| path.display().to_string()).unwrap_or_default();
    let beeline = format!(
        "BEELINE_RUN_DIR={} nsenter --net={} {binary} --bpffs {}",
        agent.run_directory().display(),
        node.display(),
        agent.bpffs().display()
    );
    let http = frontends.iter().find(|frontend| frontend.protocol == "TCP");
    let http = http.map(|frontend| frontend.address.to_string()).unwrap_or_default();
    vec![
        String::new(),
        "LOOK AROUND".to_owned(),
        format!("  nsenter --net={} curl http://{http}/        # as the client", client.display()),
        format!("  nsenter --net={} curl --connect-to {HOST}::{} http://{HOST}/get", client.display(), WEB_VIP.v4),
        format!("  {beeline} explain http --host {HOST} --header 'x-canary: yes'"),
        format!("  {beeline} status"),
        format!("  {beeline} dump --counters"),
        format!("  ls {0}; bpftool map dump pinned {0}/CONNTRACK", agent.maps().display()),
        format!(
            "  $EDITOR {}/*        # the agent sees the change",
            network.group.folder().join("manifests").display()
        ),
        "  cargo xtask demo --clean        # take it all away".to_owned(),
    ]
}
