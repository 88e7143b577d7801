//! Frontends whose TCP connections a listener of this host takes: the datapath leaves them to it.

use gateway_common::{Address, DropReason, Event, FrontendKey, Port, Protocol};

use super::lab::{FAMILIES, Lab, Packet, Seen, address, client, node, pod, vip};
use crate::delivery::{Delivery, deliver};
use crate::parse::Family;

const VIP_PORT: u16 = 8000;

fn steered(family: Family) -> Lab {
    let lab = Lab::with_backends(family, &[1]);
    lab.tables.steer(vip(family), VIP_PORT);
    lab
}

fn to_vip(family: Family, flags: &str) -> Packet {
    Packet::tcp(client(family), 40_000, vip(family), VIP_PORT, flags)
}

#[test]
fn segments_to_a_steered_frontend_pass_and_connections_are_counted_once_each() {
    for family in FAMILIES {
        let lab = steered(family);

        for flags in ["S", "A", "FA", "R"] {
            assert_eq!(lab.receive(&to_vip(family, flags)), Seen::Passed, "{flags}");
        }

        assert_eq!((lab.tables.steered(), lab.tables.entries()), (1, 0));
    }
}

#[test]
fn a_datagram_to_the_same_address_and_port_finds_its_backend() {
    for family in FAMILIES {
        let lab = steered(family);

        let seen = lab.receive(&Packet::udp(client(family), 40_000, vip(family), VIP_PORT));

        assert_eq!((seen.backend(family), lab.tables.steered()), (0, 0));
    }
}

#[test]
fn other_ports_of_the_vip_are_refused_as_ever() {
    for family in FAMILIES {
        let lab = steered(family);
        let other = |flags| Packet::tcp(client(family), 40_000, vip(family), VIP_PORT + 1, flags);

        assert_eq!(lab.receive(&other("S")), Seen::Refused(DropReason::NoFrontend));
        assert_eq!(lab.receive(&other("A")), Seen::Refused(DropReason::NoFlow));
    }
}

#[test]
fn flows_of_before_keep_their_backend_and_the_next_connection_is_the_listeners() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        lab.connect(family, 40_000);
        lab.tables.steer(vip(family), VIP_PORT);

        assert_eq!(lab.receive(&to_vip(family, "A")).backend(family), 0);
        assert_eq!(lab.receive(&to_vip(family, "FA")).backend(family), 0);
        let _ = lab.send(&Packet::tcp(pod(family, 0), 80, client(family), 40_000, "FA"));

        assert_eq!(lab.receive(&to_vip(family, "S")), Seen::Passed);
        assert_eq!((lab.tables.entries(), lab.tables.active(0)), (0, 0));
    }
}

#[test]
fn at_a_vip_that_moved_here_what_no_socket_has_goes_on_to_the_node_that_answered_before() {
    for family in FAMILIES {
        let lab = steered(family);
        lab.tables.relay_to(node(family));

        assert_eq!(lab.receive(&to_vip(family, "A")), Seen::Relayed(node(family)));
        assert_eq!(lab.receive(&to_vip(family, "S")), Seen::Passed);
        lab.tables.connect_host(to_vip(family, "S").flow());

        for flags in ["A", "FA", "R"] {
            assert_eq!(lab.receive(&to_vip(family, flags)), Seen::Passed, "{flags}");
        }
        assert_eq!(lab.tables.event(Event::Relayed), 1);
    }
}

#[test]
fn a_delivery_is_steered_only_to_the_very_frontend() {
    for family in FAMILIES {
        let lab = steered(family);
        let other_vip = if family == Family::V4 { address("203.0.113.2") } else { address("2001:db8:f::2") };
        lab.tables.another_vip(other_vip, VIP_PORT);
        lab.tables.doubt(node(family));
        let tcp =
            |address: Address, port| deliver(&FrontendKey::new(address, Port::new(port), Protocol::TCP), &lab.tables);

        assert_eq!(tcp(vip(family), VIP_PORT), Delivery::Steer);
        assert_eq!(tcp(vip(family), VIP_PORT + 1), Delivery::Refuse);
        assert_eq!(tcp(other_vip, VIP_PORT), Delivery::Refuse, "its connections get backends");
        assert_eq!(tcp(node(family), VIP_PORT), Delivery::Pass);
        assert_eq!(tcp(client(family), VIP_PORT), Delivery::Pass);
        let udp = FrontendKey::new(vip(family), Port::new(VIP_PORT), Protocol::UDP);
        assert_eq!(deliver(&udp, &lab.tables), Delivery::Refuse);
    }
}
