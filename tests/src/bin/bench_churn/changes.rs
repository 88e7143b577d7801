//! Changes at the API server, and when the maps show them.
//!
//! A change makes one endpoint of a Service ready or not ready, so that the Service's schedule has one slot more or
//! less. A thread of its own looks at the schedules that are to change, without a pause that matters.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use crate::bed::{self, Bed};
use crate::maps::{Groups, Programmed};

/// The pause between two looks at the maps: the resolution of what is measured.
const LOOK_PAUSE: Duration = Duration::from_micros(50);
/// The kernel adds up to this to a pause; the default would be as much as the pause itself.
const TIMER_SLACK_NS: u64 = 1000;
/// How long a change may take to be seen before something is wrong.
const LIMIT: Duration = Duration::from_secs(10);

/// How changes follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next one when the last was seen in the maps.
    OneByOne,
    /// So many under way at once, each of another Service.
    InFlight(usize),
    /// One by one, with so much time from one to the next.
    Every(Duration),
}

/// What one change took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the request to the maps.
    pub from_request: Duration,
    /// From the API server's answer to the maps; nothing if the maps were first.
    pub from_answer: Duration,
}

/// The changes of one pass.
#[derive(Debug)]
pub struct Pass {
    /// How they followed each other.
    pub pace: Pace,
    /// How many Services there were.
    pub services: usize,
    /// What each took.
    pub samples: Vec<Sample>,
}

/// Somebody waits for a schedule to have a length.
struct Expectation {
    group: u32,
    slots: u32,
    seen: oneshot::Sender<Instant>,
}

/// Makes changes, one Service after the other and around again, and measures each.
pub fn pass(bed: &Bed<'_>, programmed: &Programmed, changes: u32, pace: Pace) -> Result<Pass> {
    let groups = programmed.open()?;
    let (expect, expected) = channel();
    let looker = thread::spawn(move || look(&groups, &expected));
    let samples = bed.api.perform(async |client| {
        let changer = Changer { client, bed, programmed, groups: programmed.open()?, expect: Mutex::new(expect) };
        let began = tokio::time::Instant::now();
        let one = |number: u32| {
            let changer = &changer;
            async move {
                if let Pace::Every(time) = pace {
                    sleep_until(began + time * number).await;
                }
                changer.change(number).await
            }
        };
        let at_once = if let Pace::InFlight(count) = pace { count } else { 1 };
        stream::iter(0..changes).map(one).buffer_unordered(at_once).try_collect::<Vec<_>>().await
    });
    let looked = looker.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
    // What kept it from looking is the reason why nothing was seen.
    looked?;
    Ok(Pass { pace, services: programmed.groups.len(), samples: samples? })
}

struct Changer<'a> {
    client: Client,
    bed: &'a Bed<'a>,
    programmed: &'a Programmed,
    groups: Groups,
    expect: Mutex<Sender<Expectation>>,
}

impl Changer<'_> {
    async fn change(&self, number: u32) -> Result<Sample> {
        self.bed.interrupt.check()?;
        let services = u32::try_from(self.programmed.groups.len())?;
        let service = number % services;
        let all = self.bed.backends();
        let group = self.programmed.groups[service as usize];
        // What it is now says what the change is, so a pass need not know of those before it.
        let ready = self.groups.backends(group)? < all;
        let (seen, sight) = oneshot::channel();
        let expectation = Expectation { group, slots: if ready { all } else { all - 1 }, seen };
        let expect = self.expect.lock().ok().and_then(|expect| expect.send(expectation).ok());
        expect.context("nobody looks at the maps any more")?;

        let requested = Instant::now();
        bed::change(&self.client, service, ready).await?;
        let answered = Instant::now();

        let missing = || format!("the maps do not show change {number}, of Service {service}");
        let seen = timeout(LIMIT, sight).await.with_context(missing)?.with_context(missing)?;
        Ok(Sample {
            from_request: seen.saturating_duration_since(requested),
            from_answer: seen.saturating_duration_since(answered),
        })
    }
}

/// Looks at the schedules that somebody waits for, until nobody can wait any more.
fn look(groups: &Groups, expected: &Receiver<Expectation>) -> Result<()> {
    nix::sys::prctl::set_timerslack(TIMER_SLACK_NS)?;
    let mut open: Vec<Expectation> = Vec::new();
    loop {
        if open.is_empty() {
            match expected.recv() {
                Ok(first) => open.push(first),
                Err(_) => return Ok(()),
            }
        }
        open.extend(expected.try_iter());
        let mut rest = Vec::with_capacity(open.len());
        for expectation in open {
            if groups.backends(expectation.group)? == expectation.slots {
                // Who no longer waits has an error of his own.
                let _gone = expectation.seen.send(Instant::now());
            } else if !expectation.seen.is_closed() {
                rest.push(expectation);
            }
        }
        open = rest;
        thread::sleep(LOOK_PAUSE);
    }
}
