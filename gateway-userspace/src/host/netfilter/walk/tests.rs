//! Chains as somebody may write them, and what becomes of a packet to a Pod in them.

use super::super::packet::Link;
use super::super::rules::{Chain, Family, Tables};
use super::*;

const POD: &str = "10.1.0.11";
const UNSURE: Fate = Fate::Unsure { dropped: true, translated: false };

fn id(name: &str) -> ChainId {
    ChainId { tables: Tables::Nftables, family: Family::Inet, table: "filter".to_owned(), name: name.to_owned() }
}

fn link(name: &str, index: u32) -> Link {
    Link { name: name.to_owned(), index }
}

fn packet() -> Packet {
    Packet::to(POD.parse().expect("an address"), 80, 6, link("eth0", 2), Some(link("cali1", 7)))
}

fn load(length: usize, from: Source) -> Step {
    Step::Load { to: 0, length, from }
}

fn equals(with: &[u8]) -> Step {
    Step::Compare { from: 0, how: Comparison::Equal, with: with.to_vec() }
}

fn to_pods() -> [Step; 2] {
    [load(2, Source::Network { offset: 16 }), equals(&[10, 1])]
}

fn from_network(octets: [u8; 2]) -> [Step; 2] {
    [load(2, Source::Network { offset: 12 }), equals(&octets)]
}

fn rule(conditions: &[Step], verdict: Verdict) -> Rule {
    conditions.iter().cloned().chain([Step::Decide(verdict)]).collect()
}

/// What becomes of a packet where the policy is to drop.
fn fate_of(packet: &Packet, chains: &[(&str, Chain)], sets: &[(SetId, Vec<Element>)]) -> Fate {
    let mut reading = Reading::default();
    for (name, chain) in chains {
        reading.chains.insert(id(name), chain.clone());
    }
    for (set, elements) in sets {
        reading.sets.insert(set.clone(), Some(elements.clone()));
    }
    let base = BaseChain::new(&id("forward"), Hook::Forward, true, false);
    Walk::new(&reading, packet, Hook::Forward).of(&id("forward"), &base)
}

fn fate(rules: &[Rule]) -> Fate {
    fate_of(&packet(), &[("forward", rules.to_vec())], &[])
}

#[test]
fn without_a_rule_the_policy_decides() {
    assert_eq!(fate(&[]), Fate::Dropped);
}

#[test]
fn a_rule_for_the_pods_lets_the_packet_through_and_one_for_others_does_not() {
    assert_eq!(fate(&[rule(&to_pods(), Verdict::Accept)]), Fate::Passes);
    let others = [load(2, Source::Network { offset: 16 }), equals(&[10, 2])];
    assert_eq!(fate(&[rule(&others, Verdict::Accept)]), Fate::Dropped);
}

#[test]
fn whichever_the_client_is_a_rule_for_some_clients_leaves_it_unsure() {
    let some = rule(&from_network([192, 0]), Verdict::Accept);
    assert_eq!(fate(std::slice::from_ref(&some)), UNSURE);
    assert_eq!(fate(&[some, rule(&[], Verdict::Accept)]), Fate::Passes);
}

#[test]
fn devices_are_known_by_name_with_and_without_an_end() {
    let by = |from: Source, name: &[u8]| [load(16, from), equals(name)];
    let mut whole = b"eth0".to_vec();
    whole.resize(16, 0);

    assert_eq!(fate(&[rule(&by(Source::InputName, &whole), Verdict::Accept)]), Fate::Passes);
    assert_eq!(fate(&[rule(&by(Source::OutputName, b"cali"), Verdict::Accept)]), Fate::Passes);
    assert_eq!(fate(&[rule(&by(Source::OutputName, b"docker"), Verdict::Accept)]), Fate::Dropped);
}

#[test]
fn replies_pass_by_the_state_that_connection_tracking_gives_them_and_first_packets_do_not() {
    let established = [
        load(4, Source::State),
        Step::Bits { from: 0, to: 0, mask: 6_u32.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Step::Compare { from: 0, how: Comparison::NotEqual, with: vec![0; 4] },
    ];
    let chains = [("forward", vec![rule(&established, Verdict::Accept)])];
    let reply = Packet::reply(POD.parse().expect("an address"), 80, 6, link("cali1", 7), link("eth0", 2));

    assert_eq!(fate_of(&reply, &chains, &[]), Fate::Passes);
    assert_eq!(fate_of(&packet(), &chains, &[]), Fate::Dropped);
}

#[test]
fn a_jump_comes_back_and_a_goto_leaves_the_rest_out() {
    let accept = vec![rule(&to_pods(), Verdict::Return), rule(&[], Verdict::Drop)];
    let with = |verdict: Verdict| {
        let forward = vec![rule(&[], verdict), rule(&[], Verdict::Accept)];
        fate_of(&packet(), &[("forward", forward), ("pods", accept.clone())], &[])
    };

    assert_eq!(with(Verdict::Jump("pods".to_owned())), Fate::Passes);
    assert_eq!(with(Verdict::Goto("pods".to_owned())), Fate::Dropped);
}

#[test]
fn a_condition_that_is_not_understood_makes_a_rule_uncertain_whatever_it_decides() {
    assert_eq!(fate(&[vec![Step::Perhaps, Step::Decide(Verdict::Accept)]]), UNSURE);
    assert_eq!(fate(&[vec![Step::Perhaps, Step::Decide(Verdict::Drop)]]), Fate::Dropped);
    assert_eq!(fate(&[rule(&[], Verdict::Unknown)]), UNSURE);
    // What was loaded before is not trusted after it.
    let stale = [load(2, Source::Network { offset: 16 }), Step::Perhaps, equals(&[10, 2])];
    assert_eq!(fate(&[rule(&stale, Verdict::Accept)]), UNSURE);
}

#[test]
fn elements_of_sets_and_maps_are_found_by_key_and_range() {
    let set = SetId { family: Family::Inet, table: "filter".to_owned(), name: "pods".to_owned() };
    let element = |low: [u8; 4], high: [u8; 4], verdict| Element { low: low.to_vec(), high: high.to_vec(), verdict };
    let lookup = [load(4, Source::Network { offset: 16 }), Step::Lookup { from: 0, set: set.clone(), outside: false }];
    let of = |rules: Rule, elements: Vec<Element>| {
        fate_of(&packet(), &[("forward", vec![rules])], &[(set.clone(), elements)])
    };
    let range = |verdict| vec![element([10, 1, 0, 0], [10, 1, 255, 255], verdict)];

    assert_eq!(of(rule(&lookup, Verdict::Accept), range(None)), Fate::Passes);
    assert_eq!(of(lookup.to_vec(), range(Some(Verdict::Accept))), Fate::Passes);
    assert_eq!(of(rule(&lookup, Verdict::Accept), vec![element([10, 2, 0, 0], [10, 2, 0, 0], None)]), Fate::Dropped);
    let mut unread = lookup.to_vec();
    unread[1] = Step::Lookup { from: 0, set: SetId { name: "other".to_owned(), ..set.clone() }, outside: false };
    assert_eq!(of(rule(&unread, Verdict::Accept), Vec::new()), UNSURE);
}

#[test]
fn a_map_of_several_fields_is_looked_up_by_all_of_them() {
    let set = SetId { family: Family::Inet, table: "filter".to_owned(), name: "services".to_owned() };
    let fields = vec![
        load(4, Source::Network { offset: 16 }),
        Step::Load { to: 4, length: 1, from: Source::Protocol },
        Step::Load { to: 8, length: 2, from: Source::Transport { offset: 2 } },
        Step::Lookup { from: 0, set: set.clone(), outside: false },
    ];
    let of = |port: u8| {
        let key = vec![10, 1, 0, 11, 6, 0, 0, 0, 0, port, 0, 0];
        let element = Element { low: key.clone(), high: key, verdict: Some(Verdict::Translate) };
        fate_of(&packet(), &[("forward", vec![fields.clone()])], &[(set.clone(), vec![element])])
    };

    assert_eq!(of(80), Fate::Translated);
    assert_eq!(of(81), Fate::Dropped);
}
