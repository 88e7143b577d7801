//! The programs of others that network tests talk with: `h2spec`, `grpcurl`, and Go's own servers and clients.
//!
//! All are built from the Go modules that `tests/peers/go.mod` pins, and kept in the user's cache folder.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cluster::Interrupt, go_module::GoModule};

/// Which versions they have.
const MODULE: GoModule = GoModule {
    name: "peers",
    sources: &["go.mod", "go.sum", "peer/grpc.go", "peer/http.go", "peer/main.go", "peer/websocket.go"],
};

/// The programs, and the packages they are built from.
const PROGRAMS: [(&str, &str); 3] = [
    ("peer", "./peer"),
    ("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl"),
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
];

/// Programs without what only debuggers read.
const FLAGS: &str = "-s -w";

/// Builds what is missing, with its progress on the terminal; says where all of it is.
pub fn ensure(interrupt: &Interrupt) -> Result<PathBuf> {
    let cache = MODULE.cache()?;
    let _lock = MODULE.lock(interrupt)?;
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|(name, _)| !cache.join(name).is_file()).collect();
    if !missing.is_empty() {
        MODULE.build(&missing, FLAGS, interrupt)?;
    }
    Ok(cache)
}
