//! What the suite is made of: its own program, and the images that its manifests name.
//!
//! All of it is built from the Go modules that `tests/conformance/go.mod` pins and kept in the user's cache folder. The
//! images are archives of one static binary; the registries that they are named for are never asked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cluster::{Interrupt, Temporary},
    go_module::GoModule,
    image::archive::Image,
};

/// Which versions all of it has.
const MODULE: GoModule =
    GoModule { name: "conformance", sources: &["go.mod", "go.sum", "conformance_test.go", "coredns/main.go"] };

/// The suite with its tests inside.
const SUITE: &str = "suite";

/// What most of the suite is compiled from.
const SUITE_PACKAGES: [&str; 1] = ["sigs.k8s.io/gateway-api/conformance"];

/// Programs that run in containers, and the packages they are built from.
const SERVERS: [(&str, &str); 2] =
    [("echo-basic", "sigs.k8s.io/gateway-api/conformance/echo-basic"), ("coredns", "./coredns")];

/// The images that the suite's manifests name, the program in each, and where it lies. The three echo servers are one
/// source: the suite's own.
const IMAGES: [(&str, &str, &str); 4] = [
    ("registry.k8s.io/gateway-api/echo-basic:v1.5.1", "echo-basic", "/echo-basic"),
    ("registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.2", "echo-basic", "/echo-basic"),
    ("registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.3", "echo-basic", "/echo-basic"),
    ("registry.k8s.io/coredns/coredns:v1.12.2", "coredns", "/coredns"),
];

/// Programs without what only debuggers read.
const FLAGS: &str = "-s -w";

/// Everything that the suite needs, built.
pub struct Programs {
    cache: PathBuf,
}

impl Programs {
    /// Builds what is missing, with its progress on the terminal.
    pub fn ensure(interrupt: &Interrupt) -> Result<Self> {
        let cache = MODULE.cache()?;
        let _lock = MODULE.lock(interrupt)?;
        let is_missing = |name: &str| !cache.join(name).is_file();
        let missing: Vec<_> = SERVERS.into_iter().filter(|(name, _)| is_missing(name)).collect();
        if !missing.is_empty() {
            MODULE.build(&missing, FLAGS, interrupt)?;
        }
        if is_missing(SUITE) {
            MODULE.build_test(SUITE, &SUITE_PACKAGES, FLAGS, interrupt)?;
        }
        Ok(Self { cache })
    }

    /// The suite's program.
    pub fn suite(&self) -> PathBuf {
        self.cache.join(SUITE)
    }

    /// Writes the images, one after the other, and brings them to every node.
    pub fn load(&self, cluster: &Temporary, folder: &Path) -> Result<()> {
        for (name, program, entrypoint) in IMAGES {
            let path = self.cache.join(program);
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let files = &[(entrypoint.trim_start_matches('/'), content.as_slice(), true)];
            let archive = folder.join("image.tar");
            Image { name, entrypoint, labels: &[], created: 0, files }.write(&archive)?;
            cluster.import(&archive)?;
            fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
        Ok(())
    }
}
