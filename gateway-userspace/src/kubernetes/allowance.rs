//! How much a server may send: our own API server whatever it has, a linked cluster's no more than makes sense.
//!
//! A linked cluster is another's, who may mean no good. All that comes over one link is counted together, in bytes as
//! they come: what is being read, and the objects that are known. So such a server can make the agent neither grow
//! without end nor work without pause. What is known already stays, whatever is refused.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::exchange::Trouble;
use crate::source::ObjectId;

const MB: usize = 1 << 20;
/// An object of no bytes at all has a place in memory, too.
const LEAST: usize = 512;
/// A buffer that is empty keeps no more than this.
const SPARE: usize = 64 << 10;

/// What one server may send.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    /// The longest line of a watch, and so the largest object.
    line: usize,
    /// The longest answer that is read as a whole: a page of a list.
    answer: usize,
    /// How many events of one watch are taken in within a second; more have to wait.
    events_a_second: u32,
    /// All of it.
    total: usize,
    used: Arc<AtomicUsize>,
}

impl Allowance {
    /// That of our own API server. Only a line that never ends is too much.
    pub(super) fn own() -> Self {
        let used = Arc::default();
        Self { line: 32 * MB, answer: usize::MAX, events_a_second: u32::MAX, total: usize::MAX, used }
    }

    /// That of a linked cluster's. The largest objects of a real one have half a megabyte.
    pub(super) fn linked() -> Self {
        Self { line: 2 * MB, answer: 8 * MB, events_a_second: 200, total: 64 * MB, used: Arc::default() }
    }

    /// One of some bytes in all, and half of that in one answer, and in one line.
    #[cfg(test)]
    pub(super) fn small(total: usize) -> Self {
        Self { line: total / 2, answer: total / 2, total, ..Self::linked() }
    }

    /// Refuses a line of a watch that is too long, whole or not.
    pub(super) fn check_line(&self, length: usize) -> Result<(), Trouble> {
        if length > self.line { Err(self.too_much("in one line of a watch", self.line)) } else { Ok(()) }
    }

    /// Refuses an answer that is too long.
    pub(super) fn check_answer(&self, length: usize) -> Result<(), Trouble> {
        if length > self.answer { Err(self.too_much("in one answer", self.answer)) } else { Ok(()) }
    }

    fn is_limited(&self) -> bool {
        self.total < usize::MAX
    }

    fn take(&self, bytes: usize) -> Result<(), Trouble> {
        if self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.total {
            self.give(bytes);
            return Err(self.too_much("in all", self.total));
        }
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn too_much(&self, place: &str, limit: usize) -> Trouble {
        let limit = limit / MB;
        let less = if self.is_limited() { ", or link fewer of its namespaces" } else { "" };
        let text = format!("the API server sends more than {limit} MB {place}: look for what is so large there{less}");
        Trouble::TooMuch(text)
    }
}

/// Bytes that are being read.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    allowance: Allowance,
}

impl Buffer {
    pub(super) fn new(allowance: &Allowance) -> Self {
        Self { bytes: Vec::new(), allowance: allowance.clone() }
    }

    /// Adds bytes at the end.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.allowance.take(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes bytes off the beginning.
    pub(super) fn discard(&mut self, count: usize) {
        self.allowance.give(self.bytes.drain(..count).len());
        if self.bytes.is_empty() {
            self.bytes.shrink_to(SPARE);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.allowance.give(self.bytes.len());
    }
}

/// What is known of one collection, and what is being told of it anew: the larger of both counts, since the one comes in
/// the place of the other. Of our own API server's nothing is counted.
#[derive(Debug)]
pub(super) struct Held {
    allowance: Allowance,
    known: Sizes,
    fresh: Sizes,
    counted: usize,
}

#[derive(Debug, Default)]
struct Sizes {
    objects: HashMap<ObjectId, usize>,
    sum: usize,
}

impl Held {
    pub(super) fn new(allowance: &Allowance) -> Self {
        Self { allowance: allowance.clone(), known: Sizes::default(), fresh: Sizes::default(), counted: 0 }
    }

    /// An object of what is being told anew. One that is told twice lies in memory twice.
    pub(super) fn add(&mut self, id: &ObjectId, bytes: usize) -> Result<(), Trouble> {
        if !self.allowance.is_limited() {
            return Ok(());
        }
        let bytes = bytes.max(LEAST);
        *self.fresh.objects.entry(id.clone()).or_default() += bytes;
        self.fresh.sum += bytes;
        self.count()
    }

    /// All has been told anew.
    pub(super) fn replace(&mut self) {
        self.known = std::mem::take(&mut self.fresh);
        self.count_less();
    }

    /// What was told anew and did not become whole is dropped.
    pub(super) fn abandon(&mut self) {
        self.fresh = Sizes::default();
        self.count_less();
    }

    /// An object that is new, or in the place of the one before.
    pub(super) fn set(&mut self, id: &ObjectId, bytes: usize) -> Result<(), Trouble> {
        if !self.allowance.is_limited() {
            return Ok(());
        }
        let before = self.known.put(id, bytes.max(LEAST));
        let counted = self.count();
        if counted.is_err() {
            self.known.put(id, before);
        }
        counted
    }

    /// An object that is gone.
    pub(super) fn remove(&mut self, id: &ObjectId) {
        self.known.put(id, 0);
        self.count_less();
    }

    fn count(&mut self) -> Result<(), Trouble> {
        let sum = self.known.sum.max(self.fresh.sum);
        if sum > self.counted {
            self.allowance.take(sum - self.counted)?;
            self.counted = sum;
        }
        self.count_less();
        Ok(())
    }

    fn count_less(&mut self) {
        let sum = self.known.sum.max(self.fresh.sum);
        if sum < self.counted {
            self.allowance.give(self.counted - sum);
            self.counted = sum;
        }
    }
}

impl Sizes {
    /// Sets the size of an object, 0 for none; gives the one before.
    fn put(&mut self, id: &ObjectId, size: usize) -> usize {
        let before = if size == 0 { self.objects.remove(id) } else { self.objects.insert(id.clone(), size) };
        let before = before.unwrap_or_default();
        self.sum = self.sum - before + size;
        before
    }
}

/// Lets no more events through in a second than a watch may have.
#[derive(Debug)]
pub(super) struct Tempo {
    limit: u32,
    taken: u32,
    since: Instant,
}

impl Tempo {
    pub(super) fn new(allowance: &Allowance) -> Self {
        Self { limit: allowance.events_a_second, taken: 0, since: Instant::now() }
    }

    /// Waits until one more may come. What came too quickly comes in one go, once a second.
    pub(super) async fn next(&mut self) {
        let end = self.since + Duration::from_secs(1);
        if self.taken == self.limit {
            sleep_until(end).await;
        }
        if Instant::now() >= end {
            (self.taken, self.since) = (0, Instant::now());
        }
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Kind, Name};

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: Kind::Service, name: Name::new("shop", name) }
    }

    fn too_much_in_all() -> Result<(), Trouble> {
        Err(Allowance::linked().too_much("in all", 64 * MB))
    }

    #[test]
    fn what_is_read_and_what_is_known_over_a_link_count_together_until_they_are_gone() {
        let allowance = Allowance::linked();
        let (mut one, mut other) = (Held::new(&allowance), Held::new(&allowance));
        let mut buffer = Buffer::new(&allowance);
        one.set(&id("a"), 40 * MB).unwrap();
        one.set(&id("a"), 30 * MB).unwrap();
        other.set(&id("b"), 30 * MB).unwrap();
        buffer.extend(&vec![0; 4 * MB]).unwrap();

        assert_eq!(buffer.extend(b"x"), too_much_in_all());
        assert_eq!(other.set(&id("c"), 1), too_much_in_all());
        buffer.discard(MB);
        buffer.extend(b"x").unwrap();
        drop(buffer);
        one.remove(&id("a"));
        other.replace();
        assert_eq!(allowance.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_known_counts_until_something_else_is_in_its_place() {
        let allowance = Allowance::linked();
        let (mut one, mut other) = (Held::new(&allowance), Held::new(&allowance));
        one.set(&id("a"), 40 * MB).unwrap();

        one.add(&id("b"), 50 * MB).unwrap();
        assert_eq!(one.add(&id("c"), 15 * MB), too_much_in_all());
        one.abandon();
        assert_eq!(other.set(&id("d"), 30 * MB), too_much_in_all());
        one.add(&id("b"), 10 * MB).unwrap();
        assert_eq!(other.set(&id("d"), 30 * MB), too_much_in_all());
        one.replace();
        other.set(&id("d"), 30 * MB).unwrap();
    }

    #[test]
    fn many_objects_of_almost_nothing_are_too_much_in_the_end() {
        let mut held = Held::new(&Allowance::linked());

        let refused = (0..1_000_000).find(|number| held.add(&id(&number.to_string()), 1).is_err());

        assert_eq!(refused, Some(64 * MB / LEAST));
    }

    #[test]
    fn our_own_server_may_have_as_many_objects_as_it_likes() {
        let mut held = Held::new(&Allowance::own());

        for name in ["a", "b"] {
            held.add(&id(name), usize::MAX).unwrap();
            held.set(&id(name), usize::MAX).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_come_too_quickly_come_in_one_go_once_a_second() {
        let mut tempo = Tempo::new(&Allowance { events_a_second: 3, ..Allowance::linked() });
        let start = Instant::now();

        let mut times = Vec::new();
        for _ in 0..7 {
            tempo.next().await;
            times.push(start.elapsed().as_secs());
        }

        assert_eq!(times, [0, 0, 0, 1, 1, 1, 2]);
    }
}
