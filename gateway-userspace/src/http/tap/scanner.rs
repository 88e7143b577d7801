//! Follows the messages of an HTTP/1.1 connection through its bytes: head, body, head, body.
//!
//! Pure: it is fed bytes and says how many may be passed on, how many wait for the rest of their head, and whether the
//! next one is a violation. The answer never depends on how the bytes were cut. It keeps at most one line, and nothing of
//! bodies; heads that are not complete are its caller's to hold.

use super::chunks::Chunks;
use super::head::{Body, Head, Next};
use super::line::{Found, Lines};
use super::violation::Violation;

/// What a piece of bytes came to. The first `released` bytes may be passed on, after all that was held before; those up to
/// `scanned` wait for the end of their head; what follows was not looked at, and only a halt leaves something there.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that may be passed on. If it is not 0, what was held before may be passed on, too.
    pub released: usize,
    /// Bytes that were looked at.
    pub scanned: usize,
    /// Whether a head that asks for another protocol is among the released bytes.
    pub asks_to_switch: bool,
    /// Why the scanner went no further.
    pub halt: Option<Halt>,
}

/// Why a scanner goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A head is refused: nothing of it may be passed on.
    Head(Violation),
    /// A body is refused, after its head was passed on.
    Body(Violation),
    /// A message that asks for another protocol is complete, and the answer is not known: see [`Scanner::resume`].
    Switch,
}

/// What came of a request for another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The connection speaks the other protocol from here on.
    Upgraded,
    /// It was answered as any request, and the next head follows.
    Refused,
}

/// Where in a connection's bytes the scanner is.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// Whether the current message asks for another protocol.
    is_switching: bool,
    max_head: usize,
}

#[derive(Debug)]
enum State {
    Head { head: Head, lines: Lines, length: usize },
    Length(u64),
    Chunked(Chunks),
    Halted(Halt),
    Transparent,
}

impl Scanner {
    /// A scanner at the start of a connection. Heads may have at most `max_head` bytes.
    pub fn new(max_head: usize) -> Self {
        Self { state: State::head(Head::default()), is_switching: false, max_head }
    }

    /// Goes on behind a message that asked for another protocol. Without such a halt nothing happens.
    pub fn resume(&mut self, verdict: Verdict) {
        if matches!(self.state, State::Halted(Halt::Switch)) {
            self.is_switching = false;
            self.state = match verdict {
                Verdict::Upgraded => State::Transparent,
                Verdict::Refused => State::head(Head::following()),
            };
        }
    }

    /// Whether a body has begun and not ended.
    pub fn is_amid_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// Looks at bytes that begin where the last call stopped.
    pub fn scan(&mut self, input: &[u8]) -> Progress {
        let mut progress = Progress { released: 0, scanned: 0, asks_to_switch: false, halt: None };
        while progress.halt.is_none() && progress.scanned < input.len() {
            let rest = &input[progress.scanned..];
            match &mut self.state {
                State::Head { .. } => self.scan_head(rest, &mut progress),
                State::Length(left) => {
                    let length = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= length as u64;
                    let is_end = *left == 0;
                    progress.release(length);
                    if is_end {
                        self.end_message(&mut progress);
                    }
                }
                State::Chunked(chunks) => {
                    let followed = chunks.follow(rest);
                    progress.release(followed.taken);
                    match followed.ended {
                        Ok(false) => {}
                        Ok(true) => self.end_message(&mut progress),
                        Err(violation) => self.halt(Halt::Body(violation), &mut progress),
                    }
                }
                State::Halted(halt) => progress.halt = Some(*halt),
                State::Transparent => progress.release(rest.len()),
            }
        }
        progress
    }

    /// Reads one line of a head, or what there is of it.
    fn scan_head(&mut self, rest: &[u8], progress: &mut Progress) {
        let State::Head { head, lines, length } = &mut self.state else { return };
        let outcome = match lines.next(rest, self.max_head - *length) {
            Ok(Found::Line(line, taken)) => head.read(line).map(|next| (next, taken)),
            Ok(Found::Part) => Ok((Next::Line, rest.len())),
            Ok(Found::NoRoom) => Err(Violation::HeadTooLarge),
            Err(violation) => Err(violation),
        };
        match outcome {
            Ok((Next::Line, taken)) => {
                *length += taken;
                progress.scanned += taken;
            }
            Ok((Next::Http2, taken)) => {
                progress.release(taken);
                self.state = State::Transparent;
            }
            Ok((Next::Body(framing), taken)) => {
                progress.release(taken);
                progress.asks_to_switch |= framing.asks_to_switch;
                self.is_switching = framing.asks_to_switch;
                match framing.body {
                    Body::Length(0) => self.end_message(progress),
                    Body::Length(left) => self.state = State::Length(left),
                    Body::Chunked => self.state = State::Chunked(Chunks::new()),
                }
            }
            Err(violation) => self.halt(Halt::Head(violation), progress),
        }
    }

    fn end_message(&mut self, progress: &mut Progress) {
        if self.is_switching {
            self.halt(Halt::Switch, progress);
        } else {
            self.state = State::head(Head::following());
        }
    }

    fn halt(&mut self, halt: Halt, progress: &mut Progress) {
        self.state = State::Halted(halt);
        progress.halt = Some(halt);
    }
}

impl State {
    fn head(head: Head) -> Self {
        Self::Head { head, lines: Lines::default(), length: 0 }
    }
}

impl Progress {
    /// Passes on all that was scanned, and `length` bytes more.
    fn release(&mut self, length: usize) {
        self.scanned += length;
        self.released = self.scanned;
    }
}
