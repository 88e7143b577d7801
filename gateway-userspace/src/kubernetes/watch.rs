//! Follows one collection of the API server for as long as it is asked to.
//!
//! What is there at first comes as the beginning of the watch itself (a streaming list) where the server can do that, so
//! that never more than one object is held in full; else in pages. After that only news come. When the connection
//! breaks, the watch resumes where it was; only if the server has forgotten that place is everything listed again.
//! Nobody is told of a connection that breaks and comes back at once. What is known stays whatever happens here.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::allowance::{Allowance, Held, Tempo};
use super::backoff::{Backoff, Pace, chance};
use super::change::{Change, Item};
use super::decode::{self, Head};
use super::discovery::served_version;
use super::exchange::{Lines, Trouble, ask, whole};
use super::resource::Resource;
use super::seen::Seen;

/// How long a watch is asked to last: up to this, and not less than three quarters, so that agents do not come back together.
const WATCH_TIME: Duration = Duration::from_mins(5);

/// A list of more pages than this has no end.
const MOST_PAGES: usize = 10_000;

/// One collection that is followed.
pub(super) struct Watch {
    client: Client,
    resource: Resource,
    news: UnboundedSender<Change>,
    /// Where the status of objects is noted, if we write to it.
    seen: Option<Arc<Seen>>,
    pace: Pace,
    allowance: Allowance,
    /// What is known, as far as it counts.
    held: Held,
    /// The version of the API that the server serves, as far as is known.
    api: &'static str,
    /// Where the watch stands; nothing before the first list and when the server has forgotten the place.
    place: Option<String>,
    /// The server can begin a watch with what is there.
    streams: bool,
    /// The server has no such collection at present, and this was said.
    absent: bool,
    /// What was said last.
    health: Option<Result<(), String>>,
    /// The watch has worked since the last attempt began.
    lived: bool,
    /// Counts up when a kind may have been defined.
    definitions: Option<watch::Receiver<u64>>,
}

impl Watch {
    pub(super) fn new(client: Client, resource: Resource, news: UnboundedSender<Change>, pace: Pace) -> Self {
        let (api, allowance) = (resource.versions[0], Allowance::own());
        Self {
            client,
            resource,
            news,
            seen: None,
            pace,
            held: Held::new(&allowance),
            allowance,
            api,
            place: None,
            streams: true,
            absent: false,
            health: None,
            lived: false,
            definitions: None,
        }
    }

    /// Has the status of the objects noted, too.
    pub(super) fn noting(mut self, seen: Arc<Seen>) -> Self {
        self.seen = Some(seen);
        self
    }

    /// Takes no more from the server than it may send.
    pub(super) fn within(mut self, allowance: Allowance) -> Self {
        self.held = Held::new(&allowance);
        self.allowance = allowance;
        self
    }

    /// While there is no such kind, looks again whenever this counts up.
    pub(super) fn looking_at(mut self, definitions: watch::Receiver<u64>) -> Self {
        self.definitions = Some(definitions);
        self
    }

    /// Follows until nobody listens any more.
    pub(super) async fn follow(mut self) {
        let mut backoff = Backoff::new(&self.pace);
        while !self.news.is_closed() {
            self.lived = false;
            let begun = Instant::now();
            let outcome = self.attempt().await;
            self.held.abandon();
            // One that ends soon after it began is slowed down, the more so if everything must be listed again.
            let forgotten = matches!(outcome, Err(Trouble::Gone));
            let least = if forgotten { self.pace.longest } else { self.pace.settled };
            let lasted = self.lived && begun.elapsed() >= least;
            if lasted {
                backoff.reset();
            }
            let wait = match outcome {
                Ok(()) if lasted => Duration::ZERO,
                Ok(()) => backoff.next(),
                Err(trouble) => {
                    let wait = self.cope(trouble, &mut backoff).await;
                    if lasted && forgotten { Duration::ZERO } else { wait }
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.definition() => backoff.reset(),
            }
        }
    }

    /// Waits for a definition that may be of the kind that is missing.
    async fn definition(&mut self) {
        if self.absent
            && let Some(definitions) = &mut self.definitions
            && definitions.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// What to do about a trouble, and how long to wait before the next attempt.
    async fn cope(&mut self, trouble: Trouble, backoff: &mut Backoff) -> Duration {
        debug!(scope = %self.resource.scope, %trouble, "a watch has ended");
        let mut least = Duration::ZERO;
        match trouble {
            Trouble::Gone => self.place = None,
            // It works again only when the server has told everything within bounds.
            Trouble::TooMuch(text) => {
                self.place = None;
                self.say(Err(text));
                least = self.pace.longest;
            }
            Trouble::Unfit(_) if self.place.is_none() && self.streams => {
                self.streams = false;
                return Duration::ZERO;
            }
            Trouble::Missing if self.resource.is_optional() => {
                self.place = None;
                match served_version(&self.client, &self.resource, self.pace.answer).await {
                    Ok(None) => self.say_absent(),
                    Ok(Some(version)) if version != self.api => {
                        self.api = version;
                    }
                    // It has appeared since, or is about to go; the next attempt will tell.
                    Ok(Some(_)) => {}
                    Err(trouble) => self.say(Err(trouble.to_string())),
                }
            }
            Trouble::Failed(text, asked) => {
                least = asked.unwrap_or_default().min(self.pace.longest);
                // The first break of a watch that worked is everyday life, and so is a new kind that asks for a moment.
                let is_everyday = self.lived || (self.absent && asked.is_some());
                if !is_everyday {
                    self.say(Err(text));
                }
            }
            Trouble::Missing | Trouble::Unfit(_) => self.say(Err(trouble.to_string())),
        }
        backoff.next().max(least)
    }

    /// Lists if needed, and watches until the watch ends.
    async fn attempt(&mut self) -> Result<(), Trouble> {
        if self.place.is_none() && !self.streams {
            self.list().await?;
        }
        self.watch().await
    }

    /// Reads everything in pages.
    async fn list(&mut self) -> Result<(), Trouble> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let url = self.resource.list(self.api, next.as_deref());
            let answer = ask(&self.client, &url, self.resource.accept(true), self.pace.answer).await?;
            let bytes = whole(answer, self.pace.answer, &self.allowance).await?;
            let mut page = decode::page(&self.resource.scope, &bytes).map_err(Trouble::failed)?;
            page.items.retain(|item| self.resource.scope.holds(item.id()));
            let size = bytes.len() / page.items.len().max(1);
            // They are smaller than the bytes that they were made from.
            drop(bytes);
            for item in &page.items {
                self.held.add(item.id(), size)?;
            }
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                self.replace(items, page.version);
                return Ok(());
            }
        }
        Err(Trouble::failed("the API server sends a list without an end"))
    }

    /// Everything that is there is known.
    fn replace(&mut self, items: Vec<Item>, place: String) {
        self.place = Some(place);
        self.absent = false;
        self.held.replace();
        self.tell(Change::Replace(self.resource.scope.clone(), items));
        self.say(Ok(()));
    }

    /// Watches until the watch ends. If nothing is known yet, it begins with what is there.
    async fn watch(&mut self) -> Result<(), Trouble> {
        let seconds = WATCH_TIME.mul_f64(0.75 + 0.25 * chance()).as_secs();
        let url = self.resource.watch(self.api, self.place.as_deref(), seconds);
        let answer = ask(&self.client, &url, self.resource.accept(false), self.pace.answer).await?;
        let mut lines = Lines::of(answer, &self.allowance);
        let begun = Instant::now();
        let mut tempo = Tempo::new(&self.allowance);
        let mut initial = self.place.is_none().then(Vec::new);
        loop {
            let line = match self.patience(initial.is_some(), begun) {
                Patience::Wait(time) => lines.next(time).await,
                Patience::Settle(time) => {
                    let Ok(line) = timeout(time, lines.next(self.pace.quiet)).await else {
                        self.live();
                        continue;
                    };
                    line
                }
            };
            // A server that is silent or breaks off in the middle of its beginning is asked for pages next time.
            self.streams &= matches!(line, Ok(_) | Err(Trouble::TooMuch(_))) || initial.is_none();
            let Some(line) = line? else { return Ok(()) };
            let before = initial.as_ref().map(Vec::len);
            self.read(line, &mut initial)?;
            // What adds to the beginning is bounded by itself.
            if initial.as_ref().map(Vec::len) <= before {
                tempo.next().await;
            }
        }
    }

    /// How long the next line may take.
    fn patience(&self, initial: bool, begun: Instant) -> Patience {
        if initial {
            Patience::Wait(self.pace.answer)
        } else if self.lived {
            Patience::Wait(self.pace.quiet)
        } else {
            Patience::Settle(self.pace.settled.saturating_sub(begun.elapsed()))
        }
    }

    /// Takes in one line of a watch.
    fn read(&mut self, line: &[u8], initial: &mut Option<Vec<Item>>) -> Result<(), Trouble> {
        let head = decode::head(line).map_err(Trouble::failed)?;
        let scope = &self.resource.scope;
        match &*head.kind {
            "ERROR" => return Err(Trouble::of(head.object.code, &head.object.message, None)),
            "BOOKMARK" => {}
            "ADDED" | "MODIFIED" | "DELETED" if !scope.holds(&head.id(scope)) => {
                debug!(%scope, "the API server sent an object that was not asked for");
            }
            "DELETED" => {
                let id = head.id(scope);
                if let Some(items) = initial {
                    items.retain(|item| *item.id() != id);
                } else {
                    self.held.remove(&id);
                    self.tell(Change::Delete(scope.clone(), id));
                }
            }
            "ADDED" | "MODIFIED" => {
                let item = decode::event(scope, line).map_err(Trouble::failed)?;
                if let Some(items) = initial {
                    self.held.add(item.id(), line.len())?;
                    items.push(item);
                } else {
                    self.held.set(item.id(), line.len())?;
                    self.tell(Change::Apply(scope.clone(), item));
                }
            }
            other => debug!(%scope, "the API server sent an event of the unknown type `{other}`"),
        }
        self.advance(head, initial);
        Ok(())
    }

    /// Notes the place that a line has brought the watch to.
    fn advance(&mut self, head: Head, initial: &mut Option<Vec<Item>>) {
        let metadata = head.object.metadata;
        let ends = metadata.annotations.and_then(|annotations| annotations.initial_events_end);
        match initial {
            Some(items) if ends.as_deref() == Some("true") => {
                let items = std::mem::take(items);
                *initial = None;
                self.replace(items, metadata.resource_version);
                self.live();
            }
            // A watch that breaks before its beginning is told begins anew.
            Some(_) => {}
            None => {
                if !metadata.resource_version.is_empty() {
                    self.place = Some(metadata.resource_version);
                }
                self.live();
            }
        }
    }

    /// The watch works.
    fn live(&mut self) {
        self.lived = true;
        self.say(Ok(()));
    }

    /// There is no such kind here, so there are no objects of it.
    fn say_absent(&mut self) {
        if !self.absent {
            self.absent = true;
            self.tell(Change::Replace(self.resource.scope.clone(), Vec::new()));
        }
        self.api = self.resource.versions[0];
        self.say(Ok(()));
    }

    /// Says how the watch does, if that is news.
    fn say(&mut self, health: Result<(), String>) {
        if self.health.as_ref() != Some(&health) {
            self.health = Some(health.clone());
            self.tell(Change::Health(self.resource.scope.clone(), health));
        }
    }

    fn tell(&self, mut change: Change) {
        if let Some(seen) = &self.seen {
            if matches!(change, Change::Replace(..)) {
                seen.serve(self.resource.scope.kind(), self.api);
            }
            seen.take_in(&mut change);
        }
        // If nobody listens any more, `follow` ends soon.
        let _ = self.news.send(change);
    }
}

enum Patience {
    /// So long for a sign of life, after which silence is one, too.
    Settle(Duration),
    /// So long, after which the connection is dead.
    Wait(Duration),
}

#[cfg(test)]
mod tests;
