//! The `AddressPool` resource: addresses that Gateways and Services get when they ask for none.
//!
//! An entry is a CIDR or a range. Every address of it is given out, the first and the last of a CIDR too: a VIP is an
//! address by itself and belongs to no subnet. Who gets which is for `translate` to say.

use std::net::IpAddr;

use gateway_common::Address;
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::rule;

/// How many CIDRs and ranges a pool may have.
pub const MAX_POOL_ENTRIES: usize = 64;

/// A pool of addresses, cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressPool {
    /// Name, age.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it holds and for whom.
    pub spec: AddressPoolSpec,
    /// Its status as it was read, which whoever writes statuses compares with; dropped when the object is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// What a pool holds and for whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// CIDRs (`192.0.2.0/24`, `2001:db8::/120`) and ranges (`192.0.2.10-192.0.2.20`) of both families.
    #[schemars(length(min = 1, max = MAX_POOL_ENTRIES), transform = check_addresses)]
    pub addresses: Vec<String>,
    /// The namespaces whose objects may use the pool; all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::upstream::check_selector)]
    pub namespace_selector: Option<LabelSelector>,
    /// Pools of higher priority are used first; 0 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub priority: Option<i32>,
    /// Who tells clients where its addresses are. `Neighbor`, which is also the default: one node answers for each on
    /// the segment (ARP, NDP). `None`: the network routes them, and no node answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ANNOUNCE, "default" = "Neighbor"))]
    pub announce: Option<String>,
}

/// What [`AddressPoolSpec::announce`] may say.
pub const ANNOUNCE: [&str; 2] = ["Neighbor", "None"];

impl AddressPoolSpec {
    /// Whether one node of the segment answers for its addresses.
    pub fn is_answered(&self) -> bool {
        self.announce.as_deref() != Some("None")
    }
}

/// What an API server checks in an entry. CEL cannot compare addresses: that a range is reversed shows only here.
fn check_addresses(schema: &mut Schema) {
    const CIDR: &str = "isCIDR(self) && cidr(self) == cidr(self).masked() && cidr(self).ip().isGlobalUnicast()";
    const RANGE: &str = "self.split('-').size() == 2 && self.split('-').all(end, isIP(end) && ip(end).isGlobalUnicast()) && \
                         ip(self.split('-')[0]).family() == ip(self.split('-')[1]).family()";
    let message = "use a CIDR without bits beyond its prefix (192.0.2.0/24) or a range of one family \
                   (192.0.2.10-192.0.2.20), of addresses that clients can reach";
    if let Some(item) = schema.pointer_mut("/items") {
        // Two IPv6 addresses in full and a dash.
        item["maxLength"] = 79.into();
        item["x-kubernetes-validations"] = rule(&format!("({CIDR}) || ({RANGE})"), message);
    }
}

/// Addresses from the first to the last, of one family.
///
/// As numbers both families lie on one line, IPv4 in its v4-mapped form, so nothing needs to know which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    /// The first.
    pub first: u128,
    /// The last, which is part of it.
    pub last: u128,
}

impl AddressRange {
    /// A range that holds one address.
    pub const fn single(address: Address) -> Self {
        let number = number(address);
        Self { first: number, last: number }
    }

    /// The range that a CIDR or `first-last` means, or what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let range = match text.split_once('-') {
            Some((first, last)) => Self::between(text, first, last)?,
            None => Self::of_cidr(text)?,
        };
        match UNFIT.iter().find(|(unfit, _)| unfit.overlaps(&range)) {
            Some((_, what)) => Err(format!("`{text}` holds {what}, which cannot be a VIP: leave it out")),
            None => Ok(range),
        }
    }

    fn of_cidr(text: &str) -> Result<Self, String> {
        let Ok(net) = text.parse::<IpNet>() else {
            let hint = match text.parse::<IpAddr>() {
                Ok(ip) => format!("for one address write {ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
                Err(_) => "use something like 192.0.2.0/24, 2001:db8::/120 or 192.0.2.10-192.0.2.20".to_string(),
            };
            return Err(format!("`{text}` is no CIDR and no range: {hint}"));
        };
        if net != net.trunc() {
            return Err(format!("`{text}` has bits beyond its prefix: use {}", net.trunc()));
        }
        if net.addr().to_canonical() != net.addr() {
            return Err(format!("`{text}` is IPv4 written as IPv6: write it as IPv4"));
        }
        Ok(Self { first: number(net.network().into()), last: number(net.broadcast().into()) })
    }

    fn between(text: &str, first: &str, last: &str) -> Result<Self, String> {
        let parse = |end: &str| {
            let wrong =
                || format!("`{end}` in `{text}` is not an IP address: use something like 192.0.2.10-192.0.2.20");
            end.parse::<IpAddr>().map_err(|_| wrong())
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("`{text}` begins in one family and ends in the other: make it two ranges"));
        }
        if [first, last].iter().any(|ip| ip.to_canonical() != *ip) {
            return Err(format!("`{text}` is IPv4 written as IPv6: write it as IPv4"));
        }
        if first > last {
            return Err(format!("`{text}` is reversed: write {last}-{first}"));
        }
        Ok(Self { first: number(first.into()), last: number(last.into()) })
    }

    /// Whether an address lies in both.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether it is of IPv4.
    pub const fn is_ipv4(&self) -> bool {
        address(self.first).is_v4_mapped()
    }
}

/// An address as a number.
pub const fn number(address: Address) -> u128 {
    u128::from_be_bytes(*address.octets())
}

/// The address that a number stands for.
pub const fn address(number: u128) -> Address {
    Address::from_v6(number.to_be_bytes())
}

/// What kind of address it is, if it cannot be a VIP.
pub fn unfit(address: Address) -> Option<&'static str> {
    let single = AddressRange::single(address);
    UNFIT.iter().find(|(range, _)| range.overlaps(&single)).map(|(_, what)| *what)
}

/// Addresses that no client can reach (RFC 6890).
const UNFIT: [(AddressRange, &str); 9] = [
    (v4([0, 0, 0, 0], [0, 0, 0, 0]), "the unspecified address"),
    (v4([127, 0, 0, 0], [127, 255, 255, 255]), "a loopback address"),
    (v4([169, 254, 0, 0], [169, 254, 255, 255]), "a link-local address"),
    (v4([224, 0, 0, 0], [239, 255, 255, 255]), "a multicast address"),
    (v4([255, 255, 255, 255], [255, 255, 255, 255]), "the broadcast address"),
    (v6(0, 0), "the unspecified address"),
    (v6(1, 1), "a loopback address"),
    (v6(0xfe80 << 112, (0xfec0 << 112) - 1), "a link-local address"),
    (v6(0xff00 << 112, u128::MAX), "a multicast address"),
];

const fn v4(first: [u8; 4], last: [u8; 4]) -> AddressRange {
    AddressRange { first: number(Address::from_v4(first)), last: number(Address::from_v4(last)) }
}

const fn v6(first: u128, last: u128) -> AddressRange {
    AddressRange { first, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_and_a_range_hold_their_ends() {
        for (text, first, last) in [
            ("192.0.2.0/24", "192.0.2.0", "192.0.2.255"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
            ("192.0.2.10-192.0.2.20", "192.0.2.10", "192.0.2.20"),
            ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"),
            ("2001:db8::1-2001:db8::1", "2001:db8::1", "2001:db8::1"),
        ] {
            let range = AddressRange::parse(text).unwrap();
            let ends = [range.first, range.last].map(|end| address(end).to_ip().to_string());

            assert_eq!(ends, [first, last], "{text}");
            assert_eq!(range.is_ipv4(), !text.contains(':'), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said_with_what_to_write() {
        for (text, message) in [
            (
                "shop",
                "`shop` is no CIDR and no range: use something like 192.0.2.0/24, 2001:db8::/120 or 192.0.2.10-192.0.2.20",
            ),
            ("192.0.2.1", "`192.0.2.1` is no CIDR and no range: for one address write 192.0.2.1/32"),
            ("192.0.2.7/24", "`192.0.2.7/24` has bits beyond its prefix: use 192.0.2.0/24"),
            ("192.0.2.9-192.0.2.1", "`192.0.2.9-192.0.2.1` is reversed: write 192.0.2.1-192.0.2.9"),
            ("192.0.2.1-", "`` in `192.0.2.1-` is not an IP address: use something like 192.0.2.10-192.0.2.20"),
            (
                "192.0.2.1-2001:db8::1",
                "`192.0.2.1-2001:db8::1` begins in one family and ends in the other: make it two ranges",
            ),
            ("::ffff:192.0.2.0/120", "`::ffff:192.0.2.0/120` is IPv4 written as IPv6: write it as IPv4"),
            ("0.0.0.0/0", "`0.0.0.0/0` holds the unspecified address, which cannot be a VIP: leave it out"),
            ("126.0.0.0/7", "`126.0.0.0/7` holds a loopback address, which cannot be a VIP: leave it out"),
            ("fe00::/8", "`fe00::/8` holds a link-local address, which cannot be a VIP: leave it out"),
        ] {
            assert_eq!(AddressRange::parse(text).unwrap_err(), message);
        }
    }
}
