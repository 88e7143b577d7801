//! What is known of another cluster, over a `ClusterLink`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

use super::{EndpointSlice, Name, Pod, Sourced};

/// Another cluster's Services and what stands behind them, of the namespaces that its link names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remote {
    /// Services.
    pub services: BTreeMap<Name, Sourced<Service>>,
    /// `EndpointSlice`s.
    pub endpoint_slices: BTreeMap<Name, Sourced<EndpointSlice>>,
    /// Pods, by their metadata alone.
    pub pods: BTreeMap<Name, Sourced<Pod>>,
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
    /// Why news do not come at present.
    pub failure: Option<String>,
}
