//! Shares, and who is passed over.

use std::net::IpAddr;

use gateway_common::{Address, Port, Protocol};
use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::*;
use crate::http::counters::Counters;
use crate::http::endpoint::{EndpointKey, InUse};
use crate::http::options::Options;
use crate::model::http::{HashOf, Speech};
use crate::model::{Backend, PodId};

const NOBODY: Asker<'_> = Asker { client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), headers: None };

fn endpoint(number: u8) -> Arc<Endpoint> {
    let backend = Backend {
        address: Address::from_v4([10, 0, 0, number]),
        port: Port::new(80),
        protocol: Protocol::TCP,
        pod: PodId::from_uid(&format!("pod-{number}")),
    };
    let key = EndpointKey { backend, speech: Speech::Http, tls: 0, proxy: None, check: 0 };
    Arc::new(Endpoint::new(key, None, None, &Options { workers: 1, ..Options::default() }))
}

fn reference(weights: &[u32], picker: Picker) -> Reference {
    let members = (0..weights.len() as u8).map(|number| (endpoint(number), Arc::from("pod"))).collect();
    Reference::new(members, weights.to_vec(), picker, Arc::default())
}

fn client(number: u32) -> Asker<'static> {
    Asker { client: IpAddr::from(number.to_be_bytes()), headers: None }
}

/// How often each is chosen, one request after the other.
fn counts<'a>(reference: &Reference, askers: impl IntoIterator<Item = Asker<'a>>) -> Vec<u32> {
    let mut counts = vec![0; reference.members.len()];
    for asker in askers {
        counts[reference.choose(&asker).unwrap().member] += 1;
    }
    counts
}

fn fail(reference: &Reference, member: usize) {
    for _ in 0..5 {
        reference.members[member].0.note_failure(&Counters::default());
    }
}

/// Opens so many requests, chosen one after the other, none of which ends.
fn open(reference: &Reference, requests: usize) -> Vec<InUse> {
    let choose = |_| InUse::new(&reference.members[reference.choose(&NOBODY).unwrap().member].0);
    (0..requests).map(choose).collect()
}

#[test]
fn workers_that_share_a_cursor_give_exact_shares_together() {
    let cursor = Arc::new(AtomicU64::new(7));
    let workers = [(); 3].map(|()| Wheel::new(&[5, 3, 1], Arc::clone(&cursor)));
    let mut counts = [0; 3];

    for turn in 0..900 {
        let wheel = &workers[turn % 3];
        counts[wheel.member(wheel.turn().unwrap())] += 1;
    }

    assert_eq!(counts, [500, 300, 100]);
}

#[test]
fn requests_that_end_before_the_next_one_are_shared_exactly_by_least_requests_too() {
    for picker in [Picker::WeightedRoundRobin, Picker::LeastRequests] {
        let reference = reference(&[5, 0, 3, 1], picker);

        assert_eq!(counts(&reference, vec![NOBODY; 900]), [500, 0, 300, 100]);
    }
}

#[test]
fn open_requests_are_as_the_weights_and_a_busy_backend_is_left_alone() {
    let reference = reference(&[20, 10, 0], Picker::LeastRequests);
    let open_at = |member: usize| reference.members[member].0.open_requests();

    let mut opened = open(&reference, 30);
    assert_eq!([open_at(0), open_at(1), open_at(2)], [20, 10, 0]);

    // The second one's end, while those of the first stay.
    opened.retain(|open| !Arc::ptr_eq(open.endpoint(), &reference.members[1].0));
    let more = open(&reference, 10);
    assert_eq!([open_at(0), open_at(1)], [20, 10]);
    drop((opened, more));
    assert_eq!([open_at(0), open_at(1)], [0, 0]);
}

#[test]
fn of_two_at_random_the_less_busy_one_is_chosen() {
    let reference = reference(&[1, 1], Picker::TwoChoices);
    let _busy = [(); 3].map(|()| InUse::new(&reference.members[0].0));

    assert_eq!(counts(&reference, [NOBODY; 100]), [0, 100]);
    let many = reference_of_ten();
    let _opened = open(&many, 1000);
    let open_at: Vec<usize> = many.members.iter().map(|(endpoint, _)| endpoint.open_requests()).collect();
    assert!(open_at.iter().all(|open| (90..=110).contains(open)), "{open_at:?}");
}

fn reference_of_ten() -> Reference {
    reference(&[7; 10], Picker::TwoChoices)
}

#[test]
fn with_nothing_open_two_choices_are_by_weight() {
    let reference = reference(&[1, 0, 3], Picker::TwoChoices);

    let counts = counts(&reference, vec![NOBODY; 4000]);

    assert_eq!(counts[1], 0);
    assert!((800..1200).contains(&counts[0]), "{counts:?}");
}

#[test]
fn maglev_keeps_a_client_and_shares_clients_by_weight() {
    let reference = reference(&[20, 10, 0], Picker::Maglev(HashOf::Client));

    let shares = counts(&reference, (0..30_000).map(client));
    assert_eq!(shares[2], 0);
    assert!((19_400..20_600).contains(&shares[0]), "{shares:?}");
    for number in 0..100 {
        assert_eq!(reference.choose(&client(number)), reference.choose(&client(number)));
    }
    assert_eq!(counts(&reference, [NOBODY; 50]).iter().filter(|&&count| count > 0).count(), 1);
}

#[test]
fn maglev_takes_the_header_or_the_cookie_and_else_the_client() {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", HeaderValue::from_static("anna"));
    headers.insert("cookie", HeaderValue::from_static("a=b; sid=anna"));
    let with = |client: [u8; 4]| Asker { client: client.into(), headers: Some(&headers) };
    let (header, cookie) = (HashOf::Header("x-user".into()), HashOf::Cookie("sid".into()));

    assert_eq!(with([1, 2, 3, 4]).hash(&header), with([4, 3, 2, 1]).hash(&header));
    assert_eq!(with([1, 2, 3, 4]).hash(&header), with([1, 2, 3, 4]).hash(&cookie));
    for absent in [HashOf::Header("x-other".into()), HashOf::Cookie("id".into()), HashOf::Client] {
        assert_eq!(with([1, 2, 3, 4]).hash(&absent), client(0x0102_0304).hash(&HashOf::Client));
        assert_ne!(with([1, 2, 3, 4]).hash(&absent), with([4, 3, 2, 1]).hash(&absent));
    }
}

#[test]
fn what_fails_is_passed_over_by_all_unless_all_fail() {
    let pickers =
        [Picker::WeightedRoundRobin, Picker::TwoChoices, Picker::LeastRequests, Picker::Maglev(HashOf::Client)];
    for picker in pickers {
        let reference = reference(&[2, 1, 0], picker.clone());
        fail(&reference, 0);
        let shares = counts(&reference, (0..300).map(client));
        assert_eq!(shares, [0, 300, 0], "{picker:?}");

        fail(&reference, 1);
        let shares = counts(&reference, (0..300).map(client));
        assert!(shares[0] > 0 && shares[1] > 0 && shares[2] == 0, "{picker:?}: {shares:?}");
    }
}

#[test]
fn another_one_is_found_behind_each_choice() {
    for picker in [Picker::WeightedRoundRobin, Picker::LeastRequests, Picker::Maglev(HashOf::Client)] {
        let reference = reference(&[1, 1, 1], picker);
        let first = reference.choose(&NOBODY).unwrap();
        let second = reference.choose_other(first, &[first.member]).unwrap();
        let third = reference.choose_other(second, &[first.member, second.member]).unwrap();

        assert_eq!(first.member + second.member + third.member, 3);
        assert_eq!(reference.choose_other(third, &[0, 1, 2]), None);
    }
}

#[test]
fn without_weight_nothing_is_chosen() {
    assert_eq!(Wheel::new(&[0, 0], Arc::default()).turn(), None);
    for picker in [Picker::TwoChoices, Picker::LeastRequests, Picker::Maglev(HashOf::Client)] {
        assert_eq!(reference(&[0, 0], picker).choose(&NOBODY), Err(Reason::NoneReady));
    }
}

#[test]
fn a_session_stays_with_a_member_that_can_serve_and_with_any_where_none_can() {
    let reference = reference(&[1, 1], Picker::default());

    fail(&reference, 0);
    assert!(!reference.may_stay(0) && reference.may_stay(1));

    fail(&reference, 1);
    assert!(reference.may_stay(0) && reference.may_stay(1));

    let ending = self::reference(&[0, 1], Picker::default());
    assert!(!ending.may_stay(0) && ending.may_stay(1));
}
