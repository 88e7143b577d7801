//! What becomes of a packet in a chain: all that may, where rules or the packet are known in part only.

use super::packet::{Byte, Packet};
use super::rules::{
    BaseChain, ChainId, Comparison, Element, Hook, REGISTER_BYTES, Reading, Rule, SetId, Source, Step, Verdict,
};

/// The kernel allows no deeper jumps.
const DEEPEST: usize = 16;
/// The length of a device's name in a register.
const NAME_BYTES: usize = 16;

/// What becomes of a packet in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It is dropped, or refused.
    Dropped,
    /// It goes on with another address.
    Translated,
    /// One or the other.
    Unsure {
        /// It may be dropped.
        dropped: bool,
        /// It may be given another address.
        translated: bool,
    },
}

/// All that may become of a packet, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcomes(u8);

impl Outcomes {
    const ACCEPTED: Self = Self(1);
    const DROPPED: Self = Self(2);
    const TRANSLATED: Self = Self(4);
    /// No rule decided.
    const THROUGH: Self = Self(8);
    const UNKNOWN: Self = Self::ACCEPTED.or(Self::DROPPED).or(Self::THROUGH);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Perhaps,
}

impl Holds {
    const fn inverted(self, really: bool) -> Self {
        match (self, really) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (same, _) => same,
        }
    }
}

/// What a rule comes to.
struct Decision {
    holds: Holds,
    verdict: Option<Verdict>,
    /// Verdicts of elements of a map, any of which may be the one.
    of_elements: Vec<Verdict>,
}

/// One packet's way.
pub struct Walk<'a> {
    reading: &'a Reading,
    packet: &'a Packet,
    hook: Hook,
}

impl<'a> Walk<'a> {
    pub const fn new(reading: &'a Reading, packet: &'a Packet, hook: Hook) -> Self {
        Self { reading, packet, hook }
    }

    /// What becomes of it in a base chain.
    pub fn of(&self, id: &ChainId, base: &BaseChain) -> Fate {
        let mut outcomes = self.chain(id, 0);
        if outcomes.has(Outcomes::THROUGH) {
            let policy = if base.drops { Outcomes::DROPPED } else { Outcomes::ACCEPTED };
            outcomes = outcomes.without(Outcomes::THROUGH).or(policy);
        }
        match outcomes {
            Outcomes::ACCEPTED => Fate::Passes,
            Outcomes::DROPPED => Fate::Dropped,
            Outcomes::TRANSLATED => Fate::Translated,
            several => {
                Fate::Unsure { dropped: several.has(Outcomes::DROPPED), translated: several.has(Outcomes::TRANSLATED) }
            }
        }
    }

    fn chain(&self, id: &ChainId, depth: usize) -> Outcomes {
        let Some(rules) = self.reading.chains.get(id).filter(|_| depth <= DEEPEST) else { return Outcomes::UNKNOWN };
        let mut all = Outcomes::default();
        for rule in rules {
            let Decision { holds, verdict, of_elements } = self.rule(rule);
            let verdicts = of_elements.iter().chain(&verdict);
            let decided = verdicts.map(|verdict| self.verdict(verdict, id, depth)).reduce(Verdicted::or);
            let Some(Verdicted { outcomes, returned }) = decided.filter(|_| holds != Holds::No) else { continue };
            all = all.or(outcomes.without(Outcomes::THROUGH));
            if returned {
                all = all.or(Outcomes::THROUGH);
            }
            if !outcomes.has(Outcomes::THROUGH) && holds == Holds::Yes {
                return all;
            }
        }
        all.or(Outcomes::THROUGH)
    }

    fn verdict(&self, verdict: &Verdict, id: &ChainId, depth: usize) -> Verdicted {
        let outcomes = match verdict {
            Verdict::Accept => Outcomes::ACCEPTED,
            Verdict::Drop => Outcomes::DROPPED,
            Verdict::Translate => Outcomes::TRANSLATED,
            Verdict::Continue => Outcomes::THROUGH,
            Verdict::Unknown => Outcomes::UNKNOWN,
            Verdict::Jump(name) => self.chain(&id.beside(name), depth + 1),
            Verdict::Return => return Verdicted { outcomes: Outcomes::default(), returned: true },
            Verdict::Goto(name) => {
                let outcomes = self.chain(&id.beside(name), depth + 1);
                let returned = outcomes.has(Outcomes::THROUGH);
                return Verdicted { outcomes: outcomes.without(Outcomes::THROUGH), returned };
            }
        };
        Verdicted { outcomes, returned: false }
    }

    fn rule(&self, rule: &Rule) -> Decision {
        let mut registers = [None; REGISTER_BYTES];
        let mut decision = Decision { holds: Holds::Yes, verdict: None, of_elements: Vec::new() };
        for step in rule {
            let holds = match step {
                Step::Load { to, length, from } => {
                    self.load(&mut registers, *to, *length, from);
                    Holds::Yes
                }
                Step::Bits { from, to, mask, xor } => {
                    bits(&mut registers, *from, *to, mask, xor);
                    Holds::Yes
                }
                Step::Compare { from, how, with } => compare(part(&registers, *from, with.len()), *how, with),
                Step::Range { from, outside, low, high } => {
                    within(part(&registers, *from, low.len()), low, high).inverted(*outside)
                }
                Step::State { states, outside } => is_one(states & self.packet.state as u32 != 0).inverted(*outside),
                Step::Lookup { from, set, outside } => {
                    let (holds, verdicts) = self.look_up(&registers, *from, set);
                    decision.of_elements.extend(verdicts);
                    holds.inverted(*outside)
                }
                Step::Perhaps => {
                    registers.fill(None);
                    Holds::Perhaps
                }
                Step::Decide(verdict) => {
                    decision.verdict = Some(verdict.clone());
                    break;
                }
            };
            match holds {
                Holds::Yes => {}
                Holds::Perhaps => decision.holds = Holds::Perhaps,
                Holds::No => return Decision { holds, ..decision },
            }
        }
        decision
    }

    fn load(&self, registers: &mut [Byte; REGISTER_BYTES], to: usize, length: usize, from: &Source) {
        let packet = self.packet;
        let known = |bytes: &[u8]| bytes.iter().copied().map(Some).collect::<Vec<Byte>>();
        let name = |name: &str| {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(NAME_BYTES, 0);
            known(&bytes)
        };
        let output = packet.output.as_ref().filter(|_| self.hook != Hook::Prerouting);
        let input = (self.hook != Hook::Postrouting).then_some(&packet.input);
        let bytes = match from {
            Source::Network { offset } => packet.network.get(*offset..).unwrap_or_default().to_vec(),
            Source::Transport { offset } => packet.transport.get(*offset..).unwrap_or_default().to_vec(),
            Source::Family => known(&[if packet.is_v4() { 2 } else { 10 }]),
            Source::EtherType => known(&if packet.is_v4() { [0x08, 0x00] } else { [0x86, 0xdd] }),
            Source::Protocol => known(&[packet.protocol]),
            Source::InputName => input.map(|link| name(&link.name)).unwrap_or_default(),
            Source::OutputName => output.map(|link| name(&link.name)).unwrap_or_default(),
            Source::InputIndex => input.map(|link| known(&link.index.to_ne_bytes())).unwrap_or_default(),
            Source::OutputIndex => output.map(|link| known(&link.index.to_ne_bytes())).unwrap_or_default(),
            Source::State => known(&(packet.state as u32).to_ne_bytes()),
            Source::Value(bytes) => known(bytes),
            Source::Unknown => Vec::new(),
        };
        for at in 0..length.next_multiple_of(size_of::<u32>()) {
            // What fills a register up is zero.
            let byte = if at < length { bytes.get(at).copied().flatten() } else { Some(0) };
            if let Some(register) = registers.get_mut(to + at) {
                *register = byte;
            }
        }
    }

    /// Whether the register is an element, and what elements that it may be decide.
    fn look_up(&self, registers: &[Byte; REGISTER_BYTES], from: usize, set: &SetId) -> (Holds, Vec<Verdict>) {
        let Some(Some(elements)) = self.reading.sets.get(set) else { return (Holds::Perhaps, vec![Verdict::Unknown]) };
        let mut verdicts = Vec::new();
        for Element { low, high, verdict } in elements {
            match within(part(registers, from, low.len()), low, high) {
                Holds::Yes => return (Holds::Yes, verdict.iter().cloned().collect()),
                Holds::Perhaps => verdicts.push(verdict.clone()),
                Holds::No => {}
            }
        }
        let holds = if verdicts.is_empty() { Holds::No } else { Holds::Perhaps };
        (holds, verdicts.into_iter().flatten().collect())
    }
}

/// What a verdict comes to, and whether it leaves the chain undecided.
#[derive(Clone, Copy)]
struct Verdicted {
    outcomes: Outcomes,
    returned: bool,
}

impl Verdicted {
    const fn or(self, other: Self) -> Self {
        Self { outcomes: self.outcomes.or(other.outcomes), returned: self.returned || other.returned }
    }
}

fn part(registers: &[Byte; REGISTER_BYTES], from: usize, length: usize) -> &[Byte] {
    registers.get(from..from + length).unwrap_or_default()
}

fn bits(registers: &mut [Byte; REGISTER_BYTES], from: usize, to: usize, mask: &[u8], xor: &[u8]) {
    for (at, mask) in mask.iter().enumerate() {
        let xor = xor.get(at).copied().unwrap_or(0);
        let byte = registers.get(from + at).copied().flatten();
        let masked = if *mask == 0 { Some(0) } else { byte.map(|byte| byte & mask) };
        if let Some(register) = registers.get_mut(to + at) {
            *register = masked.map(|byte| byte ^ xor);
        }
    }
}

const fn is_one(yes: bool) -> Holds {
    if yes { Holds::Yes } else { Holds::No }
}

fn compare(register: &[Byte], how: Comparison, with: &[u8]) -> Holds {
    match how {
        Comparison::Equal => equal(register, with),
        Comparison::NotEqual => equal(register, with).inverted(true),
        _ => {
            let Some(known) = known(register) else { return Holds::Perhaps };
            let order = known.as_slice().cmp(with);
            is_one(match how {
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                _ => order.is_ge(),
            })
        }
    }
}

fn equal(register: &[Byte], with: &[u8]) -> Holds {
    if register.len() != with.len() {
        return Holds::Perhaps;
    }
    let differs = |(byte, with): (&Byte, &u8)| byte.is_some_and(|byte| byte != *with);
    if register.iter().zip(with).any(differs) {
        Holds::No
    } else if register.contains(&None) {
        Holds::Perhaps
    } else {
        Holds::Yes
    }
}

fn within(register: &[Byte], low: &[u8], high: &[u8]) -> Holds {
    if low == high {
        return equal(register, low);
    }
    // The known bytes at the beginning may be outside already.
    let beginning: Vec<u8> = register.iter().map_while(|byte| *byte).collect();
    let length = beginning.len();
    if length < register.len() || register.is_empty() {
        let outside = beginning.as_slice() < low.get(..length).unwrap_or_default()
            || beginning.as_slice() > high.get(..length).unwrap_or_default();
        return if outside { Holds::No } else { Holds::Perhaps };
    }
    is_one(beginning.as_slice() >= low && beginning.as_slice() <= high)
}

fn known(register: &[Byte]) -> Option<Vec<u8>> {
    if register.is_empty() { None } else { register.iter().copied().collect() }
}

#[cfg(test)]
mod tests;
