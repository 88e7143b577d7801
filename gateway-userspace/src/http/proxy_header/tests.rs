//! Headers as others write them, headers of our own, and what is none.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::read::{BadHeader, parse_binary};
use super::*;
use crate::model::http::ProxyVersion;

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// What is read of bytes that come one by one, and what is left of them.
async fn read_slowly(bytes: &[u8]) -> (Result<Speaker, BadHeader>, Vec<u8>) {
    let (mut client, mut server) = tokio::io::duplex(1);
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        let _ = client.write_all(&bytes).await;
    });
    let outcome = read(&mut server).await;
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    sending.await.unwrap();
    (outcome, rest)
}

#[tokio::test]
async fn a_header_is_read_and_not_a_byte_more() {
    let cases: [(&[u8], Speaker); 9] = [
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
            Speaker::Client(ends("192.0.2.1:4711", "198.51.100.1:443")),
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            Speaker::Client(ends("[2001:db8::1]:1", "[2001:db8::2]:65535")),
        ),
        (b"PROXY UNKNOWN\r\n", Speaker::Unknown),
        (b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535 and more\r\n", Speaker::Unknown),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x67\x01\xbb",
            Speaker::Client(ends("192.0.2.1:4711", "198.51.100.1:443")),
        ),
        // With a field of three bytes (type 4: padding).
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x67\x01\xbb\x04\0\x03abc",
            Speaker::Client(ends("192.0.2.1:4711", "198.51.100.1:443")),
        ),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", Speaker::Proxy),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x03abc", Speaker::Proxy),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", Speaker::Unknown),
    ];

    for (header, expected) in cases {
        let (outcome, rest) = read_slowly(&[header, b"GET / HTTP/1.1\r\n"].concat()).await;

        assert_eq!(outcome.unwrap(), expected, "{}", header.escape_ascii());
        assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{}", header.escape_ascii());
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    let cases: [(&[u8], &str); 15] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not begin"),
        (b"PROXY", "ended"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4711", "ended"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n", "CRLF"),
        (b"PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 1\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.1 4711 443\r\n", "an address"),
        (b"PROXY TCP4 ::1 ::1 4711 443\r\n", "an address"),
        (b"PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n", "an address"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", "a port"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", "a port"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n", "family"),
        (long.as_bytes(), "too long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "too long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0", "ended"),
    ];

    for (bytes, expected) in cases {
        let (outcome, _) = read_slowly(bytes).await;

        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(expected), "{}: {message}", bytes.escape_ascii());
    }
}

#[test]
fn binary_headers_that_are_odd_are_refused() {
    let addresses = [0; 12];
    let with = |fields: &[u8]| [&addresses[..], fields].concat();
    let cases: [(u8, u8, Vec<u8>); 8] = [
        (0x11, 0x11, with(b"")),
        (0x22, 0x11, with(b"")),
        (0x21, 0x12, with(b"")),
        (0x21, 0x31, vec![0; 216]),
        (0x21, 0x11, addresses[1..].to_vec()),
        (0x21, 0x21, with(b"")),
        (0x21, 0x11, with(b"\x01\0")),
        (0x21, 0x11, with(b"\x01\0\x02a")),
    ];

    for (command, family, rest) in cases {
        assert!(parse_binary(command, family, &rest).is_err(), "{command:x} {family:x} {}", rest.escape_ascii());
    }
}

#[tokio::test]
async fn what_we_write_is_read_again() {
    let cases = [
        Some(ends("192.0.2.1:4711", "198.51.100.1:443")),
        Some(ends("[2001:db8::1]:1", "[2001:db8::2]:2")),
        Some(ends("192.0.2.1:0", "[2001:db8::2]:2")),
        None,
    ];

    for (version, nobody) in [(ProxyVersion::V1, Speaker::Unknown), (ProxyVersion::V2, Speaker::Proxy)] {
        for ends in cases {
            let (outcome, rest) = read_slowly(&[&header(version, ends)[..], b"x"].concat()).await;

            assert_eq!(outcome.unwrap(), ends.map_or(nobody, Speaker::Client));
            assert_eq!(rest, b"x");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_or_refused(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let stream = [start, &bytes].concat();
        let mut left = &stream[..];

        // A slice is ready at once, so no runtime is needed.
        let outcome = futures::executor::block_on(read(&mut left));

        prop_assert!(outcome.is_err() || stream.len() > left.len());
    }
}
