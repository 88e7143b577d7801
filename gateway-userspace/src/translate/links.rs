//! Linked clusters: who may name a Service over there, and what the `ClusterLink`s' status should say.
//!
//! A grant of this cluster cannot speak for another: for a Service over there the two lists of the link decide. What was
//! known of a cluster stays known while it cannot be reached or its credentials are refused, until its link is deleted.

use std::collections::BTreeMap;

use super::endpoints::Cluster;
use super::references::{Broken, broken};
use super::statuses::{Condition, LinkStatus, ObjectStatus, Truth};

use crate::model::PodId;
use crate::source::cluster_link::ALL_NAMESPACES;
use crate::source::remote::LinkHealth;
use crate::source::{ClusterLink, Kind, Name, Objects, Remote, Sourced};

/// All linked clusters.
pub(super) struct Links<'a> {
    objects: &'a Objects,
    /// Those of which something is known, by the name of the link.
    clusters: BTreeMap<&'a str, Cluster<'a>>,
}

impl<'a> Links<'a> {
    pub fn new(objects: &'a Objects) -> Self {
        let linked = objects.cluster_links.keys().filter_map(|name| objects.remotes.get_key_value(&name.name));
        let clusters = linked.map(|(name, remote)| (&**name, Cluster::linked(&remote.objects))).collect();
        Self { objects, clusters }
    }

    /// The cluster of a link, if Upstreams of the namespace may name Services of the namespace over there.
    pub fn cluster(&self, link: &str, namespace: &str, namespace_there: &str) -> Result<&Cluster<'a>, Broken> {
        let field = "clusterRef.name";
        let name = Name::new("", link);
        let Some(Sourced { object: found, .. }) = self.objects.cluster_links.get(&name) else {
            let message =
                format!("ClusterLink {link} does not exist: create it, or leave clusterRef out for this cluster");
            let refused = broken(field, "ClusterNotFound", message);
            return Err(refused.told_if(self.objects.is_rejected(Kind::ClusterLink, &name)));
        };
        let allowed = &found.spec.allowed_namespaces;
        if !allowed.iter().any(|allowed| allowed == ALL_NAMESPACES || allowed == namespace) {
            let message = format!("ClusterLink {link} is not open to `{namespace}`: add it to its allowedNamespaces");
            return Err(broken(field, "ClusterNotAllowed", message));
        }
        if !found.spec.remote_namespaces.iter().any(|allowed| allowed == namespace_there) {
            let message = format!(
                "ClusterLink {link} does not link namespace `{namespace_there}` over there: add it to its remoteNamespaces"
            );
            return Err(broken("namespace", "NamespaceNotLinked", message));
        }
        let health = self.objects.remotes.get(link).map(|remote| &remote.health);
        let knows = health.is_some_and(|health| health.knows(namespace_there));
        self.clusters.get(link).filter(|_| knows).ok_or_else(|| {
            let message = format!(
                "nothing is known of namespace {namespace_there} of cluster {link} yet: look at the conditions of \
                 ClusterLink {link}"
            );
            // While it is merely being asked, nobody has to do anything.
            let is_asked = health.is_some_and(|health| health.unauthorized.is_none() && health.failure.is_none());
            broken(field, "ClusterNotConnected", message).told_if(is_asked)
        })
    }

    /// Every Pod over there that is known and has not ended.
    pub fn living_pods(&self) -> impl Iterator<Item = PodId> {
        self.clusters.values().flat_map(Cluster::living_pods)
    }

    /// What the links' status should say.
    pub fn statuses(&self) -> BTreeMap<Name, LinkStatus> {
        let links = self.objects.cluster_links.iter();
        links.map(|(name, found)| (name.clone(), status(&found.object, self.objects.remotes.get(&name.name)))).collect()
    }
}

fn status(link: &ClusterLink, remote: Option<&Remote>) -> LinkStatus {
    let health = remote.map(|remote| &remote.health);
    let services = remote.map_or(0, |remote| remote.objects.services.len());
    let conditions = vec![authorized(health), connected(health, services)];
    let generation = link.metadata.generation.unwrap_or(0);
    LinkStatus { status: ObjectStatus { generation, conditions }, services }
}

fn authorized(health: Option<&LinkHealth>) -> Condition {
    let (truth, reason, message) = match health {
        None => (Truth::Unknown, "Pending", "the credentials have not been looked at yet".to_string()),
        Some(LinkHealth { unauthorized: Some((reason, message)), .. }) => (Truth::False, *reason, message.clone()),
        Some(_) => (Truth::True, "Authorized", "the credentials are used".to_string()),
    };
    Condition { kind: "Authorized", truth, reason, message }
}

fn connected(health: Option<&LinkHealth>, services: usize) -> Condition {
    let kept = if services > 0 { ": the last known backends are kept" } else { "" };
    let (truth, reason, message) = match health {
        None => (Truth::Unknown, "Pending", "the cluster has not been asked yet".to_string()),
        Some(LinkHealth { unauthorized: Some(_), .. }) => {
            (Truth::False, "Unauthorized", format!("there are no credentials to be used{kept}"))
        }
        Some(LinkHealth { failure: Some(failure), .. }) => (Truth::False, "Unreachable", format!("{failure}{kept}")),
        Some(LinkHealth { synced: false, .. }) => {
            (Truth::Unknown, "Pending", "not everything has been received yet".to_string())
        }
        Some(_) => (Truth::True, "Connected", "changes over there are followed".to_string()),
    };
    Condition { kind: "Connected", truth, reason, message }
}
