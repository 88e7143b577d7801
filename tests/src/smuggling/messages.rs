//! Where the tap's scanner sees messages begin and end.
//!
//! Fed byte by byte it shows that by itself: bytes of a head are held, the last one releases them, bytes of a body pass.

use gateway_userspace::http::tap::scanner::{Halt, Scanner, Verdict};

use super::server::MAX_HEAD;

/// A message as a part of a stream: positions of its first byte, of its body's, and of the next message's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first byte of the head, or of the empty line before it.
    pub start: usize,
    /// The first byte behind the head.
    pub body: usize,
    /// The first byte behind the body; for the last message, of what is there of it.
    pub end: usize,
}

/// What the scanner sees in a stream.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The messages whose heads are complete, up to a refusal.
    pub messages: Vec<Message>,
    /// Whether it refuses what follows them.
    pub is_refused: bool,
}

/// Scans a stream.
pub fn scan(stream: &[u8]) -> Scanned {
    let mut scanner = Scanner::new(MAX_HEAD);
    let (mut scanned, mut held) = (Scanned::default(), None);
    let messages = &mut scanned.messages;
    for (position, byte) in stream.iter().enumerate() {
        let progress = scanner.scan(std::slice::from_ref(byte));
        match (progress.released, held) {
            (0, None) if progress.scanned > 0 => held = Some(position),
            (0, _) => {}
            (_, Some(start)) => {
                messages.push(Message { start, body: position + 1, end: position + 1 });
                held = None;
            }
            (_, None) => {
                if let Some(message) = messages.last_mut() {
                    message.end = position + 1;
                }
            }
        }
        match progress.halt {
            None => {}
            // The server of these tests switches never.
            Some(Halt::Switch) => scanner.resume(Verdict::Refused),
            Some(Halt::Head(_) | Halt::Body(_)) => {
                scanned.is_refused = true;
                return scanned;
            }
        }
    }
    scanned
}
