//! Tells that a folder may have changed, soon and once.
//!
//! inotify reports, a short quiet gathers what belongs together (an editor writes, renames and deletes), and a
//! look at times and sizes every few seconds catches what inotify cannot see: some file systems, and a folder
//! that was moved away and made anew. It never says what changed; reading the folder does.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tracing::warn;

use super::folder::manifest_files;

/// Changes that are no further apart than this are one.
const QUIET: Duration = Duration::from_millis(50);
/// A change is told of after this time at the latest, however busy the folder is.
const LONGEST_WAIT: Duration = Duration::from_millis(300);
/// How often the folder is looked at when inotify works, and when it does not.
const RESCAN: Duration = Duration::from_secs(2);
const RESCAN_WITHOUT_INOTIFY: Duration = Duration::from_millis(500);

/// A change that was noticed.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Counts up with every change; 0 before the first.
    pub number: u64,
    /// When the first sign of it was seen.
    pub seen: Instant,
}

/// The news of a folder. The watching ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Changes {
    receiver: watch::Receiver<Change>,
}

impl Changes {
    /// Waits for a change that was not told of yet. Changes during a wait elsewhere count as one.
    ///
    /// Never returns if the watching ended, which it does only with the process.
    pub async fn next(&mut self) -> Change {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.receiver.borrow_and_update()
    }
}

/// Watches a folder from a thread of its own.
pub(super) fn watch(root: PathBuf) -> Changes {
    let (sender, receiver) = watch::channel(Change { number: 0, seen: Instant::now() });
    // Begun here and not in the thread, so that no change after the return is missed.
    let mut observer = Observer::new(root);
    thread::spawn(move || {
        while !sender.is_closed() {
            if let Some(seen) = observer.wait() {
                sender.send_modify(|change| *change = Change { number: change.number + 1, seen });
            }
        }
    });
    Changes { receiver }
}

struct Observer {
    root: PathBuf,
    /// Held, because dropping it ends the reports.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<()>,
    fingerprint: Fingerprint,
}

impl Observer {
    fn new(root: PathBuf) -> Self {
        let (watcher, events) = subscribe(&root);
        let fingerprint = Fingerprint::of(&root);
        Self { root, watcher, events, fingerprint }
    }

    /// When the first sign of a change was seen, or nothing if none came for a while.
    fn wait(&mut self) -> Option<Instant> {
        let patience = if self.watcher.is_some() { RESCAN } else { RESCAN_WITHOUT_INOTIFY };
        match self.events.recv_timeout(patience) {
            Ok(()) => {
                let seen = Instant::now();
                self.settle(seen);
                self.look();
                Some(seen)
            }
            Err(RecvTimeoutError::Timeout) => self.look().then(Instant::now),
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(patience);
                self.look().then(Instant::now)
            }
        }
    }

    fn settle(&self, seen: Instant) {
        let deadline = seen + LONGEST_WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.events.recv_timeout(QUIET.min(left)).is_err() {
                return;
            }
        }
    }

    /// Whether times, sizes or the folder itself differ from the last look.
    fn look(&mut self) -> bool {
        let now = Fingerprint::of(&self.root);
        if now.folder != self.fingerprint.folder {
            (self.watcher, self.events) = subscribe(&self.root);
        }
        let differs = now != self.fingerprint;
        self.fingerprint = now;
        differs
    }
}

fn subscribe(root: &Path) -> (Option<RecommendedWatcher>, Receiver<()>) {
    let (sender, events) = channel();
    let report = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            // Nobody listens only while the watching ends.
            sender.send(()).ok();
        }
    };
    let watcher = notify::recommended_watcher(report).and_then(|mut watcher| {
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => (Some(watcher), events),
        Err(error) => {
            warn!(folder = %root.display(), %error, "no reports of changes: looking at the folder twice a second");
            (None, events)
        }
    }
}

/// Reading is no change; our own reading least of all.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// What can be seen of a folder without reading its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    folder: Option<(u64, u64)>,
    files: u64,
}

impl Fingerprint {
    fn of(root: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        for path in manifest_files(root).unwrap_or_default() {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            path.hash(&mut hasher);
            (metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        }
        let folder = fs::metadata(root).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        Self { folder, files: hasher.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than a change may take, so that only a lost one fails the test.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn told(changes: &mut Changes) -> Change {
        tokio::time::timeout(PATIENCE, changes.next()).await.expect("a change is told of")
    }

    #[tokio::test]
    async fn a_written_file_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = watch(folder.path().to_path_buf());

        fs::write(folder.path().join("a.yaml"), "a: 1\n").unwrap();

        assert_eq!(told(&mut changes).await.number, 1);
    }

    #[tokio::test]
    async fn a_file_in_a_new_sub_folder_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = watch(folder.path().to_path_buf());

        fs::create_dir(folder.path().join("shop")).unwrap();
        told(&mut changes).await;
        fs::write(folder.path().join("shop/a.yaml"), "a: 1\n").unwrap();

        told(&mut changes).await;
    }

    #[tokio::test]
    async fn a_folder_made_anew_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("manifests");
        fs::create_dir(&folder).unwrap();
        let mut changes = watch(folder.clone());

        fs::remove_dir(&folder).unwrap();
        told(&mut changes).await;
        fs::create_dir(&folder).unwrap();
        told(&mut changes).await;
        fs::write(folder.join("a.yaml"), "a: 1\n").unwrap();

        told(&mut changes).await;
    }

    #[test]
    fn reading_a_file_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}
