//! Who gets which address: manifests in, addresses and refusals out.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::tests::objects;
use super::super::{Options, gateways, services};
use super::*;
use crate::source::Kind;

fn pool(name: &str, spec: &str) -> String {
    format!("apiVersion: beeline.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
}

fn namespace(name: &str, tier: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{tier: {tier}}}}}\n---\n")
}

/// A Service of ours: what its metadata, its spec and its status say beyond what all have.
fn service(name: &str, metadata: &str, spec: &str, status: &[&str]) -> String {
    let ingress: Vec<String> = status.iter().map(|ip| format!("{{ip: \"{ip}\"}}")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: {name}{metadata}}}\nspec: {{type: LoadBalancer, \
         loadBalancerClass: beeline.dev/direct, ports: [{{port: 80}}]{spec}}}\nstatus: {{loadBalancer: {{ingress: \
         [{}]}}}}\n---\n",
        ingress.join(", ")
    )
}

fn asking(name: &str, addresses: &str) -> String {
    service(name, &format!(", annotations: {{beeline.dev/addresses: \"{addresses}\"}}"), "", &[])
}

fn gateway(name: &str, spec: &str, status: &[&str]) -> String {
    let addresses: Vec<String> = status.iter().map(|ip| format!("{{type: IPAddress, value: \"{ip}\"}}")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{namespace: shop, name: {name}}}\nspec: \
         {{gatewayClassName: beeline, listeners: [{{name: a, port: 80, protocol: TCP}}]{spec}}}\nstatus: {{addresses: \
         [{}]}}\n---\n",
        addresses.join(", ")
    )
}

fn assigned(manifests: &str, given: &Given) -> Assignments {
    assigned_with(manifests, given, &Options::default())
}

fn assigned_with(manifests: &str, given: &Given, options: &Options) -> Assignments {
    let objects = objects(manifests);
    let services = services::ours(&objects, options);
    let gateways = gateways::ours(&objects);
    let wishes = services.iter().filter_map(|service| service.wish(options));
    let wishes: Vec<_> = wishes.chain(gateways.iter().filter_map(|gateway| gateway.wish(options))).collect();
    Assignments::of(&objects, &wishes, given, options.many_authors)
}

/// Each owner with its addresses, its refusal and its notes.
fn text(assignments: &Assignments) -> String {
    let mut out = String::new();
    for (id, Assigned { addresses, refusal, notes, .. }) in &assignments.owners {
        let addresses: Vec<String> = addresses.iter().map(|(address, _)| address.to_string()).collect();
        write!(out, "{}: {}", id.name.name, addresses.join(" ")).unwrap();
        if let Some(Refusal { reason, message, field }) = refusal {
            write!(out, " {reason} {field}: {message}").unwrap();
        }
        for (field, note) in notes {
            write!(out, " ({field}: {note})").unwrap();
        }
        out.push('\n');
    }
    out
}

fn outcome(manifests: &str) -> String {
    text(&assigned(manifests, &Given::new()))
}

const BOTH: &str = "addresses: [192.0.2.0/30, \"2001:db8::/126\"]";

#[test]
fn owners_get_the_lowest_addresses_the_oldest_first_and_then_by_name() {
    let old = service("z", ", creationTimestamp: \"2026-01-01T00:00:00Z\"", "", &[]);

    let outcome = outcome(&(pool("a", BOTH) + &service("x", "", "", &[]) + &service("b", "", "", &[]) + &old));

    assert_eq!(outcome, "b: 192.0.2.1\nx: 192.0.2.2\nz: 192.0.2.0\n");
}

#[test]
fn a_gateway_gets_one_address_of_each_family_and_a_service_those_it_names() {
    let manifests = pool("a", BOTH)
        + &gateway("g", "", &[])
        + &service("s4", "", ", ipFamilies: [IPv4]", &[])
        + &service("s6", "", ", ipFamilies: [IPv6]", &[])
        + &service("dual", "", ", ipFamilies: [IPv6, IPv4], ipFamilyPolicy: RequireDualStack", &[]);

    assert_eq!(
        outcome(&manifests),
        "dual: 2001:db8:: 192.0.2.0\ns4: 192.0.2.2\ns6: 2001:db8::2\ng: 192.0.2.1 2001:db8::1\n"
    );
}

#[test]
fn a_family_that_no_pool_has_is_missed_only_by_who_requires_it() {
    let manifests = pool("a", "addresses: [192.0.2.0/30]")
        + &gateway("g", "", &[])
        + &service("prefers", "", ", ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack", &[])
        + &service("requires", "", ", ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack", &[]);

    assert_eq!(
        outcome(&manifests),
        "prefers: 192.0.2.1\n\
         requires: 192.0.2.2 AddressNotAssigned metadata.annotations[beeline.dev/addresses]: no AddressPool with IPv6 is \
         open to namespace `shop`: create one, or name a VIP\n\
         g: 192.0.2.0\n"
    );
}

#[test]
fn an_exhausted_pool_is_named() {
    let manifests = pool("a", "addresses: [192.0.2.8/32]") + &service("s", "", "", &[]) + &gateway("t", "", &[]);

    assert_eq!(
        outcome(&manifests),
        "s: 192.0.2.8\nt:  AddressNotAssigned spec.addresses: AddressPool a has no free IPv4 or IPv6 address left: add some\n"
    );
}

#[test]
fn without_any_pool_what_is_asked_for_is_had_and_who_asks_for_nothing_is_told() {
    let manifests = asking("a", "10.0.0.1, fd00::1") + &asking("b", "10.0.0.1") + &service("c", "", "", &[]);

    assert_eq!(
        outcome(&manifests),
        "a: 10.0.0.1 fd00::1\nb: 10.0.0.1\nc:  AddressNotAssigned metadata.annotations[beeline.dev/addresses]: the Service \
         asks for no address and there is no AddressPool: name its VIPs, or create a pool\n"
    );
}

#[test]
fn the_pool_of_higher_priority_then_the_older_one_is_used_first() {
    let old = pool("old", "addresses: [192.0.2.0/32]")
        .replace("name: old", "name: old, creationTimestamp: \"2026-01-01T00:00:00Z\"");
    let pools =
        pool("a", "addresses: [198.51.100.0/32]") + &old + &pool("first", "addresses: [203.0.113.0/32], priority: 1");
    let services: String = ["s1", "s2", "s3"].iter().map(|name| service(name, "", "", &[])).collect();

    assert_eq!(outcome(&(pools + &services)), "s1: 203.0.113.0\ns2: 192.0.2.0\ns3: 198.51.100.0\n");
}

#[test]
fn a_pool_is_open_to_the_namespaces_that_it_selects() {
    let gold = pool("gold", "addresses: [192.0.2.0/24], namespaceSelector: {matchLabels: {tier: gold}}");
    let shop = asking("asks", "192.0.2.9") + &service("gets", "", "", &[]);

    let refused = outcome(&(gold.clone() + &namespace("shop", "lead") + &shop));
    assert_eq!(
        refused,
        "asks:  AddressNotUsable metadata.annotations[beeline.dev/addresses]: 192.0.2.9 is in no AddressPool that is open to \
         namespace `shop`: use an address of one, or none to get one\n\
         gets:  AddressNotAssigned metadata.annotations[beeline.dev/addresses]: no AddressPool with IPv4 or IPv6 is open to \
         namespace `shop`: create one, or name a VIP\n"
    );
    assert_eq!(outcome(&(gold + &namespace("shop", "gold") + &shop)), "asks: 192.0.2.9\ngets: 192.0.2.0\n");
}

#[test]
fn of_pools_that_overlap_the_younger_gives_out_nothing_new_and_keeps_what_it_assigned() {
    let old = pool("z", "addresses: [192.0.2.0/31]")
        .replace("name: z", "name: z, generation: 3, creationTimestamp: \"2026-01-01T00:00:00Z\"");
    let manifests = old
        + &pool("a", "addresses: [192.0.2.1-192.0.2.9], priority: 9")
        + &service("kept", "", "", &["192.0.2.7"])
        + &service("new", "", "", &[]);

    let assignments = assigned(&manifests, &Given::new());

    assert_eq!(text(&assignments), "kept: 192.0.2.7\nnew: 192.0.2.0\n");
    let statuses: Vec<_> = assignments.pool_statuses().values().collect();
    assert_eq!(statuses.iter().map(|pool| (pool.total, pool.assigned)).collect::<Vec<_>>(), [(9, 1), (2, 1)]);
    assert_eq!(statuses.iter().map(|pool| pool.status.generation).collect::<Vec<_>>(), [0, 3]);
    let conditions: Vec<_> = statuses.iter().map(|pool| pool.status.conditions[0].reason).collect();
    assert_eq!(conditions, ["Conflicted", "Accepted"]);
    assert!(statuses[0].status.conditions[0].message.starts_with("AddressPool z is older"));
}

#[test]
fn an_address_in_the_status_is_never_moved() {
    let pools = pool("a", BOTH);
    let kept = service("young", "", "", &["192.0.2.0"]) + &gateway("g", "", &["192.0.2.2", "2001:db8::2"]);
    let old = service("old", ", creationTimestamp: \"2026-01-01T00:00:00Z\"", "", &[]);

    assert_eq!(outcome(&(pools + &kept + &old)), "old: 192.0.2.1\nyoung: 192.0.2.0\ng: 192.0.2.2 2001:db8::2\n");
    assert_eq!(
        outcome(&(pool("other", "addresses: [198.51.100.0/24]") + &service("young", "", "", &["192.0.2.0"]))),
        "young: 192.0.2.0 (status.loadBalancer.ingress[0].ip: no AddressPool holds 192.0.2.0 any more: it is kept as long as \
         its owner lives)\n"
    );
}

#[test]
fn an_address_that_two_statuses_name_stays_with_the_older() {
    let young = service("a", ", creationTimestamp: \"2026-01-02T00:00:00Z\"", "", &["192.0.2.2"]);
    let old = service("b", ", creationTimestamp: \"2026-01-01T00:00:00Z\"", "", &["192.0.2.2"]);

    assert_eq!(outcome(&(pool("a", BOTH) + &young + &old)), "a: 192.0.2.0\nb: 192.0.2.2\n");
}

#[test]
fn what_was_given_stays_until_the_owner_goes() {
    let young = service("young", ", creationTimestamp: \"2026-01-02T00:00:00Z\"", "", &[]);
    let old = service("old", ", creationTimestamp: \"2026-01-01T00:00:00Z\"", "", &[]);
    let first = assigned(&(pool("a", BOTH) + &young), &Given::new());

    let second = assigned(&(pool("a", BOTH) + &young + &old), &first.given());
    assert_eq!(text(&second), "old: 192.0.2.1\nyoung: 192.0.2.0\n");

    let third = assigned(&(pool("a", BOTH) + &old), &second.given());
    assert_eq!(text(&third), "old: 192.0.2.1\n");
    let last = assigned(&(pool("a", BOTH) + &old + &service("new", "", "", &[])), &third.given());
    assert_eq!(text(&last), "new: 192.0.2.0\nold: 192.0.2.1\n");
}

#[test]
fn an_asked_for_address_that_another_has_is_refused_with_its_name() {
    let manifests = pool("a", BOTH) + &service("has", "", "", &["192.0.2.1"]) + &asking("wants", "192.0.2.1");

    assert_eq!(
        outcome(&manifests),
        "has: 192.0.2.1\nwants:  AddressNotUsable metadata.annotations[beeline.dev/addresses]: 192.0.2.1 belongs to Service \
         shop/has: use another address, or let both share it: annotation beeline.dev/allow-shared-address, of one value, in \
         one namespace\n"
    );
}

#[test]
fn a_gateway_that_names_one_address_and_wants_any_other_gets_the_other_family() {
    let addresses = ", addresses: [{value: \"192.0.2.3\"}, {type: IPAddress}]";

    assert_eq!(outcome(&(pool("a", BOTH) + &gateway("g", addresses, &[]))), "g: 192.0.2.3 2001:db8::\n");
}

fn sharing(name: &str, key: &str, port: u16, addresses: &str) -> String {
    let metadata =
        format!(", annotations: {{beeline.dev/allow-shared-address: {key}, beeline.dev/addresses: \"{addresses}\"}}");
    service(name, &metadata, "", &[]).replace("port: 80", &format!("port: {port}"))
}

#[test]
fn among_many_authors_nobody_gets_what_no_pool_holds_and_what_others_wrote_into_a_status_is_not_kept() {
    let options = Options { many_authors: true, ..Options::default() };
    let outcome = |manifests: &str| text(&assigned_with(manifests, &Given::new(), &options));
    let served_by_another = service("a", "", "", &["203.0.113.7"]);
    let ours = ", managedFields: [{manager: beeline, operation: Apply, subresource: status}]";
    let served_by_us = service("a", ours, "", &["192.0.2.1"]);

    assert!(outcome(&asking("a", "192.0.2.1")).contains("AddressNotUsable"));
    assert_eq!(outcome(&(pool("p", BOTH) + &asking("a", "192.0.2.1"))), "a: 192.0.2.1\n");
    assert_eq!(outcome(&(pool("p", BOTH) + &served_by_another)), "a: 192.0.2.0\n");
    assert_eq!(outcome(&(pool("p", BOTH) + &served_by_us)), "a: 192.0.2.1\n");
}

#[test]
fn owners_of_one_key_share_an_address_on_distinct_ports() {
    let asks = |name, key, port| sharing(name, key, port, "192.0.2.1");
    let manifests =
        pool("a", BOTH) + &asks("a", "k", 80) + &asks("b", "k", 81) + &asks("c", "k", 80) + &asks("d", "l", 82);
    let elsewhere = asks("e", "k", 83).replace("namespace: shop", "namespace: zoo");

    let outcome = outcome(&(manifests + &elsewhere));

    let addresses: Vec<&str> = outcome.lines().map(|line| &line[..14.min(line.len())]).collect();
    let refused = |name| format!("{name}:  AddressNot");
    let had = |name| format!("{name}: 192.0.2.1");
    assert_eq!(addresses, [had("a"), had("b"), refused("c"), refused("d"), refused("e")], "{outcome}");
    assert!(outcome.contains("on one of the same ports"), "{outcome}");
}

#[test]
fn owners_of_one_key_that_ask_for_nothing_get_one_address_together() {
    let without = |name, port| sharing(name, "k", port, "").replace(", beeline.dev/addresses: \"\"", "");
    let manifests = pool("a", BOTH) + &without("a", 80) + &without("b", 81) + &without("c", 80) + &without("d", 80);

    assert_eq!(outcome(&manifests), "a: 192.0.2.0\nb: 192.0.2.0\nc: 192.0.2.1\nd: 192.0.2.2\n");
}

/// A wish of a Service, made without manifests.
fn wish(number: u16, families: Vec<Family>, ports: &[u16], sharing_key: Option<&'static str>) -> Wish<'static> {
    Wish {
        id: ObjectId { kind: Kind::Service, name: Name::new("shop", format!("s{number:05}")) },
        created: None,
        asked: Vec::new(),
        families,
        need: Need::Each,
        ports: ports.iter().map(|port| (Protocol::TCP, Port::new(*port))).collect(),
        sharing_key,
        current: Vec::new(),
        field: "spec",
    }
}

/// What a status says, what is asked for, the sharing key and the ports.
type One = (Vec<Address>, Option<Address>, Option<&'static str>, Vec<u16>);

fn wishes() -> impl Strategy<Value = Vec<Wish<'static>>> {
    let current = prop::collection::vec((0u8..24).prop_map(|last| Address::from_v4([192, 0, 2, last])), 0..2);
    let asked = prop::option::weighted(0.2, (0u8..24).prop_map(|last| Address::from_v4([192, 0, 2, last])));
    let key = prop::option::of(prop::sample::select(vec!["k", "l"]));
    let one = (current, asked, key, prop::sample::subsequence(vec![80, 81, 82], 1..=2));
    prop::collection::vec(one, 0..24).prop_map(|all| {
        let with_number = |(number, (current, asked, key, ports)): (u16, One)| {
            let families = if asked.is_some() { Vec::new() } else { vec![Family::V4] };
            let mut wish = wish(number, families, &ports, key);
            wish.current = current.into_iter().map(|address| (address, String::new())).collect();
            wish.asked = asked.into_iter().map(|address| (address, String::new())).collect();
            wish
        };
        (0..).zip(all).map(with_number).collect()
    })
}

fn small_pool() -> Objects {
    objects(&pool("a", "addresses: [192.0.2.0-192.0.2.5, 192.0.2.8/29]"))
}

proptest! {
    #[test]
    fn no_address_has_two_owners_that_do_not_share_it(wishes in wishes()) {
        let assignments = Assignments::of(&small_pool(), &wishes, &Given::new(), false);

        let mut owners: BTreeMap<Address, Vec<&Wish<'_>>> = BTreeMap::new();
        for wish in &wishes {
            for (address, _) in assignments.addresses(&wish.id) {
                owners.entry(*address).or_default().push(wish);
            }
        }
        for owners in owners.values() {
            let key = owners[0].sharing_key;
            let all_agree = key.is_some() && owners.iter().all(|owner| owner.sharing_key == key);
            prop_assert!(owners.len() == 1 || all_agree);
        }
    }

    #[test]
    fn what_was_assigned_once_stays_whoever_comes(wishes in wishes(), split in 0usize..24) {
        let split = split.min(wishes.len());
        let before = Assignments::of(&small_pool(), &wishes[split..], &Given::new(), false);

        let after = Assignments::of(&small_pool(), &wishes, &before.given(), false);

        // An address that a newcomer's status names is the newcomer's: a status is the stronger word. So is an owner's own,
        // if it names what another had before.
        let named: BTreeSet<Address> =
            wishes[..split].iter().flat_map(|wish| wish.current.iter().map(|(address, _)| *address)).collect();
        for wish in wishes[split..].iter().filter(|wish| wish.asked.is_empty()) {
            let had = before.addresses(&wish.id);
            let has = |address: &Address| had.iter().any(|(known, _)| known == address);
            let is_settled = !had.is_empty() && wish.current.iter().all(|(address, _)| has(address));
            if is_settled && had.iter().all(|(address, _)| !named.contains(address)) {
                prop_assert_eq!(had.first().map(|(ip, _)| ip), after.addresses(&wish.id).first().map(|(ip, _)| ip));
            }
        }
    }

    #[test]
    fn a_new_address_is_the_lowest_that_nobody_has(mut wishes in wishes()) {
        for wish in &mut wishes {
            wish.sharing_key = None;
        }
        let before = Assignments::of(&small_pool(), &wishes, &Given::new(), false);
        let taken: BTreeSet<Address> =
            wishes.iter().flat_map(|wish| before.addresses(&wish.id)).map(|(address, _)| *address).collect();
        let free = (0..6).chain(8..16).map(|last| Address::from_v4([192, 0, 2, last])).find(|ip| !taken.contains(ip));

        let newcomer = wish(60_000, vec![Family::V4], &[80], None);
        wishes.push(newcomer.clone());
        let after = Assignments::of(&small_pool(), &wishes, &before.given(), false);

        prop_assert_eq!(after.addresses(&newcomer.id).first().map(|(address, _)| *address), free);
    }
}

#[test]
fn ten_thousand_owners_and_pools_of_any_size_take_no_time() {
    let objects = objects(&pool("a", "addresses: [10.0.0.0/8, \"2001:db8::/64\"]"));
    let both = || vec![Family::V4, Family::V6];
    let wishes: Vec<Wish<'_>> = (0..10_000).map(|number| wish(number, both(), &[80], Some("k"))).collect();
    let started = Instant::now();

    let assignments = Assignments::of(&objects, &wishes, &Given::new(), false);

    // A search that begins anew for each owner takes a hundred times as long as this.
    assert!(started.elapsed() < Duration::from_secs(5));
    let last = assignments.addresses(&wishes[9_999].id);
    assert_eq!(last.iter().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>(), ["10.0.39.15", "2001:db8::270f"]);
    assert_eq!(assignments.pool_statuses()[&Name::new("", "a")].total, u64::MAX);
}
