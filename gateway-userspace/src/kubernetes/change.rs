//! What the API server has to tell.

use std::fmt;
use std::sync::Arc;

use super::seen::Sight;
use crate::source::Definitions;
use crate::source::remote::LinkHealth;
use crate::source::{Entry, Kind, Name, ObjectId, Problem};

/// A part of a cluster that is watched by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All objects of a kind; of Pods the metadata alone.
    All(Kind),
    /// The Pods of this node, whole.
    LocalPods,
    /// The objects of a kind in one namespace; of Pods the metadata alone.
    Within(Kind, Arc<str>),
    /// One object.
    Named(Kind, Arc<Name>),
}

impl Scope {
    /// The kind of its objects.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::All(kind) | Self::Within(kind, _) | Self::Named(kind, _) => *kind,
            Self::LocalPods => Kind::Pod,
        }
    }

    /// Whether an object of its kind may be one of them.
    pub fn holds(&self, id: &ObjectId) -> bool {
        match self {
            Self::All(_) | Self::LocalPods => true,
            Self::Within(_, namespace) => *id.name.namespace == **namespace,
            Self::Named(_, name) => id.name == **name,
        }
    }
}

impl Scope {
    /// Whether it is one object that something refers to, and that need not be there.
    pub const fn is_one(&self) -> bool {
        matches!(self, Self::Named(..))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(kind) => write!(f, "{kind}"),
            Self::LocalPods => f.write_str("Pod of this node"),
            Self::Within(kind, namespace) => write!(f, "{kind} in {namespace}"),
            Self::Named(kind, name) => write!(f, "{kind} {name}"),
        }
    }
}

/// One object as it was received.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// It is good; there may be warnings about it. Its status stands beside it if we may have to write to that.
    Good(Entry, Vec<Problem>, Option<Box<Sight>>),
    /// It cannot be understood or is invalid. Its last good version, if there is one, stays.
    Bad(ObjectId, Vec<Problem>),
}

impl Item {
    /// What it is called.
    pub const fn id(&self) -> &ObjectId {
        match self {
            Self::Good(entry, ..) => &entry.id,
            Self::Bad(id, _) => id,
        }
    }
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, or is different.
    Apply(Scope, Item),
    /// An object is gone.
    Delete(Scope, ObjectId),
    /// These are all there are: after the first list, and after each later one.
    Replace(Scope, Vec<Item>),
    /// A watch does well, or why it does not. Said when it changes, not at each attempt.
    Health(Scope, Result<(), String>),
    /// News of another cluster, by the name of its `ClusterLink`.
    Remote(String, Box<Change>),
    /// How a link does.
    Link(String, LinkHealth),
    /// A link is no more.
    Unlink(String),
    /// What this cluster has of Gateway API.
    Definitions(Option<Definitions>),
}

impl Change {
    /// The part of this cluster that it is about, if it is about one.
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Apply(scope, _) | Self::Delete(scope, _) | Self::Replace(scope, _) | Self::Health(scope, _) => {
                Some(scope)
            }
            Self::Remote(..) | Self::Link(..) | Self::Unlink(_) | Self::Definitions(_) => None,
        }
    }
}
