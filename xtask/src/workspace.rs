//! Where things lie: the clone's root, the target folder, the datapath's objects, the binary.
//!
//! Everything is found from this package's place in the clone, so commands work from any folder.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The clone's root.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where cargo puts what is built for this machine: `target`, unless `CARGO_TARGET_DIR` says otherwise.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => env::current_dir().unwrap_or_default().join(directory),
        None => root().join("target"),
    }
}

/// Where the datapath is built and its objects end up. The agent's build script looks here.
pub fn ebpf() -> PathBuf {
    root().join("target/ebpf")
}

/// The datapath's object.
pub fn datapath() -> PathBuf {
    ebpf().join("datapath.o")
}

/// The agent's binary.
pub fn beeline(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" }).join("beeline")
}

/// A path as it reads best in a message: relative to the clone's root where it lies inside.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
