//! The kinds of tests, and what each needs.

use clap::ValueEnum;

/// The kinds, cheapest first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Format, lints, tidiness, docs and all tests that need no root
    Host,
    /// Random requests against what must hold for all of them, a minute for each target
    Fuzz,
    /// Manifests in, dump out; manifests and requests in, routes out
    Scenarios,
    /// Packets through the real programs
    Packets,
    /// Namespaces and real sockets
    Network,
    /// As many connections through one node as there are ports, and more
    Crowd,
    /// The programs' size against the committed baseline
    Inspect,
    /// A real Kubernetes of three nodes and one of one, with Beeline installed as users install it
    Cluster,
    /// A real Kubernetes of three nodes with kube-proxy on each, and Beeline beside it
    KubeProxy,
}

impl Kind {
    /// The kind's name on the command line, which for tests in the kernel is the name of the test program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Fuzz => "fuzz",
            Self::Scenarios => "scenarios",
            Self::Packets => "packets",
            Self::Network => "network",
            Self::Crowd => "crowd",
            Self::Inspect => "inspect",
            Self::Cluster => "cluster",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// Whether it makes namespaces or loads programs.
    pub fn needs_root(self) -> bool {
        !matches!(self, Self::Host | Self::Fuzz)
    }

    /// Whether it runs the agent's binary.
    pub fn needs_build(self) -> bool {
        !matches!(self, Self::Host | Self::Inspect)
    }
}
