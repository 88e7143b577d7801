//! Changes of headers, compiled.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use crate::model::http::HeaderChanges;

/// Headers to set, to add and to remove, in this order.
#[derive(Debug, Default)]
pub struct Edits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Edits {
    /// Compiles changes.
    pub fn new(changes: &HeaderChanges) -> Self {
        Self {
            set: changes.set.iter().filter_map(pair).collect(),
            add: changes.add.iter().filter_map(pair).collect(),
            remove: changes.remove.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok()).collect(),
        }
    }

    /// Compiles those of a request. The host is no header like others: whoever sets it rewrites the host, and nobody
    /// removes it or adds another.
    pub fn of_request(changes: &HeaderChanges) -> (Self, Option<HeaderValue>) {
        let mut edits = Self::new(changes);
        let host = edits.set.iter().find(|(name, _)| name == HOST).map(|(_, value)| value.clone());
        edits.set.retain(|(name, _)| name != HOST);
        edits.add.retain(|(name, _)| name != HOST);
        edits.remove.retain(|name| name != HOST);
        (edits, host)
    }

    /// Changes headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn pair((name, value): &(String, String)) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
}
