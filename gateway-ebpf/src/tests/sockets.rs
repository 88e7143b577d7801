//! Sockets that reach for a VIP and are given a backend before there is a packet.

use std::cell::UnsafeCell;

use gateway_common::{Address, DropReason, Event, Port, Protocol, SocketEntry, SocketKey};

use super::lab::{FAMILIES, Lab, address, client, pod, tally, vip};
use super::memory::Memory;
use crate::parse::Family;
use crate::socket::{Choice, Endpoint, Socket, Sockets, connect, is_stale, known_as, send};
use crate::tables::Tables;

const VIP_PORT: u16 = 8000;
const UDP_TIMEOUT_SECONDS: u64 = 60;

impl Sockets for Memory {
    fn socket(&self, key: &SocketKey) -> Option<&mut SocketEntry> {
        // SAFETY: the tests are single-threaded, and an entry is replaced only between look-ups.
        self.sockets.borrow().get(key).map(|entry| unsafe { &mut *entry.get() })
    }

    fn remember_socket(&self, key: &SocketKey, entry: &SocketEntry) {
        self.sockets.borrow_mut().insert(*key, Box::new(UnsafeCell::new(*entry)));
    }

    fn forget_socket(&self, key: &SocketKey) {
        self.sockets.borrow_mut().remove(key);
    }

    fn count_selected(&self, _frontend: u32, _backend: u32) {
        self.count_event(Event::SocketSelected);
    }

    fn count_moved(&self) {
        self.count_event(Event::SocketMoved);
    }
}

/// A socket by its cookie, in a namespace, maybe bound.
struct Plain {
    cookie: u64,
    namespace: u64,
    bound_to: Option<Address>,
}

impl Socket for Plain {
    fn cookie(&self) -> u64 {
        self.cookie
    }

    fn namespace(&self) -> u64 {
        self.namespace
    }

    fn bound_to(&self) -> Option<Address> {
        self.bound_to
    }
}

fn socket(cookie: u64) -> Plain {
    Plain { cookie, namespace: 1, bound_to: None }
}

fn endpoint(address: Address, port: u16) -> Endpoint {
    Endpoint { address, port: Port::new(port) }
}

fn frontend(family: Family) -> Endpoint {
    endpoint(vip(family), VIP_PORT)
}

fn backend(family: Family, index: usize) -> Endpoint {
    endpoint(pod(family, index), 80)
}

/// Which Pod a choice leads to.
#[track_caller]
fn chosen(choice: Choice, family: Family) -> usize {
    let Choice::Peer(peer) = choice else { panic!("no peer but {choice:?}") };
    (0..8).find(|index| backend(family, *index) == peer).expect("a Pod")
}

#[test]
fn sockets_that_connect_land_by_weight_on_the_cursors_that_packets_use() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[5, 3, 1]);
        let one = |cookie| chosen(connect(&frontend(family), Protocol::TCP, &socket(cookie), &lab.tables), family);

        let landed: Vec<_> = (0..450).map(one).collect();
        let rest = lab.connect_many(0..450);

        assert_eq!((tally(&landed), rest), (vec![250, 150, 50], vec![250, 150, 50]));
        assert_eq!(lab.tables.event(Event::SocketSelected), 450);
    }
}

#[test]
fn a_peer_is_called_by_the_vips_name_by_its_own_socket_alone() {
    let family = Family::V6;
    let lab = Lab::with_backends(family, &[1]);
    let _chosen = connect(&frontend(family), Protocol::TCP, &socket(1), &lab.tables);

    assert_eq!(known_as(&backend(family, 0), &socket(1), &lab.tables), Some(frontend(family)));
    assert_eq!(known_as(&backend(family, 0), &socket(2), &lab.tables), None);
    assert_eq!(known_as(&frontend(family), &socket(1), &lab.tables), None);
}

#[test]
fn what_is_no_frontend_is_left_alone() {
    let family = Family::V4;
    let lab = Lab::with_backends(family, &[1]);
    let strange = address("192.0.2.7");
    lab.tables.doubt(strange);
    let tcp = |peer: &Endpoint| connect(peer, Protocol::TCP, &socket(1), &lab.tables);

    assert_eq!(tcp(&endpoint(vip(family), 81)), Choice::Leave);
    assert_eq!(tcp(&endpoint(strange, VIP_PORT)), Choice::Leave);
    assert_eq!(send(&endpoint(client(family), VIP_PORT), &socket(1), &lab.tables), Choice::Leave);
    assert!(lab.tables.sockets.borrow().is_empty());
}

#[test]
fn what_connects_to_a_steered_frontend_is_left_alone_and_counted_and_its_datagrams_are_not_meant() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        lab.tables.steer(vip(family), VIP_PORT);

        assert_eq!(connect(&frontend(family), Protocol::TCP, &socket(1), &lab.tables), Choice::Leave);
        assert_eq!(send(&frontend(family), &socket(1), &lab.tables), Choice::Peer(backend(family, 0)));

        assert_eq!((lab.tables.steered(), lab.tables.event(Event::SocketSelected)), (1, 1));
    }
}

#[test]
fn a_share_without_backends_is_refused() {
    let family = Family::V4;
    let lab = Lab::with_groups(family, &[(1, &[])]);
    let refused = Choice::Refuse(DropReason::NoBackend);

    assert_eq!(connect(&frontend(family), Protocol::TCP, &socket(1), &lab.tables), refused);
    assert_eq!(send(&frontend(family), &socket(1), &lab.tables), refused);
    assert_eq!(lab.tables.event(Event::SocketSelected), 0);
}

#[test]
fn datagrams_of_a_socket_stay_together_as_long_as_they_come() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1, 1]);
        let one = |cookie| chosen(send(&frontend(family), &socket(cookie), &lab.tables), family);

        let (first, second) = (one(1), one(2));
        assert_eq!((first, second), (0, 1));
        for _ in 0..3 {
            lab.tables.advance_seconds(UDP_TIMEOUT_SECONDS - 1);
            assert_eq!(one(1), first);
        }
        assert_eq!(known_as(&backend(family, first), &socket(1), &lab.tables), Some(frontend(family)));
        lab.tables.advance_seconds(UDP_TIMEOUT_SECONDS);

        let later: Vec<_> = [1, 1, 2].map(one).into();
        assert_eq!(later, [0, 0, 1], "the schedule went on with two selections");
        assert_eq!((lab.tables.event(Event::SocketSelected), lab.tables.event(Event::SocketMoved)), (4, 0));
    }
}

#[test]
fn datagrams_move_when_their_backend_is_gone_and_stay_when_it_only_loses_its_weight() {
    let family = Family::V4;
    let lab = Lab::with_backends(family, &[1, 1]);
    let one = || chosen(send(&frontend(family), &socket(1), &lab.tables), family);
    assert_eq!(one(), 0);

    lab.tables.schedule_only(1);
    assert_eq!((one(), lab.tables.event(Event::SocketMoved)), (0, 0));
    lab.tables.retire(0);
    assert_eq!((one(), lab.tables.event(Event::SocketMoved)), (1, 1));
    assert_eq!((one(), lab.tables.event(Event::SocketMoved)), (1, 1));
}

#[test]
fn a_connected_socket_is_stale_once_its_backend_is_gone() {
    let family = Family::V6;
    let lab = Lab::with_backends(family, &[1]);
    let _chosen = connect(&frontend(family), Protocol::UDP, &socket(1), &lab.tables);
    let stale = |cookie| is_stale(cookie, &backend(family, 0), &lab.tables);

    assert_eq!([1, 2].map(stale), [false, false]);
    lab.tables.retire(0);
    assert_eq!([1, 2].map(stale), [true, false], "a socket that found the Pod by itself is no business of ours");
}

#[test]
fn a_socket_that_then_connects_to_its_pod_by_itself_is_no_business_of_ours_any_more() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        let (vip, pod) = (frontend(family), backend(family, 0));
        let direct = |cookie| connect(&pod, Protocol::UDP, &socket(cookie), &lab.tables);
        for cookie in [1, 2] {
            assert_eq!(chosen(send(&vip, &socket(cookie), &lab.tables), family), 0);
        }

        assert_eq!(direct(1), Choice::Leave);
        assert_eq!(known_as(&pod, &socket(1), &lab.tables), None);
        assert_eq!(known_as(&pod, &socket(2), &lab.tables), Some(vip), "another socket's is kept");
        assert_eq!(send(&vip, &socket(1), &lab.tables), Choice::Peer(pod));
        assert_eq!(known_as(&pod, &socket(1), &lab.tables), Some(vip));

        lab.tables.doubt(pod.address);
        assert_eq!(direct(2), Choice::Leave);
        lab.tables.retire(0);
        assert_eq!([1, 2].map(|cookie| is_stale(cookie, &pod, &lab.tables)), [true, false]);
    }
}

#[test]
fn with_affinity_a_namespace_stays_with_its_backend_and_another_gets_the_next() {
    let family = Family::V4;
    let lab = Lab::with_backends(family, &[1, 1]);
    lab.tables.stick_for_seconds(100);
    let one = |cookie, namespace| {
        let socket = Plain { cookie, namespace, bound_to: None };
        chosen(connect(&frontend(family), Protocol::TCP, &socket, &lab.tables), family)
    };

    assert_eq!([one(1, 1), one(2, 1), one(3, 2), one(4, 2), one(5, 1)], [0, 0, 1, 1, 0]);
    lab.tables.retire(0);
    assert_eq!(one(6, 1), 0, "selected anew, and the schedule still has it");
    lab.tables.advance_seconds(100);
    assert_eq!(one(7, 2), 1);
}

#[test]
fn a_restricted_frontend_judges_a_bound_socket_and_leaves_one_that_is_not_bound() {
    for family in FAMILIES {
        let lab = Lab::with_backends(family, &[1]);
        lab.tables.restrict_to(&[(address("198.51.100.0"), 24), (address("2001:db8:c::"), 48)]);
        let bound = |address| Plain { bound_to: address, ..socket(1) };
        let one = |address| connect(&frontend(family), Protocol::TCP, &bound(address), &lab.tables);

        assert_eq!(one(Some(client(family))), Choice::Peer(backend(family, 0)));
        assert_eq!(one(Some(pod(family, 3))), Choice::Refuse(DropReason::SourceDenied));
        assert_eq!(one(None), Choice::Leave);
    }
}
