//! What can happen to a packet, and where the Pods are for which it is measured.

use serde::Serialize;

/// Where the Pods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pods {
    /// On this node: the host routes what was rewritten, and replies are rewritten as they leave.
    Here,
    /// On other nodes: rewritten completely at ingress, in both directions, and sent on from there.
    Elsewhere,
}

impl Pods {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Here, Self::Elsewhere];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// What is measured of them, in the order of the report.
    pub const fn cases(self) -> &'static [Case] {
        match self {
            Self::Here => &[Case::Established, Case::Reply, Case::New, Case::NotOursIn, Case::NotOursOut],
            Self::Elsewhere => {
                &[Case::Established, Case::Reply, Case::New, Case::NewPortTaken, Case::NoPort, Case::ToNode]
            }
        }
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A segment of a known flow, from the client.
    Established,
    /// A segment of a known flow, from the backend.
    Reply,
    /// The first SYN of a flow: both entries are created, with the client's own port.
    New,
    /// The same where that port is taken, so that the next of the range is found.
    NewPortTaken,
    /// The first SYN of a flow where every port is taken: it is refused.
    NoPort,
    /// Received, and addressed to the node itself, whose address backends elsewhere know.
    ToNode,
    /// Received, and not ours.
    NotOursIn,
    /// Sent, and not ours.
    NotOursOut,
}

impl Case {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Reply => "reply",
            Self::New => "new connection",
            Self::NewPortTaken => "new connection, its port taken",
            Self::NoPort => "refused, all ports taken",
            Self::ToNode => "to the node itself",
            Self::NotOursIn => "not ours, received",
            Self::NotOursOut => "not ours, sent",
        }
    }

    /// Whether the datapath takes the packet somewhere.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Established | Self::Reply) || self.is_new()
    }

    /// Whether a flow begins.
    pub const fn is_new(self) -> bool {
        matches!(self, Self::New | Self::NewPortTaken)
    }
}
