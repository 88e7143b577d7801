//! What becomes of a VIP while nodes come, go and speak.

use gateway_common::Address;

use super::*;

const VIP: Address = Address::from_v4([192, 0, 2, 100]);
const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const SECOND: Duration = Duration::from_secs(1);

fn colleague() -> Colleague {
    Colleague { node: "n2".to_owned(), probe: Some(NODE), relay: Some(NODE) }
}

fn other() -> Answerer {
    Answerer::Node(Owner::Other(colleague()))
}

const US: Answerer = Answerer::Node(Owner::Us);

/// A book and its clock.
struct World {
    book: Book,
    now: Instant,
    dead: BTreeSet<IpAddr>,
    is_first: bool,
    is_informed: bool,
}

impl World {
    fn new(vips: &[(Address, Duty)]) -> Self {
        let vip = |duty: &Duty| Vip {
            frontends: 1,
            answers: duty.answers.into(),
            relay: duty.relay.unwrap_or(Address::UNSPECIFIED),
        };
        let vips = vips.iter().map(|(address, duty)| (*address, vip(duty))).collect();
        let now = Instant::now();
        Self { book: Book::adopt(&vips, now), now, dead: BTreeSet::new(), is_first: true, is_informed: true }
    }

    /// A book in which another node answers.
    fn yielded() -> Self {
        let mut world = Self::new(&[]);
        world.settle(other());
        world.is_first = false;
        world
    }

    /// A book in which this node answers and has announced it.
    fn owning() -> Self {
        let mut world = Self::yielded();
        world.settle(US);
        world.announcements(10 * SECOND);
        world.now += RELAY_TIME;
        world.book.pass(world.now);
        world
    }

    fn settle(&mut self, answerer: Answerer) {
        let Self { now, is_first, is_informed, .. } = *self;
        let moment = Moment { now, is_first, is_informed, dead: &self.dead };
        self.book.settle(VIP, answerer, Some(&colleague()), &moment);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.book.pass(self.now);
    }

    fn duty(&self) -> Duty {
        self.book.duties()[&VIP]
    }

    /// How often the VIP is announced in this time.
    fn announcements(&mut self, time: Duration) -> usize {
        let end = self.now + time;
        let mut count = 0;
        while self.now < end {
            count += self.book.due(self.now).len();
            self.now += Duration::from_millis(50);
        }
        count
    }
}

const NOTHING: Duty = Duty { answers: false, relay: None };
const ALL: Duty = Duty { answers: true, relay: None };

fn with_relay() -> Duty {
    Duty { answers: true, relay: Some(NODE.into()) }
}

#[test]
fn a_vip_that_is_taken_over_is_announced_three_times_within_a_second_and_sends_on_for_a_while() {
    let mut world = World::yielded();

    world.settle(US);

    assert_eq!(world.duty(), with_relay());
    assert_eq!(world.announcements(SECOND + Duration::from_millis(100)), 3);
    assert_eq!(world.announcements(SECOND * 60), 0);
    world.pass(RELAY_TIME);
    assert_eq!(world.duty(), ALL);
}

#[test]
fn nothing_is_sent_on_to_a_node_that_is_dead() {
    let mut world = World::yielded();
    world.dead.insert(NODE);
    world.settle(US);
    assert_eq!(world.duty(), ALL);

    let mut world = World::yielded();
    world.settle(US);
    world.book.forget_relays(&BTreeSet::from([NODE]));
    assert_eq!(world.duty(), ALL);
}

#[test]
fn a_vip_is_given_up_when_the_successor_has_announced_it() {
    let mut world = World::owning();
    world.settle(other());
    world.pass(SECOND);
    assert_eq!(world.duty(), ALL);
    assert!(world.book.is_yielding());

    assert!(world.book.announced_by_another(VIP, true));

    assert_eq!(world.duty(), NOTHING);
    assert!(!world.book.is_yielding());
}

#[test]
fn a_vip_is_given_up_though_nobody_was_heard_to_announce_it() {
    let mut world = World::owning();
    world.settle(other());
    let end = world.book.next().expect("it is yielded");

    world.pass(end - world.now);

    assert_eq!(world.duty(), NOTHING);
    assert!(end <= world.now + SECOND);
}

#[test]
fn who_yields_sends_on_as_long_as_he_answers_and_who_gets_it_back_announces_it_again() {
    let mut world = World::yielded();
    world.settle(US);
    world.announcements(SECOND * 2);
    world.settle(other());
    assert_eq!(world.duty(), with_relay());

    world.settle(US);
    assert_eq!(world.duty(), with_relay());
    assert_eq!(world.announcements(SECOND * 2), 3);

    world.settle(other());
    assert!(world.book.announced_by_another(VIP, true));
    assert_eq!(world.duty(), NOTHING);
}

#[test]
fn an_announcement_of_somebody_else_changes_nothing_for_one_who_knows_better() {
    let mut world = World::owning();

    assert!(!world.book.announced_by_another(VIP, true));
    assert!(!world.book.announced_by_another(Address::from_v4([192, 0, 2, 101]), false));

    assert_eq!(world.duty(), ALL);
}

#[test]
fn one_who_does_not_know_leaves_a_vip_to_who_announces_it_until_he_knows_again() {
    let mut world = World::owning();
    assert!(world.book.announced_by_another(VIP, false));
    assert_eq!(world.duty(), NOTHING);

    world.is_informed = false;
    world.settle(US);
    assert_eq!(world.duty(), NOTHING);
    world.is_informed = true;
    world.settle(US);

    assert_eq!(world.duty(), with_relay());
    assert_eq!(world.announcements(SECOND * 2), 3);
}

#[test]
fn a_new_agent_goes_on_as_the_one_before_it_did() {
    let mut world = World::new(&[(VIP, with_relay())]);

    world.settle(US);

    assert_eq!(world.duty(), with_relay());
    assert_eq!(world.announcements(SECOND * 2), 0);
    world.pass(RELAY_TIME);
    assert_eq!(world.duty(), ALL);
}

#[test]
fn a_node_that_comes_back_sends_on_to_who_stood_in_for_it_and_a_new_vip_has_no_such_one() {
    let mut world = World::new(&[(VIP, NOTHING)]);
    world.settle(US);
    assert_eq!(world.duty(), with_relay());

    let mut world = World::new(&[]);
    world.is_first = false;
    world.settle(US);
    assert_eq!(world.duty(), ALL);
}

#[test]
fn what_the_network_routes_is_not_answered() {
    let mut world = World::owning();

    world.settle(Answerer::Network("far".to_owned()));

    assert_eq!(world.duty(), NOTHING);
    assert_eq!(world.book.answerers()[&VIP.to_string()], "the network (pool far)");
}

#[test]
fn a_link_that_comes_up_hears_of_all_vips_of_this_node() {
    let mut world = World::owning();

    world.book.announce_again(world.now);

    assert_eq!(world.announcements(SECOND * 2), 3);
}

#[test]
fn many_vips_are_announced_in_portions() {
    let now = Instant::now();
    let duty = |number: u16| (Address::from_v4([10, 1, (number >> 8) as u8, number as u8]), ALL);
    let vips: Vec<_> = (0..1000).map(duty).collect();
    let mut world = World::new(&vips);
    world.book.announce_again(now);

    assert_eq!(world.book.due(now).len(), AT_ONCE);
    assert_eq!(world.book.due(now).len(), 0);
    world.now = now;
    assert_eq!(world.announcements(SECOND * 3), 3000 - AT_ONCE);
}
