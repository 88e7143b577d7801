//! Labels in little memory: a cluster has tens of thousands of Pods, and most of them say the same.
//!
//! Texts are shared among all who have them. What a label means is for selectors to say (`translate`).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Labels of one object, ordered by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        Some(&*self.0[found].1)
    }

    /// Whether every wanted label is there with its value.
    pub fn has_all(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        Self(labels.iter().map(|(key, value)| (shared(key), shared(value))).collect())
    }
}

impl From<Option<&BTreeMap<String, String>>> for Labels {
    fn from(labels: Option<&BTreeMap<String, String>>) -> Self {
        labels.map(Self::from).unwrap_or_default()
    }
}

/// The texts that somebody holds.
struct Texts {
    known: HashSet<Arc<str>>,
    /// How many there may be before those that nobody holds any more are looked for.
    limit: usize,
}

const FIRST_LIMIT: usize = 1024;

static TEXTS: LazyLock<Mutex<Texts>> =
    LazyLock::new(|| Mutex::new(Texts { known: HashSet::new(), limit: FIRST_LIMIT }));

/// The one copy of a text.
pub fn shared(text: &str) -> Arc<str> {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.known.get(text) {
        return known.clone();
    }
    if texts.known.len() >= texts.limit {
        texts.known.retain(|text| Arc::strong_count(text) > 1);
        texts.limit = FIRST_LIMIT.max(texts.known.len() * 2);
    }
    let new: Arc<str> = text.into();
    texts.known.insert(new.clone());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        assert!(Arc::ptr_eq(&shared("app"), &shared("app")));
    }

    #[test]
    fn texts_that_nobody_holds_are_forgotten() {
        for number in 0..3 * FIRST_LIMIT {
            shared(&format!("pod-template-hash-{number}"));
        }

        let texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(texts.known.len() <= 2 * FIRST_LIMIT, "{}", texts.known.len());
    }

    #[test]
    fn a_label_is_found_by_its_name() {
        let labels = Labels::from(&BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));

        assert_eq!((labels.get("b"), labels.get("c")), (Some("2"), None));
    }
}
