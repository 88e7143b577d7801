//! The framing firewall's lower half: a stream between the socket (or TLS) and hyper's HTTP/1 server that judges bytes.
//!
//! hyper accepts what other readers take differently, and hides it from the service: bare LF, `Content-Length` beside
//! `Transfer-Encoding`, repeated lengths. Here each head is held until it is complete and judged. A bad one never reaches
//! hyper: in its place comes a line that hyper refuses, so that the 400 stands in the order of the pipeline, and the
//! connection ends. What is wrong in a body is an error of the read, so hyper's body ends in an error and whoever forwards
//! it aborts. Behind the HTTP/2 preface all bytes pass, and behind a request for another protocol none until
//! [`Handle::decide`].
//!
//! Reads go straight into hyper's buffer. Only a head that is not complete at the end of a read is copied.

mod chunks;
mod handle;
mod head;
mod line;
pub mod scanner;
#[cfg(test)]
mod tests;
mod violation;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, header};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub use handle::Handle;
pub use scanner::Verdict;
pub use violation::Violation;

use scanner::{Halt, Scanner};

/// What hyper reads in place of a refused head. No method begins so.
const REFUSED_LINE: &[u8] = b"\0\r\n\r\n";

/// How much of what a client still sends is read and thrown away at the end, and for how long, if it was refused or its body
/// was not wanted. Bytes that nobody read would make the kernel send a reset, which may overtake the answer.
const MAX_DISCARDED: usize = 8 << 20;
const MAX_LINGERING: Duration = Duration::from_secs(2);

/// Whether a request may make its connection speak another protocol. The tap decides by the same rule which requests it
/// waits for, so each of these wants a [`Handle::decide`].
pub fn asks_to_switch(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::CONNECT || headers.contains_key(header::UPGRADE)
}

pin_project! {
    /// A stream whose reads are judged. Writes pass untouched.
    #[derive(Debug)]
    pub struct Tap<S> {
        #[pin]
        inner: S,
        gate: Gate,
        farewell: Option<Farewell>,
    }
}

/// What is left to be done for a client that is still sending when all is said.
#[derive(Debug)]
struct Farewell {
    /// When it is over, set when there is something to wait for.
    over: Option<Pin<Box<Sleep>>>,
    /// Bytes that it may still send.
    left: usize,
}

impl<S> Tap<S> {
    /// A tap at the start of a connection. A head has at most `max_head` bytes; hyper's own limit (`max_buf_size`) should
    /// not be larger, so that a larger head gets hyper's 431 and not a 400.
    pub fn new(inner: S, max_head: usize) -> Self {
        Self { inner, gate: Gate::new(max_head), farewell: None }
    }

    /// What the server and the log keep of it.
    pub fn handle(&self) -> Handle {
        self.gate.handle.clone()
    }
}

impl<S: AsyncRead> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let gate = this.gate;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if gate.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            match gate.course {
                Course::Reading => {}
                Course::Switching => match gate.handle.poll_verdict(cx) {
                    Poll::Ready(verdict) => {
                        gate.resume(verdict);
                        continue;
                    }
                    Poll::Pending => return gate.poll_peer(this.inner.as_mut(), cx),
                },
                Course::Failing(violation) => {
                    gate.course = Course::Ended;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                Course::Refusing => {
                    gate.ready.extend_from_slice(REFUSED_LINE);
                    gate.course = Course::Ended;
                    continue;
                }
                Course::Ended => return Poll::Ready(Ok(())),
            }
            let before = buffer.filled().len();
            ready!(this.inner.as_mut().poll_read(cx, buffer))?;
            let released = gate.judge(&buffer.filled()[before..]);
            buffer.set_filled(before + released);
            if released > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// All of a tap but the stream.
#[derive(Debug)]
struct Gate {
    scanner: Scanner,
    max_head: usize,
    handle: Handle,
    course: Course,
    /// To be given before anything else is read.
    ready: BytesMut,
    /// The beginning of a head.
    held: BytesMut,
    /// What came behind a request for another protocol.
    withheld: BytesMut,
}

#[derive(Clone, Copy, Debug)]
enum Course {
    Reading,
    /// A request for another protocol was passed on completely.
    Switching,
    /// The next read is the line that hyper refuses. A read of its own, so that hyper judges by itself what came before.
    Refusing,
    /// The next read fails.
    Failing(Violation),
    /// The stream has ended, or is treated so.
    Ended,
}

impl Gate {
    fn new(max_head: usize) -> Self {
        Self {
            scanner: Scanner::new(max_head),
            max_head,
            handle: Handle::default(),
            course: Course::Reading,
            ready: BytesMut::new(),
            held: BytesMut::new(),
            withheld: BytesMut::new(),
        }
    }

    /// Whether there is, or will be, something from the client that nobody has read.
    fn is_client_sending(&self) -> bool {
        self.handle.violation().is_some() || self.scanner.is_amid_body() || !self.withheld.is_empty()
    }

    /// Moves what is ready into the reader's buffer; returns whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        length > 0
    }

    /// Judges what was read, of which nothing is the stream's end. Returns how many of its first bytes may stay where they
    /// are; all else was refused, or put where it waits.
    fn judge(&mut self, input: &[u8]) -> usize {
        if input.is_empty() {
            // hyper says what an incomplete head is to it. It cannot be complete to hyper: it has no empty line.
            self.ready = std::mem::take(&mut self.held);
            self.course = Course::Ended;
            return 0;
        }
        let progress = self.scanner.scan(input);
        if progress.asks_to_switch {
            self.handle.ask();
        }
        let stays = if self.held.is_empty() {
            progress.released
        } else {
            if progress.released > 0 {
                self.ready = std::mem::take(&mut self.held);
                self.ready.extend_from_slice(&input[..progress.released]);
            }
            0
        };
        let rest = &input[progress.released..];
        match progress.halt {
            None => {
                self.held.extend_from_slice(rest);
                self.handle.note_head(!self.held.is_empty());
            }
            Some(Halt::Switch) => {
                self.handle.note_head(false);
                self.withheld.extend_from_slice(rest);
                self.course = Course::Switching;
            }
            Some(Halt::Body(violation)) => {
                self.handle.refuse(violation);
                self.course = Course::Failing(violation);
            }
            Some(Halt::Head(violation)) => self.refuse_head(violation, rest),
        }
        stays
    }

    fn refuse_head(&mut self, violation: Violation, rest: &[u8]) {
        self.handle.refuse(violation);
        self.course = Course::Refusing;
        if violation == Violation::HeadTooLarge {
            // Nothing is wrong with these bytes but their number, so hyper may see it and answer 431.
            let room = self.max_head.saturating_sub(self.held.len());
            self.ready.extend_from_slice(&self.held);
            self.ready.extend_from_slice(&rest[..rest.len().min(room)]);
        }
        self.held.clear();
    }

    fn resume(&mut self, verdict: Verdict) {
        self.scanner.resume(verdict);
        self.course = Course::Reading;
        let withheld = std::mem::take(&mut self.withheld);
        if !withheld.is_empty() {
            let released = self.judge(&withheld);
            let behind = std::mem::replace(&mut self.ready, BytesMut::from(&withheld[..released]));
            self.ready.extend_from_slice(&behind);
        }
    }

    /// While an answer is waited for: notices that the client has gone, as hyper does otherwise. Whatever else comes is
    /// withheld, one read of it; more stays in the socket.
    fn poll_peer<S: AsyncRead>(&mut self, inner: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.withheld.is_empty() {
            let mut bytes = [0; 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(inner.poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.withheld.extend_from_slice(buffer.filled());
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if this.farewell.is_none() {
            ready!(this.inner.as_mut().poll_shutdown(cx))?;
            if !this.gate.is_client_sending() {
                return Poll::Ready(Ok(()));
            }
        }
        let farewell = this.farewell.get_or_insert(Farewell { over: None, left: MAX_DISCARDED });
        farewell.poll(this.inner, cx).map(Ok)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl Farewell {
    /// Reads and forgets until the client has ended its side, or has had its time.
    fn poll<S: AsyncRead>(&mut self, mut inner: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 16 << 10];
        while self.left > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            let Poll::Ready(outcome) = inner.as_mut().poll_read(cx, &mut buffer) else {
                return self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(MAX_LINGERING))).as_mut().poll(cx);
            };
            if outcome.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.left = self.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}
