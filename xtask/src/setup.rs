//! `cargo xtask setup`: finds what the build and the tests need, and installs what is missing.
//!
//! Every line says what a thing is for. What is there is left alone; a second run changes nothing and takes less than a
//! second. Nothing outside cargo's and rustup's folders is touched without root, and then only by apt.

pub mod bpf_linker;
pub mod compiler;
mod packages;

use std::{
    io::{IsTerminal, stderr},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process;

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
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement { name: "cc", why: "links every Rust program", kind: Kind::Package(&["gcc", "libc6-dev"]) },
    Requirement {
        name: "ip",
        why: "network namespaces, links and routes of demo and tests",
        kind: Kind::Package(&["iproute2"]),
    },
    Requirement {
        name: "bpftool",
        why: "shows the maps in the demo, judges the programs in `inspect`",
        kind: Kind::Package(&["bpftool"]),
    },
    Requirement {
        name: "nft",
        why: "the peer of `bench net`, firewalls in network tests",
        kind: Kind::Package(&["nftables"]),
    },
    Requirement {
        name: "nsenter",
        why: "runs programs in a network namespace with bpffs in sight",
        kind: Kind::Package(&["util-linux"]),
    },
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
        }
    }

    fn install(&self) -> Result<()> {
        match self.kind {
            Kind::Component(component) => compiler::add_component(component),
            Kind::Compiler => compiler::install(),
            Kind::BpfLinker => bpf_linker::install(),
            Kind::StaticTarget => compiler::add_static_target(),
            Kind::Package(names) => packages::install(names),
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
            Kind::Package(names) => format!("apt package {}", names.join(" ")),
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let missing = report(REQUIREMENTS, true);
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

fn ensure_all(requirements: &'static [Requirement]) -> Result<()> {
    let missing = report(requirements, false);
    eprintln!("setup: {} of {} requirements are there", requirements.len() - missing.len(), requirements.len());
    install(&missing)
}

/// Looks for everything, prints a line for each thing that is missing (and, if asked, for each that is there).
fn report(requirements: &'static [Requirement], all: bool) -> Vec<&'static Requirement> {
    let mut missing = Vec::new();
    for requirement in requirements {
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
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|requirement| match requirement.kind {
            Kind::Package(names) => Some(names),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
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
