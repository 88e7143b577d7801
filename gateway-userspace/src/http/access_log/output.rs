//! Where the log's lines go: a file, opened anew when it was rotated, or standard output.
//!
//! One thread writes whole batches of lines, so two agents that share a file never mix within a line. If the output does not
//! follow or fails, lines are dropped and counted, and what comes later is written all the same.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Batches that may wait to be written.
const WAITING_BATCHES: usize = 256;

/// How long somebody waits until everything is written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Where lines are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, which lines are appended to.
    File(PathBuf),
}

impl Target {
    /// Reads `-` or a path.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("write the path of a file, or - for standard output"),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The log. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct AccessLog {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// Everything before is written: say so.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens what lines are to go to.
    pub fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::Stdout => Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Target::File(path) => Self::new(Rotated::open(path)?),
        }
    }

    /// A log that writes to `output` from a thread of its own, until its last clone is gone.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, waiting) = sync_channel(WAITING_BATCHES);
        let dropped: Arc<AtomicU64> = Arc::default();
        let counter = Arc::clone(&dropped);
        let run = move || write_batches(&waiting, output, &counter);
        std::thread::Builder::new().name("access-log".into()).spawn(run)?;
        Ok(Self { messages, dropped })
    }

    /// Takes whole lines.
    pub(super) fn write(&self, lines: Vec<u8>) {
        if let Err(TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines))) =
            self.messages.try_send(Message::Lines(lines))
        {
            self.dropped.fetch_add(count(&lines), Relaxed);
        }
    }

    /// Waits until everything is written that was taken, but not for ever.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_LIMIT);
        }
    }

    /// Lines that were dropped, because the output did not follow or failed.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

fn write_batches(waiting: &Receiver<Message>, mut output: impl Write, dropped: &AtomicU64) {
    let mut has_failed = false;
    while let Ok(message) = waiting.recv() {
        let lines = match message {
            Message::Lines(lines) => lines,
            Message::Flush(done) => {
                // Whoever waits no more needs no answer.
                let _ = done.try_send(());
                continue;
            }
        };
        // What failed may have left half a line.
        let ended = if has_failed { output.write_all(b"\n") } else { Ok(()) };
        match ended.and_then(|()| output.write_all(&lines)).and_then(|()| output.flush()) {
            Ok(()) => has_failed = false,
            Err(error) => {
                dropped.fetch_add(count(&lines), Relaxed);
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::error!(%error, "the access log cannot be written: lines are dropped until it can");
                }
            }
        }
    }
}

/// A file that is opened anew once its path names another, or none: the one that was written to is somebody else's by then.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

impl Rotated {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { path: path.to_owned(), file, identity: (metadata.dev(), metadata.ino()) })
    }
}

impl Write for Rotated {
    /// Takes all at once: a batch of lines is never spread over two files.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let is_same = std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if !is_same {
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(lines)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::{Sender, channel};

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(&Target::File(path.clone())).unwrap();

        log.write(b"one\n".to_vec());
        log.flush();
        fs::rename(&path, &old).unwrap();
        log.write(b"two\n".to_vec());
        log.flush();

        assert_eq!(fs::read_to_string(&old).unwrap(), "before\none\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn what_cannot_be_opened_is_an_error_at_once() {
        assert!(AccessLog::open(&Target::File("/no/such/folder/access.log".into())).is_err());
        assert_eq!(Target::parse("-"), Ok(Target::Stdout));
        assert!(Target::parse("").is_err());
    }

    /// Waits with each write until it is told what becomes of it.
    struct Slow(Receiver<io::Result<()>>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::other("ended"))??;
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_does_not_follow_costs_lines_and_no_time() {
        let (_hold, outcomes) = channel();
        let log = AccessLog::new(Slow(outcomes, channel().0)).unwrap();

        for _ in 0..WAITING_BATCHES + 10 {
            log.write(b"a\nb\n".to_vec());
        }

        let dropped = log.dropped_lines();
        assert!((18..=20).contains(&dropped), "one batch may be on its way: {dropped}");
    }

    #[test]
    fn after_a_failure_what_comes_later_is_written_on_a_line_of_its_own() {
        let (outcomes, told) = channel();
        let (written, texts) = channel();
        let log = AccessLog::new(Slow(told, written)).unwrap();
        outcomes.send(Err(io::Error::other("full"))).unwrap();
        log.write(b"lost\n".to_vec());
        log.flush();
        for _ in 0..2 {
            outcomes.send(Ok(())).unwrap();
        }

        log.write(b"kept\n".to_vec());
        log.flush();

        assert_eq!(texts.try_iter().collect::<Vec<_>>().concat(), b"\nkept\n");
        assert_eq!(log.dropped_lines(), 1);
    }
}
