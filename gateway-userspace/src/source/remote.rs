//! What is known of another cluster, over a `ClusterLink`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Objects;

/// Another cluster's objects: Services, slices and Pods by their metadata alone, of the namespaces that its link names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remote {
    /// The objects; what is not mentioned above is never in here.
    pub objects: Objects,
    /// How the link does.
    pub health: LinkHealth,
}

/// How a link does. What was known of a cluster that cannot be reached stays known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkHealth {
    /// Why the credentials are not used: the condition's reason and a message.
    pub unauthorized: Option<(&'static str, String)>,
    /// Everything was received at least once.
    pub synced: bool,
    /// The namespaces over there of which everything was received at least once.
    pub received: BTreeSet<Arc<str>>,
    /// Why news do not come at present.
    pub failure: Option<String>,
}

impl LinkHealth {
    /// Whether a namespace over there was received: what is known of it then stays known, however others do.
    pub fn knows(&self, namespace: &str) -> bool {
        self.synced || self.received.contains(namespace)
    }
}
