//! What the demo found, as a text for people and as one JSON document.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::maps::Excerpt;
use crate::requests::{Requests, Table, Told};

/// Everything the demo found.
#[derive(Serialize)]
pub struct Report {
    /// What each frontend's connections came to.
    pub traffic: Vec<Traffic>,
    /// What the requests to each frontend of the HTTP layer came to.
    pub requests: Vec<Requests>,
    /// What `beeline explain` says of one of them.
    pub explained: Told,
    /// Pieces of the maps.
    pub maps: Vec<Excerpt>,
    /// What the long-lived connections went through.
    pub long_lived: LongLived,
    /// How to look around, if it was left up.
    pub look_around: Vec<String>,
}

/// Connections, or flows, to one frontend.
#[derive(Serialize)]
pub struct Traffic {
    /// `TCP 10.96.100.1:8000`.
    pub frontend: String,
    /// Where they arrived.
    pub backends: Vec<Share>,
    /// How many were refused.
    pub refused: u64,
    /// What else went wrong.
    pub failures: Vec<String>,
    /// The client's addresses, as the Pods saw them.
    pub clients_seen: BTreeSet<IpAddr>,
    /// The client's address.
    pub client: IpAddr,
}

/// What one backend got.
#[derive(Serialize)]
pub struct Share {
    /// The Pod.
    pub pod: String,
    /// Its address and port.
    pub backend: SocketAddr,
    /// Its weight.
    pub weight: u64,
    /// Connections by its weight.
    pub expected: u64,
    /// Connections that it answered.
    pub received: u64,
}

/// What the long-lived connections went through.
#[derive(Serialize)]
pub struct LongLived {
    /// How many there were.
    pub connections: usize,
    /// Lines that came over them.
    pub lines: u64,
    /// The longest time without a line, in milliseconds; they come every 50.
    pub longest_silence_ms: u128,
    /// From the change of the manifest until the maps had it, in milliseconds.
    pub change_applied_ms: u128,
    /// Connections that were opened while the agent was dead, and answered.
    pub answered_while_dead: u64,
    /// Map writes of the agent that was started again.
    pub writes_after_restart: u64,
    /// What broke.
    pub broken: Vec<String>,
}

impl Report {
    /// Whether every backend got exactly what its weight says, from the client that it was.
    pub fn is_exact(&self) -> bool {
        self.traffic.iter().all(Traffic::is_exact) && self.requests.iter().all(Requests::is_exact)
    }
}

impl Traffic {
    fn is_exact(&self) -> bool {
        self.backends.iter().all(|share| share.expected == share.received)
            && self.refused == 0
            && self.failures.is_empty()
            && self.clients_seen == BTreeSet::from([self.client])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CONNECTIONS BY WEIGHT")?;
        let (frontend, backend) = ("FRONTEND", "BACKEND");
        writeln!(f, "{frontend:<26} {backend:<24} POD  WEIGHT  EXPECTED  RECEIVED")?;
        for Traffic { frontend, backends, .. } in &self.traffic {
            for Share { pod, backend, weight, expected, received } in backends {
                let mark = if expected == received { "" } else { "  not exact" };
                let backend = backend.to_string();
                writeln!(f, "{frontend:<26} {backend:<24} {pod:<4} {weight:>6}  {expected:>8}  {received:>8}{mark}")?;
            }
        }
        for Traffic { frontend, refused, failures, .. } in &self.traffic {
            if *refused > 0 || !failures.is_empty() {
                writeln!(f, "{frontend}: {refused} refused, failed: {failures:?}")?;
            }
        }
        let seen: BTreeSet<_> = self.traffic.iter().flat_map(|traffic| &traffic.clients_seen).collect();
        let seen: Vec<_> = seen.iter().map(ToString::to_string).collect();
        writeln!(f, "\nThe Pods saw the client as {}: its own addresses.", seen.join(" and "))?;
        write!(f, "\n{}\n{}", Table(&self.requests), self.explained)?;
        for Excerpt { command, lines } in &self.maps {
            writeln!(f, "\n$ {command}")?;
            lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f, "    }},{{ ...")?;
        }
        write!(f, "\n{}", self.long_lived)?;
        self.look_around.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for LongLived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LONG-LIVED CONNECTIONS: {}, a line every 50 ms on each", self.connections)?;
        writeln!(f, "  weights changed     in the maps {} ms after the file", self.change_applied_ms)?;
        writeln!(f, "  agent killed (-9)   {} new connections answered without it", self.answered_while_dead)?;
        writeln!(f, "  agent started       {} map writes, since nothing had changed", self.writes_after_restart)?;
        let (lines, silence, broken) = (self.lines, self.longest_silence_ms, self.broken.len());
        writeln!(f, "  all along           {lines} lines, longest silence {silence} ms, {broken} broken")?;
        self.broken.iter().try_for_each(|broken| writeln!(f, "  broken              {broken}"))
    }
}
