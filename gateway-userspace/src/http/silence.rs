//! What becomes of connections whose other side is gone without a word: a client out of reach, a node that has died.
//!
//! Without this a stream that has nothing to say, as a `WebSocket` may have for hours, would keep its place for ever. There is no
//! `TCP_USER_TIMEOUT`: the kernel would count against it that a peer does not read for a while, which it may.

use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};

/// For how long a side may be silent until it is asked, and then between questions, in seconds.
const IDLE_SEC: u32 = 60;
const INTERVAL_SEC: u32 = 15;

/// Questions without answer until the connection ends.
const QUESTIONS: u32 = 4;

/// Has the kernel ask a silent peer whether it is still there, and end the connection if nothing comes back.
pub fn bound(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(socket, KeepAlive, &true)?;
    setsockopt(socket, TcpKeepIdle, &IDLE_SEC)?;
    setsockopt(socket, TcpKeepInterval, &INTERVAL_SEC)?;
    setsockopt(socket, TcpKeepCount, &QUESTIONS)
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
    }
}
