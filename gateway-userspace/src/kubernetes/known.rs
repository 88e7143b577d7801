//! What is known of the cluster: every [`Change`] leaves its mark here, in the order of arrival.
//!
//! Nothing is forgotten because something fails: an object that becomes invalid keeps its last good version, a watch that
//! breaks keeps its objects, a cluster that cannot be reached keeps all of them. Only a deletion takes away. No clock, no IO.

mod news;
mod pods;
mod remotes;

use std::collections::{BTreeMap, BTreeSet};

pub use self::news::{News, ServiceNews};
use self::pods::Pods;
use super::change::{Change, Item, Scope};
use crate::source::{Kind, ObjectId, Objects, Problem};

/// The single objects that are wanted, each with the number of its wish: one that was not wanted for a moment has another.
pub(super) type Wishes = BTreeMap<Scope, u64>;

/// What is known, and how well.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: Objects,
    pods: Pods,
    /// What is wrong with objects, by the link that they came over (none for this cluster) and their name.
    problems: BTreeMap<(Option<String>, ObjectId), Vec<Problem>>,
    /// What is watched, and what of it was never received yet.
    missing: BTreeSet<Scope>,
    /// The watches that do not do well.
    failures: BTreeMap<Scope, String>,
    /// The single objects that something refers to, each with the number of its wish.
    referred: Wishes,
    /// How many wishes there have been.
    wishes: u64,
    news: News,
}

impl Known {
    /// Nothing is known yet of what will be watched.
    pub(super) fn awaiting(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let missing = scopes.into_iter().collect();
        let mut known = Self { missing, news: News::Everything, ..Self::default() };
        known.judge();
        known
    }

    pub(super) const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What is wrong with objects, in the order of their names.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.problems.values().flatten().cloned().collect()
    }

    /// Why watches fail, and which.
    pub(super) const fn failures(&self) -> &BTreeMap<Scope, String> {
        &self.failures
    }

    /// What was never received yet.
    pub(super) const fn missing(&self) -> &BTreeSet<Scope> {
        &self.missing
    }

    /// The version of Pods up to which everything is known: what `pods` says of it.
    pub(super) fn pod_revision(&self) -> u64 {
        self.pods.revision(&self.objects)
    }

    /// These are the single objects that something refers to now. What others were is forgotten; one that is wanted again
    /// has another number then, and must be received anew.
    pub(super) fn refer(&mut self, wanted: &BTreeSet<Scope>) -> &Wishes {
        for (scope, _) in self.referred.extract_if(.., |scope, _| !wanted.contains(scope)) {
            if let Scope::Named(kind, name) = &scope {
                let id = ObjectId { kind: *kind, name: (**name).clone() };
                self.objects.remove(&id);
                self.objects.rejected.remove(&id);
                self.problems.remove(&(None, id));
            }
            self.missing.remove(&scope);
            self.failures.remove(&scope);
        }
        for scope in wanted {
            if !self.referred.contains_key(scope) {
                self.wishes += 1;
                self.missing.insert(scope.clone());
                self.referred.insert(scope.clone(), self.wishes);
            }
        }
        if self.judge() {
            self.news = News::Everything;
        }
        &self.referred
    }

    /// Takes a change in. Says whether what is known differs in anything but a Pod's version.
    pub(super) fn apply(&mut self, change: Change) -> bool {
        // A watch that nobody wants any more may have told something before it ended.
        if change.scope().is_some_and(|scope| scope.is_one() && !self.referred.contains_key(scope)) {
            return false;
        }
        if self.is_common(&change) {
            return self.apply_common(change);
        }
        let differs = match change {
            Change::Apply(scope, item) => self.take(&scope, item),
            Change::Delete(scope, id) => self.delete(&scope, &id),
            Change::Replace(scope, items) => self.replace(&scope, items),
            Change::Health(scope, health) => match health {
                Ok(()) => self.failures.remove(&scope).is_some(),
                Err(text) => {
                    // One object that may not be read holds up no other: whoever refers to it is told.
                    let was_awaited = scope.is_one() && self.missing.remove(&scope);
                    self.failures.insert(scope, text.clone()) != Some(text) || was_awaited
                }
            },
            Change::Remote(link, change) => self.apply_remote(&link, *change),
            Change::Link(link, health) => {
                let remote = self.objects.remotes.entry(link).or_default();
                let differs = remote.health != health;
                remote.health = health;
                differs
            }
            Change::Unlink(link) => {
                self.problems.retain(|(of, _), _| of.as_deref() != Some(&*link));
                self.objects.remotes.remove(&link).is_some()
            }
            Change::Definitions(definitions) => {
                let differs = self.objects.definitions != definitions;
                self.objects.definitions = definitions;
                differs
            }
        };
        let differs = self.judge() || differs;
        if differs {
            self.news = News::Everything;
        }
        differs
    }

    /// What is different since this was last asked.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    fn take(&mut self, scope: &Scope, item: Item) -> bool {
        let differs = self.note(None, &item);
        match item {
            Item::Good(entry, ..) if entry.id.kind == Kind::Pod => {
                self.objects.rejected.remove(&entry.id);
                self.pods.apply(&mut self.objects, scope, entry) || differs
            }
            Item::Good(entry, ..) => {
                self.objects.rejected.remove(&entry.id);
                if self.objects.get(&entry.id).as_ref() == Some(&entry.object) {
                    return differs;
                }
                self.objects.insert(entry);
                true
            }
            Item::Bad(id, _) => {
                if self.objects.get(&id).is_none() {
                    self.objects.rejected.insert(id);
                }
                differs
            }
        }
    }

    fn delete(&mut self, scope: &Scope, id: &ObjectId) -> bool {
        let had_problems = self.problems.remove(&(None, id.clone())).is_some();
        let was_rejected = self.objects.rejected.remove(id);
        let was_there = if id.kind == Kind::Pod {
            self.pods.delete(&mut self.objects, scope, &id.name)
        } else {
            let was_there = self.objects.get(id).is_some();
            self.objects.remove(id);
            was_there
        };
        was_there || had_problems || was_rejected
    }

    fn replace(&mut self, scope: &Scope, items: Vec<Item>) -> bool {
        let kind = scope.kind();
        let mut differs = self.missing.remove(scope);
        let listed: BTreeSet<_> = items.iter().map(|item| item.id().name.clone()).collect();
        let known = match scope {
            Scope::LocalPods => self.pods.local_names(),
            Scope::All(_) | Scope::Within(..) => self.objects.names(kind),
            Scope::Named(_, name) => vec![(**name).clone()],
        };
        let rejected = self.objects.rejected.iter().filter(|id| id.kind == kind && scope.holds(id));
        let rejected = rejected.map(|id| id.name.clone());
        let gone: Vec<_> = known.into_iter().chain(rejected).filter(|name| !listed.contains(name)).collect();
        for name in gone {
            differs |= self.delete(scope, &ObjectId { kind, name });
        }
        for item in items {
            differs |= self.take(scope, item);
        }
        differs
    }

    /// Keeps what is wrong with an object, until it is good or gone.
    fn note(&mut self, link: Option<&str>, item: &Item) -> bool {
        let (Item::Good(_, problems, _) | Item::Bad(_, problems)) = item;
        if problems.is_empty() && self.problems.is_empty() {
            return false;
        }
        let key = (link.map(ToString::to_string), item.id().clone());
        if problems.is_empty() {
            return self.problems.remove(&key).is_some();
        }
        let mut problems = problems.clone();
        if matches!(item, Item::Bad(..)) && link.is_none() && self.objects.get(item.id()).is_some() {
            for problem in &mut problems {
                problem.message.push_str("; its last good version keeps serving");
            }
        }
        if let Some(link) = link {
            for problem in &mut problems {
                problem.object = format!("{} of cluster {link}", problem.object);
            }
        }
        self.problems.insert(key, problems.clone()) != Some(problems)
    }

    /// Whether objects may be missing that an earlier process knew.
    fn judge(&mut self) -> bool {
        let links = self.objects.cluster_links.keys().map(|link| self.objects.remotes.get(&link.name));
        // Nobody waits for a link that is known not to work.
        let connecting = |health: &crate::source::remote::LinkHealth| {
            !health.synced && health.failure.is_none() && health.unauthorized.is_none()
        };
        let link_is_awaited = links.into_iter().any(|remote| remote.is_none_or(|remote| connecting(&remote.health)));
        let incomplete = !self.missing.is_empty() || !self.objects.rejected.is_empty() || link_is_awaited;
        let pods = Scope::All(Kind::Pod);
        let knows_all_pods = !self.missing.contains(&pods) && !self.failures.contains_key(&pods);
        let before = (self.objects.incomplete, self.objects.knows_all_pods);
        (self.objects.incomplete, self.objects.knows_all_pods) = (incomplete, knows_all_pods);
        before != (incomplete, knows_all_pods)
    }
}

#[cfg(test)]
mod tests;
