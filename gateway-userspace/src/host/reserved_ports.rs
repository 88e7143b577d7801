//! Ports that the kernel shall not give to connections of the host's own: `net.ipv4.ip_local_reserved_ports`, which holds
//! for both families. Programs that ask for one of them by number still get it.

use std::io;

use super::ChangedSysctl;
use super::sysctl::Sysctl;

/// Adds a range to those that are reserved already; the setting, if it was another one.
pub(super) fn reserve(first: u16, last: u16) -> io::Result<Option<ChangedSysctl>> {
    let sysctl = Sysctl::net(["ipv4", "ip_local_reserved_ports"]);
    let before = sysctl.set(&with(&sysctl.get()?, first, last))?;
    Ok(before.map(|before| ChangedSysctl { sysctl, before }))
}

/// The list with one more range, as the kernel writes it: in order, and no two ranges touch.
fn with(list: &str, first: u16, last: u16) -> String {
    let mut ranges: Vec<(u16, u16)> = list.split(',').filter_map(range).chain([(first, last)]).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            Some(_) | None => joined.push((first, last)),
        }
    }
    let text = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    joined.into_iter().map(text).collect::<Vec<_>>().join(",")
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_joins_those_that_it_meets_and_leaves_the_others() {
        assert_eq!(with("", 10_000, 29_999), "10000-29999");
        assert_eq!(with("8080,9000-9100", 10_000, 29_999), "8080,9000-9100,10000-29999");
        assert_eq!(with("9000-9999,20000,30000-30010", 10_000, 29_999), "9000-30010");
        assert_eq!(with("1-65535", 10_000, 29_999), "1-65535");
        assert_eq!(with("10000-29999", 10_000, 29_999), "10000-29999");
        assert_eq!(with("65535", 60_000, 65_534), "60000-65535");
    }
}
