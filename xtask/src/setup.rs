//! `cargo xtask setup`: finds what the build and the tests need, and installs what is missing.
//!
//! It looks at everything; each command looks at its own part only, so a host test asks for no container runtime.
//! Every line says what a thing is for. What is there is left alone; a second run changes nothing and takes less than a
//! second. Nothing outside cargo's and rustup's folders is touched without root, and then only by apt.

pub mod bpf_linker;
pub mod compiler;
mod go;
mod packages;

use std::{
    io::{IsTerminal, stderr},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cluster, process};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask setup            install what is missing\n  \
                        cargo xtask setup --check    only report; exit 1 if something is missing")]
pub struct Args {
    /// Only report what is missing, and fail if anything is
    #[arg(long)]
    check: bool,
}

/// One thing that the build or the tests need.
struct Requirement {
    name: &'static str,
    why: &'static str,
    kind: Kind,
}

enum Kind {
    /// A program of the Rust toolchain and the component it comes in; it answers `--version`.
    Component(&'static str),
    /// A compiler with the source of its library beside it.
    Compiler,
    BpfLinker,
    /// The library of the toolchain for static binaries.
    StaticTarget,
    /// A program of the system and the packages that bring it.
    Package(&'static [&'static str]),
    /// Programs in a folder of their own, and the packages that bring them.
    NetworkPlugins(&'static [&'static str]),
    /// Go, unless what it would build is there.
    Go,
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement { name: "cc", why: "links every Rust program", kind: Kind::Package(&["gcc", "libc6-dev"]) },
    IP,
    Requirement {
        name: "bpftool",
        why: "shows the maps in the demo, judges the programs in `inspect`",
        kind: Kind::Package(&["bpftool"]),
    },
    NFT,
    Requirement {
        name: "iptables-legacy",
        why: "firewalls in network tests, in both forms of iptables",
        kind: Kind::Package(&["iptables"]),
    },
    NSENTER,
    CURL,
    Requirement { name: "sysctl", why: "sets forwarding in the demo's namespaces", kind: Kind::Package(&["procps"]) },
    Requirement { name: "rustfmt", why: "`check` compares the code's format", kind: Kind::Component("rustfmt") },
    Requirement { name: "cargo-clippy", why: "`check` lints", kind: Kind::Component("clippy") },
    RUST_SOURCE,
    BPF_LINKER,
];

/// What `image` needs, and no other command does, beside the datapath's tools.
const FOR_IMAGE: &[Requirement] = &[
    RUST_SOURCE,
    BPF_LINKER,
    Requirement { name: "static target", why: "the image's binary needs no library", kind: Kind::StaticTarget },
    Requirement {
        name: "musl-gcc",
        why: "compiles the C parts of the image's binary",
        kind: Kind::Package(&["musl-tools"]),
    },
];

/// What a cluster needs, beside the image's tools if images are built for it.
const FOR_CLUSTER: &[Requirement] = &[
    CURL,
    IP,
    NFT,
    NSENTER,
    Requirement { name: "containerd", why: "runs the containers of a node", kind: Kind::Package(&["containerd"]) },
    Requirement { name: "runc", why: "starts the containers of a node", kind: Kind::Package(&["runc"]) },
    Requirement {
        name: "CNI plug-ins",
        why: "give Pods their network: ptp, host-local, loopback",
        kind: Kind::NetworkPlugins(&["containernetworking-plugins"]),
    },
    Requirement {
        name: "go",
        why: "builds, once, etcd and Kubernetes, and what network tests talk with",
        kind: Kind::Go,
    },
];

/// What network tests talk with, beside the programs that are built from `tests/peers`.
const FOR_NETWORK: &[Requirement] = &[
    CURL,
    NGINX,
    H2LOAD,
    Requirement {
        name: "nghttp",
        why: "a client of HTTP/2 in network tests",
        kind: Kind::Package(&["nghttp2-client"]),
    },
    Requirement { name: "python3", why: "a client of HTTP/1.1 in network tests", kind: Kind::Package(&["python3"]) },
];

/// What `bench http` compares with, and measures by.
const FOR_BENCH_HTTP: &[Requirement] = &[
    NGINX,
    H2LOAD,
    Requirement { name: "haproxy", why: "is compared with in `bench http`", kind: Kind::Package(&["haproxy"]) },
    Requirement { name: "wrk", why: "asks over HTTP/1.1 in `bench http`", kind: Kind::Package(&["wrk"]) },
];

const CURL: Requirement =
    Requirement { name: "curl", why: "a client of HTTP in demo and network tests", kind: Kind::Package(&["curl"]) };
const NGINX: Requirement = Requirement {
    name: "nginx",
    why: "a backend in network tests and in `bench http`, where it is compared with, too",
    kind: Kind::Package(&["nginx"]),
};
const H2LOAD: Requirement = Requirement {
    name: "h2load",
    why: "a client of HTTP/2 in network tests and in `bench http`",
    kind: Kind::Package(&["nghttp2-client"]),
};
const IP: Requirement = Requirement {
    name: "ip",
    why: "network namespaces, links and routes of demo, tests and clusters",
    kind: Kind::Package(&["iproute2"]),
};
const NFT: Requirement = Requirement {
    name: "nft",
    why: "the peer of `bench net`, firewalls in network tests, the API server's address on nodes",
    kind: Kind::Package(&["nftables"]),
};
const NSENTER: Requirement = Requirement {
    name: "nsenter",
    why: "runs programs in a network namespace with bpffs in sight",
    kind: Kind::Package(&["util-linux"]),
};
const RUST_SOURCE: Requirement = Requirement {
    name: "rust-src",
    why: "the datapath's `core` is compiled for BPF from source",
    kind: Kind::Compiler,
};
const BPF_LINKER: Requirement =
    Requirement { name: "bpf-linker", why: "links the datapath into one BPF object", kind: Kind::BpfLinker };

impl Requirement {
    /// What is there, in a few words, or nothing.
    fn find(&self) -> Option<String> {
        match self.kind {
            Kind::Component(_) => {
                let version = process::output(Command::new(process::find(self.name)?).arg("--version")).ok()?;
                Some(version.trim().to_owned())
            }
            Kind::Compiler => Some(compiler::Compiler::find()?.to_string()),
            Kind::BpfLinker => Some(bpf_linker::find()?.display().to_string()),
            Kind::StaticTarget => compiler::has_static_target().then(|| compiler::STATIC_TARGET.to_owned()),
            Kind::Package(_) => Some(process::find(self.name)?.display().to_string()),
            Kind::NetworkPlugins(_) => Some(cluster::network_plugins()?.display().to_string()),
            Kind::Go => cluster::has_programs().then(|| "not needed: all is built".to_owned()).or_else(go::find),
        }
    }

    /// Whether the rest of the house does without it, and only the user can bring it.
    fn is_optional(&self) -> bool {
        matches!(self.kind, Kind::Go)
    }

    /// The packages that bring it.
    fn packages(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Package(names) | Kind::NetworkPlugins(names) => names,
            _ => &[],
        }
    }

    fn install(&self) -> Result<()> {
        match self.kind {
            Kind::Component(component) => compiler::add_component(component),
            Kind::Compiler => compiler::install(),
            Kind::BpfLinker => bpf_linker::install(),
            Kind::StaticTarget => compiler::add_static_target(),
            Kind::Package(names) | Kind::NetworkPlugins(names) => packages::install(names),
            Kind::Go => bail!("{}", go::ADVICE),
        }
    }

    /// What would be installed.
    fn source(&self) -> String {
        match self.kind {
            Kind::Component(component) => format!("rustup component {component}"),
            Kind::Compiler => {
                "rustup component rust-src, else a compiler from Debian for the datapath alone".to_owned()
            }
            Kind::StaticTarget => format!("rustup target {}", compiler::STATIC_TARGET),
            Kind::BpfLinker => format!("cargo install bpf-linker {}", bpf_linker::VERSION),
            Kind::Package(names) | Kind::NetworkPlugins(names) => format!("apt package {}", names.join(" ")),
            Kind::Go => go::ADVICE.to_owned(),
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let mut all: Vec<&Requirement> = Vec::new();
    for requirement in [REQUIREMENTS, FOR_IMAGE, FOR_CLUSTER, FOR_NETWORK, FOR_BENCH_HTTP].into_iter().flatten() {
        if all.iter().all(|known| known.name != requirement.name) {
            all.push(requirement);
        }
    }
    let mut missing = report(&all, true);
    missing.retain(|requirement| !requirement.is_optional());
    if args.check && !missing.is_empty() {
        let names = missing.iter().map(|requirement| requirement.name).collect::<Vec<_>>().join(", ");
        bail!("missing: {names}; run `cargo xtask setup` to install");
    }
    install(&missing)
}

/// Installs what is missing; for commands that need it. Says nothing about what is there but one line.
pub fn ensure() -> Result<()> {
    ensure_all(REQUIREMENTS)
}

/// The same for what the image is built with.
pub fn ensure_for_image() -> Result<()> {
    ensure_all(FOR_IMAGE)
}

/// The same for what network tests talk with.
pub fn ensure_for_network() -> Result<()> {
    ensure_all(FOR_NETWORK)
}

/// The same for what `bench http` compares with.
pub fn ensure_for_bench_http() -> Result<()> {
    ensure_all(FOR_BENCH_HTTP)
}

/// The same for what a cluster is made of.
pub fn ensure_for_cluster() -> Result<()> {
    ensure_all(FOR_CLUSTER)
}

/// Why no cluster can be made on this machine, whatever is installed; nothing if one can.
pub fn no_cluster() -> Option<String> {
    let missing = FOR_CLUSTER.iter().find(|requirement| requirement.is_optional() && requirement.find().is_none())?;
    Some(format!("{} is missing: {}", missing.name, missing.source()))
}

fn ensure_all(requirements: &'static [Requirement]) -> Result<()> {
    let requirements: Vec<&Requirement> = requirements.iter().collect();
    let missing = report(&requirements, false);
    eprintln!("setup: {} of {} requirements are there", requirements.len() - missing.len(), requirements.len());
    install(&missing)
}

/// Looks for everything, prints a line for each thing that is missing (and, if asked, for each that is there).
fn report(requirements: &[&'static Requirement], all: bool) -> Vec<&'static Requirement> {
    let mut missing = Vec::new();
    for &requirement in requirements {
        let found = requirement.find();
        match &found {
            Some(what) if all => line("ok", requirement, what),
            Some(_) => {}
            None => line("missing", requirement, &requirement.source()),
        }
        if found.is_none() {
            missing.push(requirement);
        }
    }
    missing
}

fn install(missing: &[&Requirement]) -> Result<()> {
    // One run of apt for all packages; the rest in the order of the table, since the linker needs the compiler.
    let packages: Vec<&str> = missing.iter().flat_map(|requirement| requirement.packages()).copied().collect();
    if !packages.is_empty() {
        packages::install(&packages)?;
    }
    for requirement in missing {
        if requirement.find().is_none() {
            line("install", requirement, &requirement.source());
            requirement.install().with_context(|| format!("cannot install {}", requirement.name))?;
        }
        match requirement.find() {
            Some(what) => line("ok", requirement, &what),
            None => bail!(
                "{} is still not found after installing {}: check the search path",
                requirement.name,
                requirement.source()
            ),
        }
    }
    Ok(())
}

fn line(state: &str, requirement: &Requirement, detail: &str) {
    let colour = match state {
        "ok" => "32",
        "missing" => "31",
        _ => "33",
    };
    let state = format!("{state:8}");
    let state = if stderr().is_terminal() { format!("\x1b[{colour}m{state}\x1b[0m") } else { state };
    eprintln!("{state} {:13} {} ({detail})", requirement.name, requirement.why);
}
