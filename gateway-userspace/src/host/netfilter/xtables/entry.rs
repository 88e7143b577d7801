//! One rule of `iptables-legacy` in its binary form: addresses, devices, protocol, extensions, target.

use super::super::rules::{Family, Source, Step, Verdict};
use super::masked;

const EXTENSION_HEADER: usize = 32;
const NAME_AT: usize = 2;
const NAME: usize = 29;
const DEVICE: usize = 16;
const FROM_DEVICE: u8 = 0x01;
const TO_DEVICE: u8 = 0x02;
const TYPE_OF_SERVICE: u8 = 0x04;
const SOURCE: u8 = 0x08;
const DESTINATION: u8 = 0x10;
const FRAGMENT: u8 = 0x20;
const PROTOCOL: u8 = 0x40;

/// Where the fields of a family's entries are.
struct Layout {
    address: usize,
    protocol: usize,
    flags: usize,
    inverted: usize,
    /// The offsets of the target and of the next entry.
    offsets: usize,
    extensions: usize,
    goto: u8,
    source: usize,
    destination: usize,
}

const V4: Layout = Layout {
    address: 4,
    protocol: 80,
    flags: 82,
    inverted: 83,
    offsets: 88,
    extensions: 112,
    goto: 0x02,
    source: 12,
    destination: 16,
};
const V6: Layout = Layout {
    address: 16,
    protocol: 128,
    flags: 131,
    inverted: 132,
    offsets: 140,
    extensions: 168,
    goto: 0x04,
    source: 8,
    destination: 24,
};

const fn layout(family: Family) -> &'static Layout {
    if matches!(family, Family::V6) { &V6 } else { &V4 }
}

/// A rule, or what stands in a rule's place.
pub struct Entry<'a> {
    pub offset: usize,
    bytes: &'a [u8],
    /// Name, revision and content of each extension that looks.
    pub matches: Vec<(String, u32, &'a [u8])>,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Decided(Verdict),
    /// A chain, by the offset of its first rule, and whether its end leads back.
    To {
        offset: usize,
        returns: bool,
    },
    Extension(String),
    /// No rule, but the name of the chain that follows.
    Named(String),
}

/// The entries of a table. What does not fit together ends the reading.
pub fn all(family: Family, bytes: &[u8]) -> Vec<Entry<'_>> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    while let Some((entry, length)) = bytes.get(offset..).and_then(|rest| Entry::read(family, offset, rest)) {
        entries.push(entry);
        offset += length;
    }
    entries
}

impl<'a> Entry<'a> {
    /// The entry with which these bytes begin, and its length.
    fn read(family: Family, offset: usize, rest: &'a [u8]) -> Option<(Self, usize)> {
        let layout = layout(family);
        let target_at = short(rest, layout.offsets)?;
        let length = short(rest, layout.offsets + 2)?;
        if length <= target_at || target_at < layout.extensions {
            return None;
        }
        let bytes = rest.get(..length)?;
        let mut matches = Vec::new();
        let mut at = layout.extensions;
        while at < target_at {
            let (size, name, content) = extension(bytes, at)?;
            matches.push((name, u32::from(*bytes.get(at + NAME_AT + NAME)?), content));
            at += size;
        }
        let (_, name, content) = extension(bytes, target_at)?;
        let goes = bytes.get(layout.flags)? & layout.goto != 0;
        Some((Self { offset, bytes, matches, target: Target::read(&name, content, goes)? }, length))
    }

    /// What it asks of addresses, devices and protocol.
    pub fn conditions(&self, family: Family) -> Vec<Step> {
        let layout = layout(family);
        let inverted = self.bytes[layout.inverted];
        let address = |which: usize| &self.bytes[which * layout.address..(which + 1) * layout.address];
        let devices = 4 * layout.address;
        let device = |which: usize| &self.bytes[devices + which * DEVICE..devices + (which + 1) * DEVICE];
        let network = |offset| Source::Network { offset };
        let mut steps = masked(network(layout.source), address(0), address(2), inverted & SOURCE != 0);
        steps.extend(masked(network(layout.destination), address(1), address(3), inverted & DESTINATION != 0));
        steps.extend(masked(Source::InputName, device(0), device(2), inverted & FROM_DEVICE != 0));
        steps.extend(masked(Source::OutputName, device(1), device(3), inverted & TO_DEVICE != 0));
        let protocol = self.bytes[layout.protocol];
        if protocol != 0 {
            steps.extend(masked(Source::Protocol, &[protocol], &[u8::MAX], inverted & PROTOCOL != 0));
        }
        if inverted & (TYPE_OF_SERVICE | FRAGMENT) != 0 || (family == Family::V4 && self.bytes[layout.flags] & 1 != 0) {
            steps.push(Step::Perhaps);
        }
        steps
    }
}

impl Target {
    fn read(name: &str, content: &[u8], goes: bool) -> Option<Self> {
        Some(match name {
            "" => match i32::from_ne_bytes(content.get(..4)?.try_into().ok()?) {
                -1 => Self::Decided(Verdict::Drop),
                -2 => Self::Decided(Verdict::Accept),
                -5 => Self::Decided(Verdict::Return),
                offset if offset >= 0 => Self::To { offset: usize::try_from(offset).ok()?, returns: !goes },
                _ => Self::Decided(Verdict::Unknown),
            },
            "ERROR" => Self::Named(text(content)),
            _ => Self::Extension(name.to_owned()),
        })
    }
}

/// The size, name and content of an extension.
fn extension(bytes: &[u8], at: usize) -> Option<(usize, String, &[u8])> {
    let size = short(bytes, at).filter(|size| *size >= EXTENSION_HEADER)?;
    let all = bytes.get(at..at + size)?;
    Some((size, text(&all[NAME_AT..NAME_AT + NAME]), &all[EXTENSION_HEADER..]))
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
