//! The tables of `iptables-legacy` and `ip6tables-legacy`, as far as packets that are forwarded come to them, and the
//! extensions that `iptables` writes to either kind of tables.
//!
//! Only tables that are there are read: the kernel would make one that is asked for.

use std::io;

use super::rules::{BaseChain, Chain, ChainId, Comparison, Family, Hook, Reading, Rule, Source, Step, Tables, Verdict};

mod blob;
mod entry;

use self::blob::{Blob, Info};
use self::entry::{Entry, Target};

/// The hooks in the order in which a table lists where their chains begin.
const CHAINS: [(&str, u32); 5] = [("PREROUTING", 0), ("INPUT", 1), ("FORWARD", 2), ("OUTPUT", 3), ("POSTROUTING", 4)];
const ANY_PORT: [u16; 2] = [0, u16::MAX];

/// Reads all tables of both families.
pub fn read(reading: &mut Reading) -> io::Result<Vec<(ChainId, BaseChain)>> {
    let mut bases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for table in blob::tables(family)? {
            if let Some(blob) = Blob::read(family, &table)? {
                bases.extend(add(reading, family, &table, &blob));
            }
        }
    }
    Ok(bases)
}

/// Adds a table's chains and tells with which of them packets begin.
fn add(reading: &mut Reading, family: Family, table: &str, blob: &Blob) -> Vec<(ChainId, BaseChain)> {
    let entries = entry::all(family, &blob.entries);
    let id = |name: &str| ChainId { tables: Tables::Legacy, family, table: table.to_owned(), name: name.to_owned() };
    let begins = beginnings(&blob.info, &entries);
    let name_of = |offset: usize| begins.iter().find(|(begin, _)| *begin == offset).map(|(_, name)| name.clone());
    let mut chain: Option<(String, Chain)> = None;
    for entry in &entries {
        if let Some(name) = name_of(entry.offset) {
            finish(reading, chain.replace((name, Chain::new())), &id);
        }
        if let Some((_, rules)) = &mut chain
            && !is_end(&blob.info, entry)
        {
            rules.push(rule(family, entry, &name_of));
        }
    }
    finish(reading, chain, &id);
    let base = |(name, number): &(&str, u32)| {
        let (_, underflow) = blob.info.chain(*number)?;
        let policy = entries.iter().find(|entry| entry.offset == underflow)?;
        let drops = policy.target == Target::Decided(Verdict::Drop);
        let id = id(name);
        let base = BaseChain::new(&id, Hook::of(*number)?, drops, table == "nat");
        Some((id, base))
    };
    CHAINS.iter().filter_map(base).collect()
}

fn finish(reading: &mut Reading, chain: Option<(String, Chain)>, id: &dyn Fn(&str) -> ChainId) {
    if let Some((name, rules)) = chain {
        reading.add(id(&name), rules);
    }
}

/// Where each chain's first rule is. That of a user's chain comes after an entry that holds its name.
fn beginnings(info: &Info, entries: &[Entry<'_>]) -> Vec<(usize, String)> {
    let built_in = CHAINS.iter().filter_map(|(name, number)| Some((info.chain(*number)?.0, (*name).to_owned())));
    let named = entries.windows(2).filter_map(|pair| match &pair[0].target {
        Target::Named(name) => Some((pair[1].offset, name.clone())),
        _ => None,
    });
    built_in.chain(named).collect()
}

/// Whether an entry is no rule, but holds a policy or the name of the next chain.
fn is_end(info: &Info, entry: &Entry<'_>) -> bool {
    let is_policy = CHAINS.iter().filter_map(|(_, number)| info.chain(*number)).any(|(_, at)| at == entry.offset);
    is_policy || matches!(entry.target, Target::Named(_))
}

fn rule(family: Family, entry: &Entry<'_>, name_of: &dyn Fn(usize) -> Option<String>) -> Rule {
    let mut rule = entry.conditions(family);
    for (name, revision, info) in &entry.matches {
        rule.extend(condition(name, *revision, info));
    }
    let verdict = match &entry.target {
        Target::Decided(verdict) => Some(verdict.clone()),
        Target::To { offset, returns } => Some(match name_of(*offset) {
            Some(name) if *returns => Verdict::Jump(name),
            Some(name) => Verdict::Goto(name),
            // The rule that follows.
            None => Verdict::Continue,
        }),
        Target::Extension(name) => target(name),
        Target::Named(_) => None,
    };
    rule.extend(verdict.map(Step::Decide));
    rule
}

/// What an extension looks at.
pub fn condition(name: &str, revision: u32, info: &[u8]) -> Vec<Step> {
    let read = match name {
        "comment" => Some(Vec::new()),
        "conntrack" => conntrack(revision, info),
        "state" => host_number(info, 0).map(|states| vec![Step::State { states, outside: false }]),
        "tcp" => ports(info, 11).filter(|_| info.get(8..11).is_some_and(|options| options == [0; 3])),
        "udp" => ports(info, 8),
        _ => None,
    };
    read.unwrap_or_else(|| vec![Step::Perhaps])
}

/// What an extension decides; nothing if the packet goes on.
pub fn target(name: &str) -> Option<Verdict> {
    match name {
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "TCPMSS" | "CHECKSUM" | "TRACE" | "CT" | "NOTRACK"
        | "CLASSIFY" | "DSCP" | "TOS" | "TTL" | "HL" | "SET" | "AUDIT" | "RATEEST" | "TEE" => None,
        "REJECT" => Some(Verdict::Drop),
        "MASQUERADE" | "SNAT" | "DNAT" | "REDIRECT" | "NETMAP" | "TPROXY" => Some(Verdict::Translate),
        _ => Some(Verdict::Unknown),
    }
}

/// Of `conntrack` only the states are read.
fn conntrack(revision: u32, info: &[u8]) -> Option<Vec<Step>> {
    const FLAGS: usize = 146;
    const INVERTED: usize = 148;
    const STATES: usize = 150;
    const STATE: u16 = 1;
    let short = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
    if short(FLAGS)? != STATE {
        return None;
    }
    let states = if revision == 1 { u32::from(*info.get(STATES)?) } else { u32::from(short(STATES)?) };
    Some(vec![Step::State { states, outside: short(INVERTED)? & STATE != 0 }])
}

/// The ranges of source and destination ports, and at `flags` whether either is inverted.
fn ports(info: &[u8], flags: usize) -> Option<Vec<Step>> {
    let short = |at: usize| Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?));
    let inverted = *info.get(flags)?;
    let mut steps = Vec::new();
    for which in 0..2 {
        let (low, high) = (short(which * 4)?, short(which * 4 + 2)?);
        if [low, high] != ANY_PORT {
            steps.push(Step::Load { to: 0, length: 2, from: Source::Transport { offset: which * 2 } });
            let (low, high) = (low.to_be_bytes().into(), high.to_be_bytes().into());
            steps.push(Step::Range { from: 0, outside: inverted & (1 << which) != 0, low, high });
        }
    }
    Some(steps)
}

fn host_number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Steps that compare a part of the packet, of which only the bits of a mask count.
fn masked(from: Source, value: &[u8], mask: &[u8], inverted: bool) -> Vec<Step> {
    if mask.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    let how = if inverted { Comparison::NotEqual } else { Comparison::Equal };
    vec![
        Step::Load { to: 0, length: value.len(), from },
        Step::Bits { from: 0, to: 0, mask: mask.to_vec(), xor: Vec::new() },
        Step::Compare { from: 0, how, with: value.to_vec() },
    ]
}
