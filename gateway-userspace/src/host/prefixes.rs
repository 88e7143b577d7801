//! Which addresses the kernel's tables cannot tell apart, so that it is asked once for all of them.
//!
//! Two addresses whose longest prefix in any table or rule is the same are matched by the same prefixes in every table:
//! shorter ones hold both, and there are no longer ones. So they are routed alike, but for routes of several next hops,
//! whose devices are kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// All prefixes that routes and rules speak of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// Each with the devices of its routes that have several next hops.
    hops: BTreeMap<IpNet, BTreeSet<u32>>,
    /// The lengths that occur, in each family.
    lengths: [BTreeSet<u8>; 2],
}

impl Prefixes {
    /// Adds a prefix, and the devices of its next hops if they are several.
    pub(super) fn add(&mut self, prefix: IpNet, hops: impl IntoIterator<Item = u32>) {
        let prefix = prefix.trunc();
        self.lengths[family(prefix.addr())].insert(prefix.prefix_len());
        self.hops.entry(prefix).or_default().extend(hops);
    }

    /// The longest prefix that holds the address; itself alone if there is none.
    pub(super) fn longest(&self, address: IpAddr) -> IpNet {
        let lengths = self.lengths[family(address)].iter().rev();
        let prefixes = lengths.filter_map(|length| Some(IpNet::new(address, *length).ok()?.trunc()));
        let mut known = prefixes.filter(|prefix| self.hops.contains_key(prefix));
        known.next().unwrap_or_else(|| address.into())
    }

    /// The prefixes that are in one of two tables alone, or have other hops.
    pub(super) fn differences<'p>(&'p self, other: &'p Self) -> impl Iterator<Item = &'p IpNet> {
        let gone_or_other = self.hops.iter().filter(|(prefix, hops)| other.hops.get(prefix) != Some(hops));
        let new = other.hops.iter().filter(|(prefix, _)| !self.hops.contains_key(prefix));
        gone_or_other.chain(new).map(|(prefix, _)| prefix)
    }

    /// The devices of the next hops behind a prefix, if they are several.
    pub(super) fn hops(&self, prefix: &IpNet) -> impl Iterator<Item = u32> {
        self.hops.get(prefix).into_iter().flatten().copied()
    }
}

const fn family(address: IpAddr) -> usize {
    if address.is_ipv4() { 0 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Prefixes {
        let mut prefixes = Prefixes::default();
        for text in texts {
            prefixes.add(text.parse().expect("a prefix"), []);
        }
        prefixes
    }

    fn longest(prefixes: &Prefixes, address: &str) -> String {
        prefixes.longest(address.parse().expect("an address")).to_string()
    }

    #[test]
    fn the_longest_prefix_of_any_table_counts() {
        let prefixes = prefixes(&["0.0.0.0/0", "10.0.0.0/8", "10.1.2.0/26", "10.1.2.9/32", "::/0", "fd00:1::/32"]);

        assert_eq!(longest(&prefixes, "10.1.2.9"), "10.1.2.9/32");
        assert_eq!(longest(&prefixes, "10.1.2.10"), "10.1.2.0/26");
        assert_eq!(longest(&prefixes, "10.1.2.64"), "10.0.0.0/8");
        assert_eq!(longest(&prefixes, "192.0.2.1"), "0.0.0.0/0");
        assert_eq!(longest(&prefixes, "fd00:1:2::3"), "fd00:1::/32");
        assert_eq!(longest(&prefixes, "2001:db8::1"), "::/0");
    }

    #[test]
    fn what_no_prefix_holds_stands_for_itself_alone() {
        let prefixes = prefixes(&["::/0"]);

        assert_eq!(longest(&prefixes, "10.1.2.9"), "10.1.2.9/32");
    }

    #[test]
    fn prefixes_that_came_went_or_have_other_hops_are_the_differences() {
        let before = prefixes(&["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]);
        let mut after = prefixes(&["10.0.0.0/8", "10.2.0.0/16", "fd00::/8"]);
        after.add("10.2.0.0/16".parse().expect("a prefix"), [2, 3]);

        let differences: Vec<_> = before.differences(&after).map(ToString::to_string).collect();

        assert_eq!(differences, ["10.1.0.0/16", "10.2.0.0/16", "fd00::/8"]);
    }

    #[test]
    fn the_hops_of_one_prefix_in_several_tables_are_gathered() {
        let mut prefixes = Prefixes::default();
        let net: IpNet = "10.0.0.0/8".parse().expect("a prefix");
        prefixes.add(net, [3, 2]);
        prefixes.add(net, [4]);

        assert_eq!(prefixes.hops(&net).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
