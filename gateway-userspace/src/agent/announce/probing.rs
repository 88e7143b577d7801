//! Whether other nodes are still there: each is asked on the wire for its own address, again and again.
//!
//! A node's kernel answers whether its agent lives or not, so only a node or a link that is dead is silent. Time is an
//! argument, and who asks and hears is somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Between two questions to a node.
const PERIOD: Duration = Duration::from_millis(750);
/// How long the last answer may take.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many questions must stay without an answer.
const MISSES: u32 = 3;

/// The nodes that are watched.
#[derive(Debug, Default)]
pub struct Probing {
    targets: BTreeMap<IpAddr, Target>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Target {
    /// When it was asked last.
    asked: Option<Instant>,
    /// How often it was asked since it answered last.
    unanswered: u32,
    is_dead: bool,
}

impl Probing {
    /// Watches these nodes and no others; those that were watched before are known as before.
    pub fn watch(&mut self, wanted: &BTreeSet<IpAddr>) {
        self.targets.retain(|address, _| wanted.contains(address));
        for address in wanted {
            self.targets.entry(*address).or_default();
        }
    }

    /// The nodes to be asked now.
    pub fn due(&mut self, now: Instant) -> Vec<IpAddr> {
        let due = self.targets.iter_mut().filter(|(_, target)| target.asked.is_none_or(|asked| asked + PERIOD <= now));
        due.map(|(address, target)| {
            target.asked = Some(now);
            target.unanswered += 1;
            *address
        })
        .collect()
    }

    /// A node could not be asked, so its silence says nothing.
    pub fn not_asked(&mut self, address: IpAddr) {
        if let Some(target) = self.targets.get_mut(&address) {
            target.unanswered = 0;
        }
    }

    /// A node has answered; says whether it was taken for dead.
    pub fn answered(&mut self, address: IpAddr) -> bool {
        let Some(target) = self.targets.get_mut(&address) else { return false };
        target.unanswered = 0;
        std::mem::take(&mut target.is_dead)
    }

    /// Takes nodes for dead that have not answered, and names them. To be asked only after all that was heard until then
    /// was told.
    pub fn judge(&mut self, now: Instant) -> Vec<IpAddr> {
        let overdue = self.targets.iter_mut().filter(|(_, target)| target.is_overdue(now));
        overdue
            .map(|(address, target)| {
                target.is_dead = true;
                *address
            })
            .collect()
    }

    /// Nobody can be heard for now: what was not answered says nothing.
    pub fn pause(&mut self) {
        for target in self.targets.values_mut() {
            (target.asked, target.unanswered) = (None, 0);
        }
    }

    /// The nodes that are taken for dead.
    pub fn dead(&self) -> BTreeSet<IpAddr> {
        self.targets.iter().filter(|(_, target)| target.is_dead).map(|(address, _)| *address).collect()
    }

    /// When there is something to ask or to judge.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let next = |target: &Target| {
            let Some(asked) = target.asked else { return now };
            let is_last = target.unanswered >= MISSES && !target.is_dead;
            asked + if is_last { PATIENCE } else { PERIOD }
        };
        self.targets.values().map(next).min()
    }
}

impl Target {
    fn is_overdue(&self, now: Instant) -> bool {
        !self.is_dead && self.unanswered >= MISSES && self.asked.is_some_and(|asked| asked + PATIENCE <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn watching(start: Instant) -> Probing {
        let mut probing = Probing::default();
        probing.watch(&BTreeSet::from([NODE]));
        assert_eq!(probing.due(start), [NODE]);
        probing.answered(NODE);
        probing
    }

    /// Lets time pass; the node answers as long as it is alive. Says when it was taken for dead.
    fn pass(probing: &mut Probing, start: Instant, dies: Duration, end: Duration) -> Option<Duration> {
        let mut now = start;
        while now < start + end {
            now = probing.next(now).expect("something is watched").max(now + Duration::from_millis(1));
            for address in probing.due(now) {
                if now < start + dies {
                    assert!(!probing.answered(address));
                }
            }
            if !probing.judge(now).is_empty() {
                return Some(now - start);
            }
        }
        None
    }

    #[test]
    fn a_node_that_is_cut_off_is_dead_within_three_seconds() {
        let start = Instant::now();
        for cut in [0, 100, 749, 750, 751, 2000] {
            let cut = Duration::from_millis(cut);
            let mut probing = watching(start);

            let died = pass(&mut probing, start, cut, Duration::from_mins(1)).expect("it died");

            assert!(
                died > cut + Duration::from_millis(1500) && died < cut + Duration::from_secs(3),
                "{cut:?}: {died:?}"
            );
            assert_eq!(probing.dead(), BTreeSet::from([NODE]));
        }
    }

    #[test]
    fn a_node_that_answers_lives_and_one_that_misses_two_questions_too() {
        let start = Instant::now();
        let mut probing = watching(start);
        assert_eq!(pass(&mut probing, start, Duration::from_mins(9), Duration::from_mins(1)), None);

        let mut now = start + Duration::from_mins(1);
        for _ in 0..20 {
            for _ in 1..MISSES {
                now += PERIOD;
                assert_eq!(probing.due(now), [NODE]);
                assert!(probing.judge(now + PATIENCE).is_empty());
            }
            probing.answered(NODE);
        }
    }

    #[test]
    fn a_dead_node_is_asked_on_and_lives_when_it_answers() {
        let start = Instant::now();
        let mut probing = watching(start);
        let died = start + pass(&mut probing, start, Duration::ZERO, Duration::from_mins(1)).expect("it died");

        assert_eq!(probing.due(died + PERIOD), [NODE]);
        assert!(probing.judge(died + PERIOD * 9).is_empty(), "it died once");
        assert!(probing.answered(NODE));
        assert!(probing.dead().is_empty());
    }

    #[test]
    fn an_agent_that_stood_still_asks_again_before_it_judges() {
        let start = Instant::now();
        let mut probing = watching(start);
        let later = start + Duration::from_mins(5);

        assert!(probing.judge(later).is_empty());
        assert_eq!(probing.due(later), [NODE]);
        assert!(probing.judge(later + PATIENCE).is_empty());
    }

    #[test]
    fn a_link_that_was_down_kills_nobody() {
        let start = Instant::now();
        let mut probing = watching(start);
        probing.due(start + PERIOD);
        probing.due(start + PERIOD * 2);
        probing.pause();

        let up = start + PERIOD * 9;
        assert!(probing.judge(up).is_empty());
        assert_eq!(probing.due(up), [NODE]);
        assert!(probing.judge(up + PATIENCE).is_empty());
    }

    #[test]
    fn who_is_watched_on_is_known_and_who_is_not_is_forgotten() {
        let start = Instant::now();
        let other = IpAddr::from([192, 0, 2, 2]);
        let mut probing = watching(start);
        pass(&mut probing, start, Duration::ZERO, Duration::from_mins(1)).expect("it died");

        probing.watch(&BTreeSet::from([NODE, other]));
        assert_eq!(probing.dead(), BTreeSet::from([NODE]));
        probing.watch(&BTreeSet::from([other]));
        probing.watch(&BTreeSet::from([NODE]));
        assert!(probing.dead().is_empty());
    }
}
