//! Who the client is, by what a chain of proxies says of it.
//!
//! Each proxy adds its peer at the end. So the list is read from there, over those that are trusted themselves, to the first
//! that is not: what stands before it is only what that one says. What is no address ends the chain.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use ipnet::IpNet;

use super::{FOR, FORWARDED};

/// The client in `X-Forwarded-For`, or without that in `Forwarded` (RFC 7239).
pub fn client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let lists = headers.get_all(FOR).iter().map(|value| value.to_str().unwrap_or_default());
    let nodes: Vec<Option<IpAddr>> = lists.flat_map(|list| list.split(',')).map(|node| parse(node.trim())).collect();
    if !nodes.is_empty() {
        return first_untrusted(&nodes, trusted);
    }
    let lists = headers.get_all(FORWARDED).iter().map(HeaderValue::to_str);
    let nodes: Vec<Option<IpAddr>> = lists.flat_map(|list| elements(list.unwrap_or_default())).collect();
    first_untrusted(&nodes, trusted)
}

fn first_untrusted(nodes: &[Option<IpAddr>], trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = None;
    for node in nodes.iter().rev() {
        let Some(address) = *node else { break };
        client = Some(address);
        if !trusted.iter().any(|range| range.contains(&address)) {
            break;
        }
    }
    client
}

/// The `for` of each element of a `Forwarded` list.
fn elements(list: &str) -> Vec<Option<IpAddr>> {
    let of_element = |element: &str| {
        let pairs = split(element, ';');
        let node = pairs.into_iter().find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"').to_owned())
        });
        parse(&node?)
    };
    split(list, ',').into_iter().filter(|element| !element.trim().is_empty()).map(of_element).collect()
}

/// The parts between separators that stand in no quoted text.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
    .collect()
}

/// An address, with or without a port; IPv6 in brackets, too.
fn parse(node: &str) -> Option<IpAddr> {
    let of_brackets = || node.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || node.parse::<SocketAddr>().ok().map(|address| address.ip());
    node.parse::<IpAddr>().ok().or_else(of_brackets).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Field = (&'static str, &'static str);

    fn named(fields: &[Field]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client(&headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_last_that_is_not_trusted_is_the_client() {
        let cases: &[(&[Field], Option<&str>)] = &[
            (&[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.0.0.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1"), ("x-forwarded-for", "10.0.0.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "10.0.0.2,10.0.0.1")], Some("10.0.0.2")),
            (&[("x-forwarded-for", "192.0.2.1:4711")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "[2001:db8::1]:80, fd00::7")], Some("2001:db8::1")),
            (&[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=1.1.1.1")], Some("192.0.2.1")),
            (&[("forwarded", "for=192.0.2.1;proto=http, For=\"[fd00::1]:80\"")], Some("192.0.2.1")),
            (&[("forwarded", "for=192.0.2.1;host=\"a,for=1.1.1.1\\\"\"")], Some("192.0.2.1")),
            (&[], None),
        ];

        for (fields, expected) in cases {
            assert_eq!(named(fields).as_deref(), *expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_chain() {
        assert_eq!(named(&[("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.1")]), Some("10.0.0.1".to_string()));
        assert_eq!(named(&[("x-forwarded-for", "1.1.1.1, ")]), None);
        assert_eq!(named(&[("forwarded", "for=1.1.1.1, for=_hidden")]), None);
        assert_eq!(named(&[("forwarded", "for=1.1.1.1, proto=https")]), None);
    }
}
