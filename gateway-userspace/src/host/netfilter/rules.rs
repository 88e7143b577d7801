//! Rules as both kinds of tables have them: steps that load parts of a packet into registers, compare them, and decide.
//!
//! The registers are nftables'; rules of iptables are written in the same steps.

use std::collections::BTreeMap;
use std::fmt;

/// The registers: 20 words, of which the first four are for verdicts.
pub const REGISTER_BYTES: usize = 80;

/// Where a table's packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Both.
    Inet,
    V4,
    V6,
}

impl Family {
    /// By the number that netfilter gives it; nothing for those that do not see forwarded packets of IP.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Inet),
            2 => Some(Self::V4),
            10 => Some(Self::V6),
            _ => None,
        }
    }

    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    pub const fn takes(self, v4: bool) -> bool {
        match self {
            Self::Inet => true,
            Self::V4 => v4,
            Self::V6 => !v4,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// A point on a packet's way through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before it is routed.
    Prerouting,
    /// Between two devices.
    Forward,
    /// Before it leaves.
    Postrouting,
}

impl Hook {
    pub(super) const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Prerouting),
            2 => Some(Self::Forward),
            4 => Some(Self::Postrouting),
            _ => None,
        }
    }
}

/// Which tool a chain is seen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tables {
    Nftables,
    /// Those of `iptables-legacy` and `ip6tables-legacy`.
    Legacy,
}

/// A chain among all of the host's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    pub tables: Tables,
    pub family: Family,
    pub table: String,
    pub name: String,
}

impl ChainId {
    /// Another chain of the same table.
    pub fn beside(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }
}

/// A chain that the kernel begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// How to name it to whoever shall change it.
    pub name: String,
    /// Where it stands.
    pub hook: Hook,
    /// Whether what no rule decides is dropped.
    pub drops: bool,
    /// Whether it translates addresses; only the first packet of a connection passes such a chain.
    pub translates: bool,
}

impl BaseChain {
    pub(super) fn new(id: &ChainId, hook: Hook, drops: bool, translates: bool) -> Self {
        Self { name: id.to_string(), hook, drops, translates }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, family, table, name } = self;
        match (tables, family) {
            (Tables::Nftables, _) => write!(f, "nft chain {} {table} {name}", family.name()),
            (Tables::Legacy, Family::V6) => write!(f, "ip6tables-legacy chain {name} of {table}"),
            (Tables::Legacy, _) => write!(f, "iptables-legacy chain {name} of {table}"),
        }
    }
}

/// Rules in their order.
pub type Chain = Vec<Rule>;
/// Steps in their order; the first condition that does not hold ends the rule.
pub type Rule = Vec<Step>;

/// One step of a rule. Steps that neither look nor decide, as counters, are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fills a register.
    Load { to: usize, length: usize, from: Source },
    /// Masks a register, then inverts bits of it.
    Bits { from: usize, to: usize, mask: Vec<u8>, xor: Vec<u8> },
    /// Goes on only if the register compares so.
    Compare { from: usize, how: Comparison, with: Vec<u8> },
    /// Goes on only if the register lies in this range, or outside.
    Range { from: usize, outside: bool, low: Vec<u8>, high: Vec<u8> },
    /// Goes on only if the register is an element, or none. An element may decide.
    Lookup { from: usize, set: SetId, outside: bool },
    /// Goes on only if connection tracking says one of these states, or none of them.
    State { states: u32, outside: bool },
    /// Goes on or not, and fills registers or not: it depends on what is not known here.
    Perhaps,
    /// Decides.
    Decide(Verdict),
}

/// What a register is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Network { offset: usize },
    Transport { offset: usize },
    Family,
    EtherType,
    Protocol,
    InputName,
    OutputName,
    InputIndex,
    OutputIndex,
    State,
    Value(Vec<u8>),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    /// Another address is put into the packet, which goes on.
    Translate,
    Jump(String),
    Goto(String),
    Return,
    Continue,
    /// What it does is not known here.
    Unknown,
}

/// A set or map among all of the host's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId {
    pub family: Family,
    pub table: String,
    pub name: String,
}

/// The elements of a set; nothing if they are of a kind that is not read.
pub type Set = Option<Vec<Element>>;

/// A range of keys, both ends in it, and what is decided for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub low: Vec<u8>,
    pub high: Vec<u8>,
    pub verdict: Option<Verdict>,
}

/// All that was read.
#[derive(Debug, Default)]
pub struct Reading {
    pub chains: BTreeMap<ChainId, Chain>,
    pub sets: BTreeMap<SetId, Set>,
}
