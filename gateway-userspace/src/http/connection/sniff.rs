//! Tells HTTP/2 by prior knowledge from HTTP/1.1, by the first bytes (RFC 9113, 3.4).

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What every connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1, or something else that its parser will refuse.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Reads until it is clear; returns what was read, too.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Spoken, Bytes)> {
    let mut bytes = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let common = bytes.len().min(PREFACE.len());
        if bytes[..common] != PREFACE[..common] {
            return Ok((Spoken::Http1, bytes.freeze()));
        }
        if common == PREFACE.len() {
            return Ok((Spoken::Http2, bytes.freeze()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spoken(pieces: &[&[u8]]) -> Spoken {
        let (mut client, mut server) = tokio::io::duplex(1024);
        for piece in pieces {
            tokio::io::AsyncWriteExt::write_all(&mut client, piece).await.unwrap();
        }
        let (spoken, bytes) = read(&mut server).await.unwrap();
        assert!(pieces.concat().starts_with(&bytes));
        spoken
    }

    #[tokio::test]
    async fn only_the_whole_preface_is_http2() {
        assert_eq!(spoken(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"rest"]).await, Spoken::Http2);
        assert_eq!(spoken(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"]).await, Spoken::Http1);
        assert_eq!(spoken(&[b"G"]).await, Spoken::Http1);
    }
}
