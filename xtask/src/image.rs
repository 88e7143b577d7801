//! `cargo xtask image`: container images, made without a container engine: the agent's, and that of the examples' Pods.
//!
//! One static binary on an empty base, as an OCI archive; the agent's has the datapath inside. The same commit and the same
//! compiler give the same digest, wherever and whenever it is built. It pushes nothing: an archive goes to a registry by
//! the tools that are there for it. deploy/Containerfile makes the agent's with a container engine.

pub mod archive;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    build_ebpf, process, remap,
    setup::{self, compiler::STATIC_TARGET},
    workspace,
};
use archive::{Image, Written};

/// The profile in the workspace's Cargo.toml.
const PROFILE: &str = "image";

/// The images of this repository.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The agent
    #[default]
    Beeline,
    /// The server that plays a Pod in examples and tests
    Httpbin,
}

impl Kind {
    /// All of them: what a cluster is loaded with.
    pub const ALL: [Self; 2] = [Self::Beeline, Self::Httpbin];

    /// Under which name a cluster knows the image once it is imported.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beeline => concat!("localhost/beeline/beeline:", env!("CARGO_PKG_VERSION")),
            Self::Httpbin => concat!("localhost/beeline/httpbin:", env!("CARGO_PKG_VERSION")),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Beeline => "beeline",
            Self::Httpbin => "httpbin",
        }
    }

    /// Where the archive lies if nobody says otherwise.
    pub fn archive(self) -> PathBuf {
        workspace::target().join(format!("{}-image.tar", self.title()))
    }

    /// The package and the binary that is the image.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Beeline => ("gateway-userspace", "beeline"),
            Self::Httpbin => ("beeline-test-pod", "beeline-test-pod"),
        }
    }

    /// Where the binary lies in the image: in the search path of `kubectl exec`.
    fn entrypoint(self) -> &'static str {
        match self {
            Self::Beeline => "/usr/local/bin/beeline",
            Self::Httpbin => "/usr/local/bin/httpbin",
        }
    }
}

#[derive(clap::Args, Default)]
#[command(after_help = "Examples:\n  cargo xtask image                            target/beeline-image.tar\n  \
                        cargo xtask image httpbin                    target/httpbin-image.tar\n  \
                        cargo xtask image --output /tmp/beeline.tar\n  \
                        skopeo copy oci-archive:target/beeline-image.tar docker://REGISTRY/beeline\n\n\
                        SOURCE_DATE_EPOCH, seconds since 1970, is the time of everything inside; 1970 if it is not set.")]
pub struct Args {
    /// Which image
    #[arg(value_enum, default_value_t)]
    kind: Kind,
    /// The archive to write
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let archive = args.output.clone().unwrap_or_else(|| args.kind.archive());
    let written = write(args.kind, &archive)?;
    println!("image    {}", args.kind.name());
    println!("archive  {}, {} bytes", workspace::shown(&archive), written.size);
    println!("digest   {}", written.digest);
    Ok(())
}

/// Builds the binary and writes the image.
pub fn write(kind: Kind, archive: &Path) -> Result<Written> {
    // A wrong time is better said before a build of minutes than after it.
    let created = created(env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let binary = build(kind)?;
    let content = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let image = Image {
        name: kind.name(),
        entrypoint: kind.entrypoint(),
        labels: &[
            ("org.opencontainers.image.licenses", "MIT OR Apache-2.0"),
            ("org.opencontainers.image.title", kind.title()),
            ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
        ],
        created,
        files: &[(kind.entrypoint().trim_start_matches('/'), &content, true)],
    };
    image.write(archive)
}

/// Builds the static binary, free of the paths of this machine; returns where it lies.
pub fn build(kind: Kind) -> Result<PathBuf> {
    setup::ensure_for_image()?;
    if kind == Kind::Beeline {
        // With DWARF: whether there is a tool that strips it must not decide about the digest.
        build_ebpf::run(&build_ebpf::Args { release: false })?;
    }
    let (package, name) = kind.source();
    let binary = workspace::target().join(STATIC_TARGET).join(PROFILE).join(name);
    let flags = remap::rustc_flags("rustc")?.join("\u{1f}");
    let mut command = process::cargo();
    command
        .args(["build", "--locked", "--package", package, "--bin", name])
        .args(["--profile", PROFILE, "--target", STATIC_TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("BEELINE_EMBED_DATAPATH");
    process::run(&mut command)?;
    eprintln!("{}: built", workspace::shown(&binary));
    Ok(binary)
}

/// The time of everything in the image, in seconds since 1970.
fn created(epoch: Option<&str>) -> Result<u64> {
    let Some(text) = epoch else { return Ok(0) };
    let seconds = text.parse().ok().filter(|&seconds| seconds <= archive::LAST_SECOND);
    ensure!(
        seconds.is_some(),
        "SOURCE_DATE_EPOCH is `{text}`: give whole seconds since 1970, as `git log -1 --format=%ct` does, or unset it"
    );
    Ok(seconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_inside_is_that_of_the_environment_and_never_that_of_the_clock() {
        assert_eq!(created(None).unwrap(), 0);
        assert_eq!(created(Some("1700000000")).unwrap(), 1_700_000_000);
        for wrong in ["", "-1", "now", "1e9", "18446744073709551615"] {
            assert!(created(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
