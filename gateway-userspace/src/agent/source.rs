//! Where the agent's objects come from: a folder or an API server, which look the same from here on.

use std::time::Instant;

use crate::config::{Config, ObjectsFrom};
use crate::source::watch::Changes;
use crate::source::{FolderSource, Problem};
use crate::translate::{Given, Options, Translation, translate_after};

/// Where objects come from.
pub enum Source {
    /// A folder of manifests.
    Folder(FolderSource, Changes),
}

impl Source {
    /// Opens what the flags name. Changes are told from now on.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        match &config.objects {
            ObjectsFrom::Folder(folder) => {
                let source = FolderSource::open(folder)?;
                let changes = source.watch();
                Ok(Self::Folder(source, changes))
            }
            ObjectsFrom::Cluster(_) => anyhow::bail!("clusters are not served yet"),
        }
    }

    /// Waits until the objects may have changed; returns when that was noticed. May be cancelled.
    pub async fn changed(&mut self) -> Instant {
        match self {
            Self::Folder(_, changes) => changes.next().await.seen,
        }
    }

    /// What the objects ask for, and what is wrong with them one by one.
    pub fn translate(&mut self, given: &Given, options: &Options) -> (Translation, Vec<Problem>) {
        match self {
            Self::Folder(folder, _) => {
                let snapshot = folder.read();
                (translate_after(given, &snapshot.objects, options), snapshot.problems)
            }
        }
    }
}
