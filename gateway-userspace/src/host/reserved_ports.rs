//! Ports that the kernel shall not give to connections of the host's own: `net.ipv4.ip_local_reserved_ports`, which holds
//! for both families. Programs that ask for one of them by number still get it.
//!
//! The setting is one list for everybody. What we have added to it is remembered, and only that is ever taken away again.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use super::sysctl::Sysctl;

/// How many ports there are.
const PORTS: usize = 1 << u16::BITS;

/// Makes of all ports that are ours, as an earlier call said, those of the range; all others stay as they are. Says which
/// are ours now.
pub(super) fn reserve(range: RangeInclusive<u16>, ours: &str) -> io::Result<String> {
    change(&Ports::read(ours), &Ports::of(range))
}

/// Gives back all that are ours.
pub(super) fn release(ours: &str) -> io::Result<()> {
    change(&Ports::read(ours), &Ports::none()).map(drop)
}

fn change(ours: &Ports, wanted: &Ports) -> io::Result<String> {
    let sysctl = Sysctl::net(["ipv4", "ip_local_reserved_ports"]);
    let text = sysctl.get()?;
    let (list, ours) = settled(&Ports::read(&text), ours, wanted);
    sysctl.set(&list.to_string())?;
    Ok(ours.to_string())
}

/// What the list shall be, and what of it is ours: of the ports that are wanted those that nobody else has reserved.
fn settled(list: &Ports, ours: &Ports, wanted: &Ports) -> (Ports, Ports) {
    let foreign = list.with(ours, |listed, ours| listed && !ours);
    (
        foreign.with(wanted, |foreign, wanted| foreign || wanted),
        wanted.with(&foreign, |wanted, foreign| wanted && !foreign),
    )
}

/// A set of ports: for each whether it is one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<bool>);

impl Ports {
    fn none() -> Self {
        Self(vec![false; PORTS])
    }

    fn of(range: RangeInclusive<u16>) -> Self {
        let mut ports = Self::none();
        ports.add(range);
        ports
    }

    /// Reads a list of ports and ranges; what is neither is passed over.
    fn read(text: &str) -> Self {
        let mut ports = Self::none();
        text.split(',').filter_map(range).for_each(|range| ports.add(range));
        ports
    }

    fn add(&mut self, range: RangeInclusive<u16>) {
        range.for_each(|port| self.0[usize::from(port)] = true);
    }

    fn with(&self, other: &Self, is_one: impl Fn(bool, bool) -> bool) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(&mine, &others)| is_one(mine, others)).collect())
    }
}

impl fmt::Display for Ports {
    /// As the kernel writes it: in order, and no two ranges touch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = 0;
        let mut separator = "";
        for run in self.0.chunk_by(|port, next| port == next) {
            let last = first + run.len() - 1;
            match run {
                [true] => write!(f, "{separator}{first}")?,
                [true, ..] => write!(f, "{separator}{first}-{last}")?,
                _ => {}
            }
            if run[0] {
                separator = ",";
            }
            first = last + 1;
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list and what is ours, after a range was asked for.
    fn after(list: &str, ours: &str, wanted: RangeInclusive<u16>) -> (String, String) {
        let (list, ours) = settled(&Ports::read(list), &Ports::read(ours), &Ports::of(wanted));
        (list.to_string(), ours.to_string())
    }

    fn texts(list: &str, ours: &str) -> (String, String) {
        (list.to_owned(), ours.to_owned())
    }

    #[test]
    fn a_range_joins_those_that_it_meets_and_only_what_it_adds_is_ours() {
        let asked = 10_000..=29_999;
        for (before, list, ours) in [
            ("", "10000-29999", "10000-29999"),
            ("8080,9000-9100", "8080,9000-9100,10000-29999", "10000-29999"),
            ("9000-9999,20000,30000-30010", "9000-30010", "10000-19999,20001-29999"),
            ("1-65535", "1-65535", ""),
        ] {
            assert_eq!(after(before, "", asked.clone()), texts(list, ours), "{before}");
            assert_eq!(after(list, ours, asked.clone()), texts(list, ours), "asked again");
        }
        assert_eq!(after("65535", "", 60_000..=65_534), texts("60000-65535", "60000-65534"));
    }

    #[test]
    fn another_range_takes_the_place_of_the_old_one_and_what_others_reserved_stays() {
        let before = "8080,9000-29999";

        assert_eq!(after(before, "10000-29999", 20_000..=31_000), texts("8080,9000-9999,20000-31000", "20000-31000"));
        assert_eq!(after("8080,9000-9010", "10000-29999", 20_000..=21_000).0, "8080,9000-9010,20000-21000");
        let (list, ours) = ("8080,12000,10000-29999,40000", "10000-11999,12001-29999");
        assert_eq!(after(list, ours, 20_000..=25_000), texts("8080,12000,20000-25000,40000", "20000-25000"));
        let (list, ours) = settled(&Ports::read(before), &Ports::read("10000-29999"), &Ports::none());
        assert_eq!((list.to_string(), ours), ("8080,9000-9999".to_owned(), Ports::none()));
    }
}
