//! What the kernel's routes, rules and filters would do with a packet that comes by a device: asked of the kernel itself.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::Host;
use super::routes::family;

const REFUSED: [i32; 6] =
    [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL, libc::EAGAIN, libc::EXDEV];

/// Where a packet would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Out by the device with this index.
    By(u32),
    /// To a process of the host, or to nobody.
    Nowhere,
    /// No route, or one that refuses, or its source is not believed at the device it comes by: the kernel tells these
    /// apart in some versions only.
    Refused,
}

impl Host {
    /// What would become of a packet between two addresses that comes by this device.
    pub fn forwarded(&mut self, from: IpAddr, to: IpAddr, input: u32) -> io::Result<Forwarded> {
        let length = if to.is_ipv4() { 32 } else { 128 };
        let mut request = RouteMessage::default();
        request.header.address_family = family(to);
        request.header.destination_prefix_length = length;
        request.header.source_prefix_length = length;
        request.attributes = vec![
            RouteAttribute::Destination(to.into()),
            RouteAttribute::Source(from.into()),
            RouteAttribute::Iif(input),
        ];
        match self.netlink.ask(RouteNetlinkMessage::GetRoute(request)) {
            Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(read(&answer)),
            Ok(_) => Err(io::Error::other(format!("the kernel's answer about the way to {to} is none"))),
            Err(error) => match error.raw_os_error() {
                Some(code) if REFUSED.contains(&code) => Ok(Forwarded::Refused),
                _ => Err(error),
            },
        }
    }
}

fn read(answer: &RouteMessage) -> Forwarded {
    let output = answer.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(device) => Some(*device),
        _ => None,
    });
    match (answer.header.kind, output) {
        (RouteType::Unicast, Some(device)) => Forwarded::By(device),
        (RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit, _) => Forwarded::Refused,
        _ => Forwarded::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_refuses_is_none_and_a_local_one_leads_out_by_nothing() {
        let answer = |kind| {
            let mut answer = RouteMessage::default();
            answer.header.kind = kind;
            answer.attributes = vec![RouteAttribute::Oif(7)];
            read(&answer)
        };

        assert_eq!(answer(RouteType::Unicast), Forwarded::By(7));
        assert_eq!(answer(RouteType::Prohibit), Forwarded::Refused);
        assert_eq!(answer(RouteType::Local), Forwarded::Nowhere);
    }
}
