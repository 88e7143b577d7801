//! What belongs to hostnames, found by host: the exact name first, then the longest wildcard, then what is for every host.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::http::Hostname;

/// One thing for each hostname.
#[derive(Debug)]
pub struct Hosts<T> {
    exact: HashMap<Arc<str>, T>,
    /// The longest first, once it is settled.
    wildcards: Vec<(Hostname, T)>,
    every: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: Vec::new(), every: None }
    }
}

impl<T> Hosts<T> {
    /// What belongs to a hostname, which is made if there is none; no hostname is every host.
    pub fn get_or_insert_with(&mut self, hostname: Option<&Hostname>, make: impl FnOnce() -> T) -> &mut T {
        match hostname {
            None => self.every.get_or_insert_with(make),
            Some(Hostname::Exact(name)) => self.exact.entry(name.clone()).or_insert_with(make),
            Some(wildcard) => {
                let known = self.wildcards.iter().position(|(known, _)| known == wildcard);
                let at = known.unwrap_or_else(|| {
                    self.wildcards.push((wildcard.clone(), make()));
                    self.wildcards.len() - 1
                });
                &mut self.wildcards[at].1
            }
        }
    }

    /// To be called once everything is in.
    pub fn settle(&mut self) {
        self.wildcards.sort_by_key(|(wildcard, _)| std::cmp::Reverse(wildcard.specificity()));
    }

    /// Does something to all.
    pub fn each(&mut self, act: impl FnMut(&mut T)) {
        let wildcards = self.wildcards.iter_mut().map(|(_, thing)| thing);
        self.exact.values_mut().chain(wildcards).chain(&mut self.every).for_each(act);
    }

    /// All that is for a host, the best first.
    pub fn all<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let wildcards =
            self.wildcards.iter().filter(move |(wildcard, _)| wildcard.covers(host)).map(|(_, thing)| thing);
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.every)
    }

    /// What is best for a host.
    pub fn best(&self, host: &str) -> Option<&T> {
        self.all(host).next()
    }
}
