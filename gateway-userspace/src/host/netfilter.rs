//! What the host's firewall would do with a packet: nftables and the older tables of iptables, read from the kernel itself,
//! so that no tool has to be there.
//!
//! A packet is known in part only (any client, any port), and so are rules: what cannot be told is [`Fate::Unsure`], never
//! guessed. Nothing is changed.

mod nftables;
mod packet;
mod rules;
mod socket;
mod walk;
mod xtables;

use std::collections::BTreeSet;
use std::io;

pub use self::packet::{Link, Packet, State};
pub use self::rules::{BaseChain, Hook};
use self::rules::{Chain, ChainId, Reading};
pub use self::walk::Fate;
use self::walk::Walk;

/// The rules of this network namespace.
pub struct Netfilter {
    bases: Vec<(ChainId, BaseChain)>,
    reading: Reading,
}

/// What a chain would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The chain, as its tool calls it.
    pub chain: BaseChain,
    /// What becomes of the packet there.
    pub fate: Fate,
}

impl Netfilter {
    /// Reads which chains there are where packets pass, and the rules of those.
    pub fn read() -> io::Result<Self> {
        let mut reading = Reading::default();
        let mut bases = nftables::read(&mut reading)?;
        bases.extend(xtables::read(&mut reading)?);
        Ok(Self { bases, reading })
    }

    /// What each chain of a hook would do with a packet that came as far as this.
    pub fn judge(&self, hook: Hook, packet: &Packet) -> Vec<Judgement> {
        let concerned = self.bases.iter().filter(|(id, base)| base.hook == hook && id.family.takes(packet.is_v4()));
        let judge = |(id, base): &(ChainId, BaseChain)| Judgement {
            chain: base.clone(),
            fate: Walk::new(&self.reading, packet, hook).of(id, base),
        };
        concerned.map(judge).collect()
    }
}

impl Reading {
    /// The chains that a chain leads to and that were not read yet.
    fn unread(&self, from: impl IntoIterator<Item = ChainId>) -> BTreeSet<ChainId> {
        from.into_iter().filter(|id| !self.chains.contains_key(id)).collect()
    }

    fn add(&mut self, id: ChainId, chain: Chain) {
        self.chains.insert(id, chain);
    }
}
