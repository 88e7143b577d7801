//! Finds the Pods that a Service selects without looking at all of them, however many there are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::selector::Wanted;
use crate::source::{Name, Objects, Pod, Sourced};

type Found<'a> = (&'a Name, &'a Sourced<Pod>);

/// All Pods by namespace, label and value, those of one label ordered by name.
#[derive(Default)]
pub(super) struct PodsByLabel<'a> {
    /// By the hash of all three. Two labels may share one, so what is found is to be looked at.
    pods: HashMap<u64, Vec<Found<'a>>>,
    hasher: RandomState,
}

impl<'a> PodsByLabel<'a> {
    pub fn new(objects: &'a Objects) -> Self {
        let mut index = Self::default();
        for (name, found) in &objects.pods {
            for (label, value) in found.object.labels.iter() {
                let hash = index.hash(&name.namespace, label, value);
                index.pods.entry(hash).or_default().push((name, found));
            }
        }
        index
    }

    /// The Pods of a namespace that have all these labels, by name. No labels at all select nothing.
    pub fn selected(&self, namespace: &str, selector: &Wanted) -> Vec<Found<'a>> {
        let having = |(label, value): (&String, &String)| self.pods.get(&self.hash(namespace, label, value));
        // A label that no Pod has comes before all others, and nothing is selected.
        let fewest = selector.iter().map(having).min_by_key(|pods| pods.map_or(0, Vec::len)).flatten();
        let is_selected =
            |(name, found): &Found<'a>| name.namespace == namespace && found.object.labels.has_all(selector);
        fewest.into_iter().flatten().copied().filter(is_selected).collect()
    }

    fn hash(&self, namespace: &str, label: &str, value: &str) -> u64 {
        self.hasher.hash_one((namespace, label, value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{objects, pod};
    use super::*;

    #[test]
    fn only_the_pods_of_the_namespace_with_all_labels_are_selected() {
        let pods = [("shop", "b", "web"), ("shop", "a", "web"), ("shop", "c", "api"), ("bank", "d", "web")];
        let manifests: String = pods.iter().map(|(ns, name, app)| pod(ns, name, app, "10.0.0.1", "", "")).collect();
        let objects = objects(&manifests);
        let index = PodsByLabel::new(&objects);
        let selected = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect();
            index.selected("shop", &labels).into_iter().map(|(name, _)| name.name.as_str()).collect::<Vec<_>>()
        };

        assert_eq!(selected(&[("app", "web")]), ["a", "b"]);
        assert_eq!(selected(&[("app", "web"), ("version", "b")]), ["b"]);
        assert!(selected(&[("app", "web"), ("tier", "gold")]).is_empty());
        assert!(selected(&[]).is_empty());
    }
}
