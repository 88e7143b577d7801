//! What becomes of connections whose other side is gone without a word: a client out of reach, a node that has died.
//!
//! Without this a stream that has nothing to say, as a `WebSocket` may have for hours, would keep its place for ever, and so would
//! whoever asks for much and reads nothing: bytes that a peer does not take count against it, too.

use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout};

/// For how long a side may be silent until it is asked, and then between questions, in seconds.
const IDLE_SEC: u32 = 60;
const INTERVAL_SEC: u32 = 15;

/// Questions without answer until the connection ends.
const QUESTIONS: u32 = 4;

/// How long a peer may leave bytes where they are, in milliseconds: a player that pauses does so for a while.
const UNREAD_MS: u32 = 300_000;

/// The same of a backend that speaks HTTP/2, which reads whatever becomes of its streams. It is not asked by pings.
const UNREAD_BY_HTTP2_MS: u32 = 30_000;

/// Has the kernel ask a silent peer whether it is still there, and end the connection if nothing comes back.
pub fn bound(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(socket, KeepAlive, &true)?;
    setsockopt(socket, TcpKeepIdle, &IDLE_SEC)?;
    setsockopt(socket, TcpKeepInterval, &INTERVAL_SEC)?;
    setsockopt(socket, TcpKeepCount, &QUESTIONS)?;
    setsockopt(socket, TcpUserTimeout, &UNREAD_MS)
}

/// Has the kernel expect of a peer that it reads all the time.
pub fn expects_reading(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(socket, TcpUserTimeout, &UNREAD_BY_HTTP2_MS)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    #[test]
    fn a_peer_that_is_gone_without_a_word_is_found_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        bound(&stream).unwrap();

        assert!(getsockopt(&stream, KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, TcpKeepIdle).unwrap(), IDLE_SEC);
        assert_eq!(getsockopt(&stream, TcpKeepCount).unwrap(), QUESTIONS);
        assert_eq!(getsockopt(&stream, TcpUserTimeout).unwrap(), UNREAD_MS);
        expects_reading(&stream).unwrap();
        assert_eq!(getsockopt(&stream, TcpUserTimeout).unwrap(), UNREAD_BY_HTTP2_MS);
    }
}
