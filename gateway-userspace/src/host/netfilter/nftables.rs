//! The chains and rules of nftables, as far as packets that are forwarded come to them.
//!
//! `iptables` of today writes its rules there, too, some of them as extensions of its own; of these the common ones are read.

use std::collections::btree_map::Entry;
use std::io;

use super::rules::{
    BaseChain, Chain, ChainId, Comparison, Family, Hook, Reading, Rule, SetId, Source, Step, Tables, Verdict,
};
use super::socket::{Attributes, NftSocket, Object};
use super::xtables;

mod elements;

const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const POLICY_DROP: u32 = 0;
/// The first register of 4 bytes is the same as the first of 16.
const FIRST_WORD: u32 = 8;
const WORD: usize = 4;
const QUARTER: u32 = 4;

/// Reads the chains that packets begin with, and the rules of all that these lead to.
pub fn read(reading: &mut Reading) -> io::Result<Vec<(ChainId, BaseChain)>> {
    let Some(mut socket) = NftSocket::open()? else { return Ok(Vec::new()) };
    let chains = match socket.list(GET_CHAIN, 0, &[]) {
        Ok(chains) => chains,
        // The kernel has no nftables.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let bases: Vec<_> = chains.iter().filter_map(base).collect();
    let mut next = reading.unread(bases.iter().map(|(id, _)| id.clone()));
    while let Some(id) = next.pop_first() {
        let chain = rules(&mut socket, &id)?;
        for set in sets(&chain) {
            if let Entry::Vacant(place) = reading.sets.entry(set) {
                let elements = elements::read(&mut socket, place.key())?;
                place.insert(elements);
            }
        }
        let targets = targets(reading, &chain).into_iter().map(|name| id.beside(&name)).collect::<Vec<_>>();
        reading.add(id, chain);
        next.extend(reading.unread(targets));
    }
    Ok(bases)
}

fn base(object: &Object) -> Option<(ChainId, BaseChain)> {
    let Object { family, attributes } = object;
    let hook = attributes.inside(4)?;
    let id = ChainId {
        tables: Tables::Nftables,
        family: Family::of(*family)?,
        table: attributes.text(1)?,
        name: attributes.text(3)?,
    };
    let drops = attributes.number(5) == Some(POLICY_DROP);
    let translates = attributes.text(7).as_deref() == Some("nat");
    let base = BaseChain::new(&id, Hook::of(hook.number(1)?)?, drops, translates);
    Some((id, base))
}

fn rules(socket: &mut NftSocket, id: &ChainId) -> io::Result<Chain> {
    let objects = match socket.list(GET_RULE, id.family.number(), &[(1, &id.table), (2, &id.name)]) {
        // It has gone meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Chain::new()),
        listed => listed?,
    };
    let of_this = |object: &&Object| {
        object.attributes.text(1).as_ref() == Some(&id.table) && object.attributes.text(2).as_ref() == Some(&id.name)
    };
    Ok(objects.iter().filter(of_this).map(|object| rule(&object.attributes, id)).collect())
}

fn sets(chain: &Chain) -> Vec<SetId> {
    let of_step = |step: &Step| if let Step::Lookup { set, .. } = step { Some(set.clone()) } else { None };
    chain.iter().flatten().filter_map(of_step).collect()
}

/// The chains that rules and elements of maps lead to.
fn targets(reading: &Reading, chain: &Chain) -> Vec<String> {
    let target = |verdict: &Verdict| match verdict {
        Verdict::Jump(name) | Verdict::Goto(name) => Some(name.clone()),
        _ => None,
    };
    let mut targets = Vec::new();
    for step in chain.iter().flatten() {
        match step {
            Step::Decide(verdict) => targets.extend(target(verdict)),
            Step::Lookup { set, .. } => {
                let elements = reading.sets.get(set).into_iter().flatten().flatten();
                targets.extend(elements.filter_map(|element| target(element.verdict.as_ref()?)));
            }
            _ => {}
        }
    }
    targets
}

fn rule(attributes: &Attributes, id: &ChainId) -> Rule {
    let expressions = attributes.inside(4).unwrap_or_default();
    expressions.elements().flat_map(|expression| steps(&expression, id)).collect()
}

/// What an expression does; nothing if it neither looks nor decides.
fn steps(expression: &Attributes, id: &ChainId) -> Vec<Step> {
    let name = expression.text(1).unwrap_or_default();
    let data = expression.inside(2).unwrap_or_default();
    let loads = data.bytes(1).is_some();
    let step = match name.as_str() {
        "counter" | "log" | "notrack" | "last" | "flow_offload" | "objref" => return Vec::new(),
        // What is written into the packet or beside it.
        "payload" | "meta" | "ct" if !loads => return Vec::new(),
        "payload" => payload(&data),
        "meta" => meta(&data),
        "ct" => tracking(&data),
        "bitwise" => bitwise(&data),
        "cmp" => compare(&data),
        "range" => range(&data),
        "lookup" => lookup(&data, id),
        "immediate" => immediate(&data),
        "reject" => Some(Step::Decide(Verdict::Drop)),
        "masq" | "nat" | "redir" | "tproxy" => Some(Step::Decide(Verdict::Translate)),
        "queue" | "synproxy" => Some(Step::Decide(Verdict::Unknown)),
        "match" => {
            let info = data.bytes(3).unwrap_or_default();
            return xtables::condition(&data.text(1).unwrap_or_default(), data.number(2).unwrap_or(0), info);
        }
        "target" => return xtables::target(&data.text(1).unwrap_or_default()).map(Step::Decide).into_iter().collect(),
        _ => None,
    };
    vec![step.unwrap_or(Step::Perhaps)]
}

/// Where a register begins, in bytes behind the verdict's.
fn register(number: u32) -> Option<usize> {
    let words = match number {
        1..=4 => (number - 1) * QUARTER,
        FIRST_WORD..=23 => number - FIRST_WORD,
        _ => return None,
    };
    Some(words as usize * WORD)
}

fn payload(data: &Attributes) -> Option<Step> {
    let (offset, length) = (data.number(3)? as usize, data.number(4)? as usize);
    let from = match data.number(2)? {
        1 => Source::Network { offset },
        2 => Source::Transport { offset },
        _ => Source::Unknown,
    };
    Some(Step::Load { to: register(data.number(1)?)?, length, from })
}

fn meta(data: &Attributes) -> Option<Step> {
    let to = register(data.number(1)?)?;
    let (length, from) = match data.number(2)? {
        1 => (2, Source::EtherType),
        4 => (WORD, Source::InputIndex),
        5 => (WORD, Source::OutputIndex),
        6 => (16, Source::InputName),
        7 => (16, Source::OutputName),
        15 => (1, Source::Family),
        16 => (1, Source::Protocol),
        _ => (16, Source::Unknown),
    };
    Some(Step::Load { to, length, from })
}

fn tracking(data: &Attributes) -> Option<Step> {
    let to = register(data.number(1)?)?;
    let (length, from) = if data.number(2)? == 0 { (WORD, Source::State) } else { (16, Source::Unknown) };
    Some(Step::Load { to, length, from })
}

fn value(data: &Attributes, kind: u16) -> Option<Vec<u8>> {
    Some(data.inside(kind)?.bytes(1)?.to_vec())
}

fn bitwise(data: &Attributes) -> Option<Step> {
    let (from, to) = (register(data.number(1)?)?, register(data.number(2)?)?);
    if data.number(6).unwrap_or(0) != 0 {
        return Some(Step::Load { to, length: data.number(3)? as usize, from: Source::Unknown });
    }
    Some(Step::Bits { from, to, mask: value(data, 4)?, xor: value(data, 5)? })
}

fn compare(data: &Attributes) -> Option<Step> {
    let how = match data.number(2)? {
        0 => Comparison::Equal,
        1 => Comparison::NotEqual,
        2 => Comparison::Less,
        3 => Comparison::LessOrEqual,
        4 => Comparison::Greater,
        5 => Comparison::GreaterOrEqual,
        _ => return None,
    };
    Some(Step::Compare { from: register(data.number(1)?)?, how, with: value(data, 3)? })
}

fn range(data: &Attributes) -> Option<Step> {
    let outside = data.number(2)? == 1;
    Some(Step::Range { from: register(data.number(1)?)?, outside, low: value(data, 3)?, high: value(data, 4)? })
}

fn lookup(data: &Attributes, id: &ChainId) -> Option<Step> {
    let set = SetId { family: id.family, table: id.table.clone(), name: data.text(1)? };
    let outside = data.number(5).unwrap_or(0) & 1 != 0;
    Some(Step::Lookup { from: register(data.number(2)?)?, set, outside })
}

fn immediate(data: &Attributes) -> Option<Step> {
    let content = data.inside(2)?;
    if let Some(verdict) = content.inside(2) {
        return Some(Step::Decide(decided(&verdict)));
    }
    let bytes = content.bytes(1)?.to_vec();
    Some(Step::Load { to: register(data.number(1)?)?, length: bytes.len(), from: Source::Value(bytes) })
}

/// A verdict with its chain.
fn decided(verdict: &Attributes) -> Verdict {
    let chain = || verdict.text(2).unwrap_or_default();
    match verdict.number(1).map(u32::cast_signed) {
        Some(0) => Verdict::Drop,
        Some(1) => Verdict::Accept,
        Some(-1 | -2) => Verdict::Continue,
        Some(-3) => Verdict::Jump(chain()),
        Some(-4) => Verdict::Goto(chain()),
        Some(-5) => Verdict::Return,
        _ => Verdict::Unknown,
    }
}
