//! What the HTTP layer has done since it began, for `beeline status`: in all, at each frontend and at each listener.

use gateway_common::FrontendKey;
use serde::{Deserialize, Serialize};

use super::counters::{Counts, RequestCounts};
use super::snapshot::{LiveSite, Snapshot};

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// In all.
    #[serde(flatten)]
    pub counts: Counts,
    /// Lines of the access log that were dropped, if there is a log.
    pub dropped_log_lines: Option<u64>,
    /// The frontends that are served now, in order.
    pub frontends: Vec<FrontendActivity>,
}

/// What was counted of a frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendActivity {
    /// `TCP 192.0.2.1:80`.
    pub frontend: String,
    /// Connections that were accepted.
    pub connections: u64,
    /// Those that are open.
    pub open: u64,
    /// Its listeners, in their order.
    pub listeners: Vec<ListenerActivity>,
}

/// What was counted of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerActivity {
    /// Its name.
    pub name: String,
    /// Its requests.
    #[serde(flatten)]
    pub requests: RequestCounts,
}

impl Activity {
    /// Of what is served now.
    pub fn of(snapshot: &Snapshot, counts: Counts, dropped_log_lines: Option<u64>) -> Self {
        let mut sites: Vec<_> = snapshot.sites().collect();
        sites.sort_by_key(|(frontend, _)| **frontend);
        let frontends = sites.into_iter().map(|(frontend, site)| FrontendActivity::of(frontend, site)).collect();
        Self { counts, dropped_log_lines, frontends }
    }

    /// That of a frontend, by its name.
    pub fn frontend(&self, name: &str) -> Option<&FrontendActivity> {
        self.frontends.iter().find(|frontend| frontend.frontend == name)
    }
}

impl FrontendActivity {
    fn of(frontend: &FrontendKey, site: &LiveSite) -> Self {
        let (connections, open) = site.connections.connections();
        let listeners = (site.site.listeners.iter().zip(&site.listeners))
            .map(|(listener, live)| ListenerActivity {
                name: listener.name.clone(),
                requests: live.requests.requests(),
            })
            .collect();
        Self { frontend: frontend.to_string(), connections, open, listeners }
    }
}
