//! Reads what a `ClientHello` says of the host that it wants, without taking part in the handshake.
//!
//! The bytes may come in any pieces, and the message may be spread over any number of records (RFC 8446, 5.1). All that
//! was read is kept for who goes on with the connection. What a `ClientHello` means beyond the name is rustls' to judge,
//! or, where TLS is passed on, the backend's.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that a `ClientHello` may have, with the heads of its records.
const MAX_BYTES: usize = 16 << 10;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;

/// A `ClientHello`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name in lower case, without a final dot; none if the client named none.
    pub server_name: Option<String>,
    /// All that was read from the stream.
    pub bytes: Bytes,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// Something else than TLS, or broken.
    #[error("not a ClientHello: {0}")]
    Malformed(&'static str),
    /// It did not end within the limit.
    #[error("a ClientHello of more than {MAX_BYTES} bytes")]
    TooLarge,
    /// It did not come in time.
    #[error("no ClientHello in time")]
    Timeout,
    /// The connection ended.
    #[error("the connection ended before a ClientHello")]
    Io(#[source] io::Error),
}

/// Reads one from a stream.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> Result<ClientHello, HelloError> {
    let reading = async {
        let mut bytes = BytesMut::with_capacity(2048);
        loop {
            if stream.read_buf(&mut bytes).await.map_err(HelloError::Io)? == 0 {
                return Err(HelloError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Parsed::Whole(server_name) = parse(&bytes)? {
                return Ok(ClientHello { server_name, bytes: bytes.freeze() });
            }
            if bytes.len() > MAX_BYTES {
                return Err(HelloError::TooLarge);
            }
        }
    };
    tokio::time::timeout(limit, reading).await.unwrap_or(Err(HelloError::Timeout))
}

/// What bytes hold.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// The beginning of a message.
    Part,
    /// A whole one, and the name in it.
    Whole(Option<String>),
}

fn parse(bytes: &[u8]) -> Result<Parsed, HelloError> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let [kind, tail @ ..] = rest {
        if *kind != HANDSHAKE_RECORD {
            return Err(HelloError::Malformed("a record of another kind"));
        }
        let [3, _, high, low, tail @ ..] = tail else {
            let is_old = tail.first().is_some_and(|&major| major != 3);
            return if is_old { Err(HelloError::Malformed("a version before SSL 3")) } else { Ok(Parsed::Part) };
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 {
            return Err(HelloError::Malformed("an empty record"));
        }
        if length > MAX_BYTES {
            return Err(HelloError::TooLarge);
        }
        let present = length.min(tail.len());
        message.extend_from_slice(&tail[..present]);
        if let Some(body) = whole(&message)? {
            return server_name(body).map(Parsed::Whole);
        }
        rest = &tail[present..];
    }
    Ok(Parsed::Part)
}

/// The body of the handshake message, once all of it is there.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    match message {
        [kind, ..] if *kind != CLIENT_HELLO => Err(HelloError::Malformed("another message of the handshake")),
        [_, a, b, c, body @ ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > MAX_BYTES { Err(HelloError::TooLarge) } else { Ok(body.get(..length)) }
        }
        _ => Ok(None),
    }
}

/// The name in a body, if the client named one.
fn server_name(body: &[u8]) -> Result<Option<String>, HelloError> {
    const BROKEN: HelloError = HelloError::Malformed("a length that leads out of it");
    let mut extensions = Reader(extensions(body).ok_or(BROKEN)?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(BROKEN)?;
        let content = extensions.vector_u16().ok_or(BROKEN)?;
        if kind == SERVER_NAME {
            return host_name(content).map(Some).ok_or(HelloError::Malformed("a name that no host has"));
        }
    }
    Ok(None)
}

/// The extensions of a body; there may be none.
fn extensions(body: &[u8]) -> Option<&[u8]> {
    let mut body = Reader(body);
    body.take(2 + 32)?; // version, random
    body.vector_u8()?; // session id
    body.vector_u16()?; // cipher suites
    body.vector_u8()?; // compression methods
    if body.0.is_empty() { Some(body.0) } else { body.vector_u16() }
}

/// The host in a `server_name` extension (RFC 6066, 3), which must be a name of DNS.
fn host_name(content: &[u8]) -> Option<String> {
    let mut names = Reader(Reader(content).vector_u16()?);
    if names.take(1)? != [0] {
        return None;
    }
    let name = std::str::from_utf8(names.vector_u16()?).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_host = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_host.then(|| name.to_ascii_lowercase())
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector_u8(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn vector_u16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    /// What rustls sends for a name, as one record.
    fn hello(name: &'static str) -> Vec<u8> {
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message in records of at most so many bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let records = hello[5..].chunks(size).map(|chunk| {
            let length = (chunk.len() as u16).to_be_bytes();
            [&[22, 3, 1, length[0], length[1]], chunk].concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    #[test]
    fn the_name_is_read_in_lower_case() {
        assert_eq!(parse(&hello("Shop.Example")).unwrap(), Parsed::Whole(Some("shop.example".to_string())));
    }

    #[test]
    fn a_client_that_goes_to_an_address_names_no_host() {
        assert_eq!(parse(&hello("192.0.2.1")).unwrap(), Parsed::Whole(None));
    }

    #[test]
    fn a_message_may_be_spread_over_many_records() {
        let hello = hello("shop.example");

        for size in [1, 3, 50, 200] {
            assert_eq!(parse(&in_records(&hello, size)).unwrap(), Parsed::Whole(Some("shop.example".to_string())));
        }
    }

    #[test]
    fn no_beginning_of_it_is_taken_for_the_whole() {
        let hello = in_records(&hello("shop.example"), 60);

        for end in 0..hello.len() {
            assert_eq!(parse(&hello[..end]).unwrap(), Parsed::Part, "of {end} bytes");
        }
    }

    #[test]
    fn what_is_no_tls_is_refused_at_once() {
        assert!(matches!(parse(b"GET / HTTP/1.1\r\n"), Err(HelloError::Malformed(_))));
        assert!(matches!(parse(&[22, 2]), Err(HelloError::Malformed(_))));
        assert!(matches!(parse(&[22, 3, 1, 0, 5, 2]), Err(HelloError::Malformed(_))));
        assert!(matches!(parse(&[22, 3, 1, 0, 5, 1, 1, 0, 0]), Err(HelloError::TooLarge)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_given_up() {
        let (_client, mut server) = tokio::io::duplex(64);

        let outcome = read(&mut server, Duration::from_secs(10)).await;

        assert!(matches!(outcome, Err(HelloError::Timeout)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_changed_byte_panics(position in 0usize..200, byte in any::<u8>()) {
            let mut hello = hello("shop.example");
            let position = position % hello.len();
            hello[position] = byte;
            let _ = parse(&hello);
        }
    }
}
