//! Tells that a folder may have changed, soon and once.
//!
//! inotify reports, a short quiet gathers what belongs together (an editor writes, renames and deletes), and a
//! look at times and sizes every few seconds catches what inotify cannot see: some file systems, and a folder
//! that was moved away and made anew. A manifest that somebody still writes is waited for. It never says what
//! changed; reading the folder does.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tracing::warn;

use super::listing::{is_manifest, manifests_of};

/// Changes that are no further apart than this are one.
const QUIET: Duration = Duration::from_millis(50);
/// A change is told of after this time at the latest, however busy the folder is.
const LONGEST_WAIT: Duration = Duration::from_millis(300);
/// So long at most is waited for whoever has begun to write a manifest and has not closed it yet: what stands there
/// meanwhile may be well-formed and still only half of what is meant.
const WRITER_PATIENCE: Duration = Duration::from_secs(3);
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
    events: Receiver<Event>,
    /// Manifests that were written to and not closed since.
    unfinished: BTreeSet<PathBuf>,
    fingerprint: Fingerprint,
}

impl Observer {
    fn new(root: PathBuf) -> Self {
        let (watcher, events) = subscribe(&root);
        let fingerprint = Fingerprint::of(&root);
        Self { root, watcher, events, unfinished: BTreeSet::new(), fingerprint }
    }

    /// When the first sign of a change was seen, or nothing if none came for a while.
    fn wait(&mut self) -> Option<Instant> {
        let patience = if self.watcher.is_some() { RESCAN } else { RESCAN_WITHOUT_INOTIFY };
        match self.events.recv_timeout(patience) {
            Ok(event) => {
                let seen = Instant::now();
                self.note(event);
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

    fn settle(&mut self, seen: Instant) {
        loop {
            let (quiet, longest) =
                if self.unfinished.is_empty() { (QUIET, LONGEST_WAIT) } else { (WRITER_PATIENCE, WRITER_PATIENCE) };
            let left = (seen + longest).saturating_duration_since(Instant::now());
            let event = if left.is_zero() { None } else { self.events.recv_timeout(quiet.min(left)).ok() };
            let Some(event) = event else { break };
            self.note(event);
        }
        self.unfinished.clear();
    }

    /// Keeps the books on who still writes.
    fn note(&mut self, event: Event) {
        let manifests = event.paths.into_iter().filter(|path| is_manifest(path));
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.unfinished.extend(manifests),
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                for path in manifests {
                    self.unfinished.remove(&path);
                }
            }
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => {}
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

fn subscribe(root: &Path) -> (Option<RecommendedWatcher>, Receiver<Event>) {
    let (sender, events) = channel();
    let report = move |event: notify::Result<Event>| {
        if let Ok(event) = event
            && is_change(event.kind)
        {
            // Nobody listens only while the watching ends.
            sender.send(event).ok();
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
        for path in manifests_of(root).unwrap_or_default() {
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
    use std::io::Write as _;

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
    async fn a_manifest_that_is_still_written_is_not_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "a: 1\n").unwrap();
        let mut changes = watch(folder.path().to_path_buf());
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a: 1\n").unwrap();

        let early = tokio::time::timeout(LONGEST_WAIT * 3, changes.next()).await;
        drop(file);

        assert!(early.is_err());
        assert_eq!(told(&mut changes).await.number, 1);
    }

    #[tokio::test]
    async fn an_editors_own_file_that_stays_open_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = watch(folder.path().to_path_buf());
        let mut swap = fs::File::create(folder.path().join(".a.yaml.swp")).unwrap();
        swap.write_all(b"x").unwrap();

        fs::write(folder.path().join("a.yaml"), "a: 1\n").unwrap();

        assert!(told(&mut changes).await.seen.elapsed() < WRITER_PATIENCE);
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
