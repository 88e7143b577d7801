//! Leaves behind what `status` and `dump` tell, on a thread of its own: naming tens of thousands of backends takes longer
//! than programming one.
//!
//! Only the last word counts. The longer a record takes to write, the longer the pause after it, so that a large cluster
//! in motion does not keep a CPU busy with it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, sync::Arc};

use tracing::warn;

use crate::model::Model;
use crate::state::{RunDirectory, State};

/// The pause after a record, as a multiple of the time it took.
const PAUSE_FACTOR: u32 = 20;

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the agent did and what it did it for.
pub struct Record {
    /// What it did.
    pub state: State,
    /// What for.
    pub model: Arc<Model>,
}

/// The thread that writes records. Dropping it waits until the last one is written.
pub struct Recorder {
    records: Option<Sender<Record>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(directory: RunDirectory) -> io::Result<Self> {
        let (records, receiver) = channel();
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(move || run(&directory, &receiver))?;
        Ok(Self { records: Some(records), thread: Some(thread) })
    }

    /// Has a record written, in the place of the one before.
    pub fn record(&self, record: Record) {
        if let Some(records) = &self.records {
            // The thread ends only when the sender is dropped.
            let _ = records.send(record);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.records.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(directory: &RunDirectory, records: &Receiver<Record>) {
    let mut writer = Writer { directory, named: None, complaint: None };
    let mut last: Option<Record> = None;
    let mut not_before = Instant::now();
    loop {
        let news = match &last {
            None => records.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => records.recv_timeout(not_before.saturating_duration_since(Instant::now())),
        };
        let ended = matches!(news, Err(RecvTimeoutError::Disconnected));
        last = news.ok().or(last);
        let began = Instant::now();
        if ended || began >= not_before {
            if let Some(record) = last.take() {
                writer.write(record);
            }
            not_before = Instant::now() + (began.elapsed() * PAUSE_FACTOR).min(LONGEST_PAUSE);
        }
        if ended {
            return;
        }
    }
}

struct Writer<'a> {
    directory: &'a RunDirectory,
    /// The model whose names were written last.
    named: Option<Arc<Model>>,
    /// The failure that was said last.
    complaint: Option<String>,
}

impl Writer<'_> {
    fn write(&mut self, Record { state, model }: Record) {
        let is_named = self.named.as_ref().is_some_and(|named| Arc::ptr_eq(named, &model));
        let names = || if is_named { Ok(()) } else { self.directory.write_names(&model) };
        let failure = self.directory.write_state(&state).and_then(|()| names()).err().map(|error| error.to_string());
        self.named = failure.is_none().then_some(model);
        if let Some(error) = failure.as_ref().filter(|_| self.complaint != failure) {
            warn!(error, "the state for `beeline status` could not be written");
        }
        self.complaint = failure;
    }
}
