//! Who answers for which VIP, as seen from each node.

use super::*;

fn peer(number: u8) -> Peer {
    let addresses =
        vec![format!("192.0.2.{number}/24").parse().unwrap(), format!("2001:db8::{number}/64").parse().unwrap()];
    Peer { addresses, leaving: false }
}

fn peers(numbers: impl IntoIterator<Item = u8>) -> Peers {
    numbers.into_iter().map(|number| (format!("n{number}"), peer(number))).collect()
}

fn seen_from(own: &str, peers: &Peers) -> Neighbourhood {
    Neighbourhood::of(own, &peers[own], peers).unwrap()
}

fn vip(number: u16) -> Address {
    let [high, low] = number.to_be_bytes();
    Address::from_v4([198, 51, high, low])
}

/// The owner's name, and that all nodes agree on it.
fn owner(peers: &Peers, vip: Address, dead: &[u8]) -> String {
    let dead: BTreeSet<IpAddr> = dead.iter().map(|number| IpAddr::from([192, 0, 2, *number])).collect();
    let views = peers.keys().filter(|own| !dead.contains(&peers[*own].addresses[0].addr()));
    let owners: BTreeSet<String> = views
        .map(|own| match seen_from(own, peers).ranking(vip, None, &dead).unwrap().owner {
            Owner::Us => own.clone(),
            Owner::Other(colleague) => colleague.node,
        })
        .collect();
    assert_eq!(owners.len(), 1, "{vip}: {owners:?}");
    owners.into_iter().next().unwrap()
}

#[test]
fn vips_spread_over_all_nodes_and_all_agree() {
    let peers = peers(1..=5);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();

    for number in 0..1000 {
        *counts.entry(owner(&peers, vip(number), &[])).or_default() += 1;
    }

    assert_eq!(counts.len(), 5);
    assert!(counts.values().all(|count| (150..250).contains(count)), "{counts:?}");
}

#[test]
fn a_node_that_goes_or_dies_moves_only_its_own_vips() {
    let (all, without) = (peers(1..=5), peers([1, 2, 4, 5]));
    for number in 0..300 {
        let before = owner(&all, vip(number), &[]);
        let (gone, dead) = (owner(&without, vip(number), &[]), owner(&all, vip(number), &[3]));

        assert_eq!(gone, dead);
        assert!(before == "n3" && gone != "n3" || before == gone, "{before} {gone}");
    }
}

#[test]
fn a_node_that_leaves_answers_only_if_nobody_else_can() {
    let mut peers = peers(1..=3);
    peers.get_mut("n2").unwrap().leaving = true;

    assert!((0..100).all(|number| owner(&peers, vip(number), &[]) != "n2"));
    assert_eq!(owner(&peers, vip(1), &[1, 3]), "n2");
}

#[test]
fn what_a_node_says_of_itself_now_counts_before_the_others_know_it() {
    let peers = peers(1..=2);
    let word = Peer { leaving: true, ..peer(1) };

    let neighbourhood = Neighbourhood::of("n1", &word, &peers).unwrap();

    let is_other = |number| {
        let ranking = neighbourhood.ranking(vip(number), None, &BTreeSet::new()).unwrap();
        matches!(ranking.owner, Owner::Other(colleague) if colleague.node == "n2")
    };
    assert!((0..50).all(is_other));
}

#[test]
fn a_node_whose_lease_says_that_it_leaves_leaves_whatever_its_agent_knows_of_it() {
    let mut peers = peers(1..=2);
    peers.get_mut("n1").unwrap().leaving = true;

    let neighbourhood = Neighbourhood::of("n1", &peer(1), &peers).unwrap();

    let owner = |number| neighbourhood.ranking(vip(number), None, &BTreeSet::new()).unwrap().owner;
    assert!((0..50).all(|number| owner(number) != Owner::Us));
}

#[test]
fn a_vip_that_keeps_to_nodes_with_pods_is_found_at_one_of_them_and_anywhere_if_there_is_none() {
    let peers = peers(1..=4);
    let neighbourhood = seen_from("n1", &peers);
    let owner = |number, local: &[&str]| {
        let local = local.iter().map(|node| Arc::from(*node)).collect();
        match neighbourhood.ranking(vip(number), Some(&local), &BTreeSet::new()).unwrap().owner {
            Owner::Us => "n1".to_owned(),
            Owner::Other(colleague) => colleague.node,
        }
    };

    let owners: BTreeSet<String> = (0..100).map(|number| owner(number, &["n2", "n4", "elsewhere"])).collect();
    assert_eq!(owners.into_iter().collect::<Vec<_>>(), ["n2", "n4"]);
    let anywhere: BTreeSet<String> = (0..100).map(|number| owner(number, &[])).collect();
    assert_eq!(anywhere.len(), 4);
}

#[test]
fn a_vip_of_a_subnet_is_found_at_a_node_of_that_subnet() {
    let mut peers = peers(1..=3);
    peers.get_mut("n3").unwrap().addresses.push("203.0.113.3/24".parse().unwrap());
    peers.get_mut("n2").unwrap().addresses.push("203.0.113.2/24".parse().unwrap());
    let neighbourhood = seen_from("n3", &peers);

    let owners: Vec<Owner> = (0..50)
        .map(|last| neighbourhood.ranking(Address::from_v4([203, 0, 113, last]), None, &BTreeSet::new()).unwrap().owner)
        .collect();

    assert!(owners.contains(&Owner::Us));
    assert!(owners.iter().all(|owner| !matches!(owner, Owner::Other(colleague) if colleague.node == "n1")));
}

#[test]
fn nodes_of_another_segment_are_nobodys_neighbours() {
    let mut peers = peers(1..=2);
    peers.insert("far".to_owned(), Peer { addresses: vec!["10.9.0.1/24".parse().unwrap()], leaving: false });

    assert!((0..50).all(|number| {
        let ranking = seen_from("far", &peers).ranking(vip(number), None, &BTreeSet::new()).unwrap();
        ranking.owner == Owner::Us && ranking.next.is_none() && ranking.watched.is_empty()
    }));
    assert!(seen_from("far", &peers).is_alone() && !seen_from("n1", &peers).is_alone());
}

#[test]
fn a_node_watches_the_one_before_it_and_dead_ones_before_that() {
    let peers = peers(1..=5);
    for number in 0..100 {
        let mut left = peers.clone();
        let mut order = Vec::new();
        while !left.is_empty() {
            order.push(owner(&left, vip(number), &[]));
            left.remove(order.last().unwrap());
        }
        let address = |node: &str| peers[node].addresses[0].addr();
        let watched = |own: &str, dead: &[&str]| {
            let dead = dead.iter().map(|node| address(node)).collect();
            let mut watched = seen_from(own, &peers).ranking(vip(number), None, &dead).unwrap().watched;
            watched.sort_unstable();
            watched
        };

        assert!(watched(&order[0], &[]).is_empty());
        assert_eq!(watched(&order[2], &[]), [address(&order[1])]);
        let mut both = [address(&order[0]), address(&order[1])];
        both.sort_unstable();
        assert_eq!(watched(&order[2], &[&order[1]]), both);
        assert_eq!(watched(&order[2], &[&order[3]]), [address(&order[1])]);
    }
}

#[test]
fn the_next_is_who_would_answer_without_the_owner() {
    let peers = peers(1..=4);
    for number in 0..100 {
        let first = owner(&peers, vip(number), &[]);
        let ranking = seen_from("n1", &peers).ranking(vip(number), None, &BTreeSet::new()).unwrap();
        let mut without = peers.clone();
        without.remove(&first);

        assert_eq!(ranking.next.unwrap().node, owner(&without, vip(number), &[]));
    }
}

#[test]
fn a_node_that_is_not_known_to_live_knows_nobody() {
    assert_eq!(Neighbourhood::of("n9", &peer(9), &peers(1..=2)), None);
}

#[test]
fn packets_are_sent_on_to_an_address_of_the_vips_own_family() {
    let peers = peers(1..=2);
    let v6: Address = "2001:db8:1::1".parse::<IpAddr>().unwrap().into();
    let colleague = |vip| {
        let ranking = seen_from("n1", &peers).ranking(vip, None, &BTreeSet::new()).unwrap();
        match ranking.owner {
            Owner::Us => ranking.next.unwrap(),
            Owner::Other(colleague) => colleague,
        }
    };

    assert_eq!(colleague(vip(1)).relay, Some(IpAddr::from([192, 0, 2, 2])));
    assert_eq!(colleague(v6).relay, Some("2001:db8::2".parse().unwrap()));
    assert_eq!(colleague(v6).probe, Some(IpAddr::from([192, 0, 2, 2])));
}

#[test]
fn a_nodes_own_address_is_nobody_elses() {
    let peers = peers(1..=5);
    for number in 1..=5 {
        assert_eq!(owner(&peers, Address::from_v4([192, 0, 2, number]), &[]), format!("n{number}"));
    }
}
