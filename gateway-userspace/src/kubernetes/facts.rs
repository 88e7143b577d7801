//! What this agent knows that the cluster should learn of: the agent publishes it, the status writers read it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::source::{ObjectId, Problem};
use crate::translate::Statuses;

/// What is known of the objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What the status of the objects should say.
    pub statuses: Arc<Statuses>,
    /// What is wrong with them.
    pub problems: Arc<Vec<Problem>>,
    /// Objects that exist but never were valid: nothing is known of them, so nothing is taken back from their status.
    pub rejected: BTreeSet<ObjectId>,
    /// The names of all Nodes.
    pub nodes: BTreeSet<String>,
    /// Whether every kind was received whole. Until then statuses may be wrong, and none is written.
    pub complete: bool,
}

impl Facts {
    /// Whether all but the statuses is the same, which are long to compare.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let Self { statuses: _, problems, rejected, nodes, complete } = self;
        (problems, rejected, nodes, complete) == (&other.problems, &other.rejected, &other.nodes, &other.complete)
    }
}
