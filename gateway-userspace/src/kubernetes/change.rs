//! What the API server has to tell.

use crate::source::remote::LinkHealth;
use crate::source::{Entry, Kind, ObjectId, Problem};

/// A part of the cluster that is watched by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All objects of a kind; of Pods the metadata alone.
    All(Kind),
    /// The Pods of this node, whole.
    LocalPods,
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, or is different.
    Apply(Scope, Entry),
    /// An object is gone.
    Delete(Scope, ObjectId),
    /// These are all there are: after the first list, and after each later one.
    Replace(Scope, Vec<Entry>),
    /// An object cannot be understood. Its last good version, if there is one, stays.
    Reject(Scope, ObjectId, Vec<Problem>),
    /// A watch does well, or why it does not.
    Health(Scope, Result<(), String>),
    /// The same of another cluster, by the name of its `ClusterLink`.
    Remote(String, Box<Change>),
    /// How a link does.
    Link(String, LinkHealth),
    /// A link is no more.
    Unlink(String),
}
