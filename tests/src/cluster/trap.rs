//! A command that leaves a mark if an agent runs it, though the agent's image holds no program but the agent.
//!
//! It is this machine's `touch` with its libraries, laid into a folder of the node that the container has, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::second::SHARED;
use super::{Node, Second};
use crate::process::run;

/// The command's folder. Dropping it takes it away.
pub struct Trap {
    /// Where it is on this machine.
    folder: PathBuf,
    /// Where it is in the container.
    inside: String,
    /// The loader's name.
    loader: String,
}

impl Trap {
    /// Lays it out on a node.
    pub fn set(second: &Second, node: &Node) -> Result<Self> {
        let inside = format!("{SHARED}/trap");
        let folder = second.on_machine(node, &inside);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut trap = Self { folder, inside, loader: String::new() };
        let touch = run(Command::new("sh").args(["-c", "command -v touch"]))?;
        trap.take(Path::new(touch.trim()))?;
        let needed = run(Command::new("ldd").arg(touch.trim()))?;
        for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
            let name = trap.take(Path::new(library))?;
            if name.starts_with("ld-") {
                trap.loader = name;
            }
        }
        Ok(trap)
    }

    fn take(&self, file: &Path) -> Result<String> {
        let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
        let name = name.to_string_lossy().into_owned();
        fs::copy(file, self.folder.join(&name)).with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(name)
    }

    /// The command that leaves this mark, as it is run in the container.
    pub fn command(&self, mark: &str) -> [String; 5] {
        let path = |name: &str| format!("{}/{name}", self.inside);
        [path(&self.loader), "--library-path".to_owned(), self.inside.clone(), path("touch"), path(mark)]
    }

    /// Whether somebody left this mark.
    pub fn has(&self, mark: &str) -> bool {
        self.folder.join(mark).exists()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        // The node's folders go with the cluster.
        let _removed = fs::remove_dir_all(&self.folder);
    }
}
