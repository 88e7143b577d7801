//! Requests through the HTTP layer: curl in each way that it can speak, and what the Pods saw of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use beeline_tests::curl::{Curl, Speech};
use beeline_tests::pod::Answer;
use serde::Serialize;

/// Whom the examples' routes are for.
pub const HOST: &str = "shop.example";
/// What the examples' Upstreams ask for.
const HOST_HEADER: &str = "httpbin.internal";
/// What is asked for.
const PATH: &str = "/get";

/// What the requests that one frontend got, in one way of speaking, came to.
#[derive(Serialize)]
pub struct Requests {
    /// The node that they came by, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Where they were sent.
    pub frontend: SocketAddr,
    /// How.
    pub speech: Speech,
    /// Where they arrived.
    pub pods: Vec<Part>,
    /// The Host that Pods saw.
    pub hosts_seen: BTreeSet<String>,
    /// What they were told of the host that the client asked for, without its port.
    pub hosts_forwarded: BTreeSet<String>,
    /// Whom they were told of.
    pub clients_forwarded: BTreeSet<String>,
    /// The client.
    pub client: IpAddr,
}

/// What one Pod got.
#[derive(Serialize)]
pub struct Part {
    /// The Pod.
    pub pod: String,
    /// Its version of the application.
    pub version: String,
    /// Its weight.
    pub weight: u64,
    /// Requests by its weight.
    pub expected: u64,
    /// Requests that it answered.
    pub received: u64,
}

/// Who shall get requests.
pub struct Asked<'a> {
    /// The client.
    pub curl: &'a Curl<'a>,
    /// The Pods, with their weights.
    pub pods: Vec<(String, u64)>,
    /// How many requests in each way of speaking: what the weights divide evenly.
    pub count: u64,
}

impl Asked<'_> {
    /// Sends requests to an address, in each way.
    pub fn in_each_way(&self, node: Option<&str>, address: IpAddr) -> Result<Vec<Requests>> {
        Speech::ALL.into_iter().map(|speech| self.one_way(node, address, speech)).collect()
    }

    /// Sends requests to an address, in one way.
    pub fn one_way(&self, node: Option<&str>, address: IpAddr, speech: Speech) -> Result<Requests> {
        let answers = self.curl.get(address, speech, PATH, usize::try_from(self.count)?)?;
        let mut received: BTreeMap<&str, u64> = BTreeMap::new();
        for answer in &answers {
            *received.entry(&answer.pod).or_default() += 1;
        }
        let total: u64 = self.pods.iter().map(|(_, weight)| weight).sum();
        let part = |(pod, weight): &(String, u64)| {
            let due = self.count * weight;
            ensure!(due.is_multiple_of(total), "{} requests cannot be shared evenly by {total}", self.count);
            let received = received.get(pod.as_str()).copied().unwrap_or_default();
            Ok(Part {
                pod: pod.clone(),
                version: version(pod).to_owned(),
                weight: *weight,
                expected: due / total,
                received,
            })
        };
        let seen = |name: &str| -> BTreeSet<String> { answers.iter().map(|answer| header(answer, name)).collect() };
        Ok(Requests {
            node: node.map(str::to_owned),
            frontend: SocketAddr::new(address, speech.port()),
            speech,
            pods: self.pods.iter().map(part).collect::<Result<_>>()?,
            hosts_seen: seen("host"),
            hosts_forwarded: seen("x-forwarded-host").iter().map(|host| without_port(host)).collect(),
            clients_forwarded: seen("x-forwarded-for"),
            client: self.curl.own_address(address)?,
        })
    }
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).cloned().unwrap_or_default()
}

fn without_port(host: &str) -> String {
    host.split(':').next().unwrap_or_default().to_owned()
}

/// `v1` of `httpbin-v1-6d9f7c5b8-x2x4x`, or of `v1`.
fn version(pod: &str) -> &str {
    pod.split('-').find(|part| part.starts_with('v')).unwrap_or(pod)
}

impl Requests {
    /// Whether each Pod got exactly its share, and saw whom and what it should.
    pub fn is_exact(&self) -> bool {
        let is = |seen: &BTreeSet<String>, one: &str| seen.len() == 1 && seen.contains(one);
        self.pods.iter().all(|part| part.received == part.expected)
            && is(&self.hosts_seen, HOST_HEADER)
            && is(&self.hosts_forwarded, HOST)
            && is(&self.clients_forwarded, &self.client.to_string())
    }

    /// `v1 500, v2 300, v3 100`.
    fn by_version(&self) -> String {
        let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
        for part in &self.pods {
            *versions.entry(&part.version).or_default() += part.received;
        }
        let parts: Vec<_> = versions.iter().map(|(version, received)| format!("{version} {received}")).collect();
        parts.join(", ")
    }
}

/// All that was asked, as a table.
pub struct Table<'a>(pub &'a [Requests]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(all) = self;
        writeln!(f, "REQUESTS BY WEIGHT, for {HOST}, by curl")?;
        let nodes = all.iter().filter_map(|requests| requests.node.as_ref());
        let width = nodes.map(|node| node.len() + 2).max().unwrap_or(0);
        let (node, frontend, spoken) = (if width > 0 { "NODE" } else { "" }, "FRONTEND", "SPOKEN");
        let (received, host) = ("RECEIVED", "HOST AT THE POD");
        writeln!(f, "{node:<width$}{frontend:<24} {spoken:<14} {received:<24} {host:<17} X-FORWARDED-FOR")?;
        for requests in *all {
            let node = requests.node.as_deref().unwrap_or_default();
            let (frontend, spoken) = (requests.frontend.to_string(), requests.speech);
            let received = requests.by_version();
            let (host, client) = (listed(&requests.hosts_seen), listed(&requests.clients_forwarded));
            let mark = if requests.is_exact() { "" } else { "  <- not exact" };
            writeln!(f, "{node:<width$}{frontend:<24} {spoken:<14} {received:<24} {host:<17} {client}{mark}")?;
        }
        Ok(())
    }
}

fn listed(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

/// What a command said.
#[derive(Serialize)]
pub struct Told {
    /// The command, as a user would type it.
    pub command: String,
    /// The lines of its answer.
    pub lines: Vec<String>,
}

impl Told {
    /// What `beeline explain` says of a request to an address; `ask` runs `beeline` with these arguments.
    pub fn explained(address: IpAddr, ask: impl FnOnce(&[&str]) -> Result<String>) -> Result<Self> {
        let address = address.to_string();
        let arguments = ["explain", "http", "--host", HOST, "--path", PATH, "--address", &address, "--port", "80"];
        let text = ask(&arguments)?;
        Ok(Self {
            command: format!("beeline {}", arguments.join(" ")),
            lines: text.lines().map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
