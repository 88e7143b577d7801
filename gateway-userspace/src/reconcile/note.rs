//! What reconcile could not do exactly as asked, for `status`: one sentence each, with the frontend and what to do.

use std::fmt;

use gateway_common::{FrontendKey, maps::MAX_SCHEDULE_SLOTS};

/// Something a user should know about a frontend that is programmed otherwise than asked, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The frontend.
    pub frontend: FrontendKey,
    /// The object that asked for it.
    pub owner: String,
    /// What is the matter.
    pub matter: Matter,
}

/// What a [`Note`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    /// Weights that need more slots than a schedule may have. Without a reference: the weights of the references.
    Rounded {
        /// The reference whose backends they are.
        reference: Option<String>,
        /// The slots it has.
        slots: u32,
    },
    /// There was no room for all slots of a schedule.
    Coarse {
        /// The reference whose backends they are.
        reference: Option<String>,
        /// The slots it has now; none: connections are refused.
        slots: u32,
    },
    /// No id is free for the frontend.
    FrontendsFull,
    /// No room for the VIP.
    VipsFull,
    /// No ids are free for the service's groups. A new one is not programmed, another keeps those it has.
    GroupsFull,
    /// No room for the ranges of clients that may connect.
    SourcesFull {
        /// How many it has.
        ranges: u32,
    },
    /// No ids are free for some backends.
    BackendsFull {
        /// How many are left out.
        missing: u32,
        /// One of them.
        example: String,
    },
}

impl Matter {
    /// Whether the service lacks something that it was asked to have, rather than being merely rounded.
    pub const fn is_shortage(&self) -> bool {
        match self {
            Self::Rounded { .. } => false,
            Self::Coarse { .. }
            | Self::FrontendsFull
            | Self::VipsFull
            | Self::GroupsFull
            | Self::SourcesFull { .. }
            | Self::BackendsFull { .. } => true,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frontend {} of {}: ", self.frontend, self.owner)?;
        let whose = |reference: &Option<String>| match reference {
            Some(reference) => format!("backends of `{reference}`"),
            None => "references".to_owned(),
        };
        match &self.matter {
            Matter::Rounded { reference, slots } => write!(
                f,
                "the weights of the {} are rounded to {slots} steps: exact would need more than {MAX_SCHEDULE_SLOTS}",
                whose(reference)
            ),
            Matter::Coarse { reference, slots: 0 } => write!(
                f,
                "the slot table has no room for the {}, connections to them are refused: raise --max-backends",
                whose(reference)
            ),
            Matter::Coarse { reference, slots } => write!(
                f,
                "the slot table has little room left, the weights of the {} are rounded to {slots} steps: raise --max-backends",
                whose(reference)
            ),
            Matter::FrontendsFull => f.write_str("not programmed, the frontend table is full: raise --max-frontends"),
            Matter::VipsFull => f.write_str("not programmed, the VIP table is full: raise --max-frontends"),
            Matter::GroupsFull => f.write_str(
                "its backendRefs are left as they were, the group table is full: raise --max-frontends, or use fewer backendRefs",
            ),
            Matter::SourcesFull { ranges } => write!(
                f,
                "no client is let in, the table of source ranges has no room for its {ranges}: use fewer and wider ranges"
            ),
            Matter::BackendsFull { missing, example } => write!(
                f,
                "{missing} backends get no connections, {example} among them, the backend table is full: raise --max-backends"
            ),
        }
    }
}
