//! Makes streams of requests from a tape: mostly sound ones, some with one thing wrong, some damaged.

use super::corpus::{BYTES, HEADS};
use crate::tape::Tape;

/// Methods and targets, the sound ones first.
const METHODS: &[&str] = &["GET", "POST", "PUT", "OPTIONS", "get", "CONNECT", "PRI", "G\tT", ""];
const TARGETS: &[&str] = &["/", "/a?b=c", "*", "http://a/", "http://b/x", "a:80", "/#f", "/a b", "", "/\u{7f}"];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", ""];

/// Fields beside the framing. The first six are sound.
const FIELDS: &[&str] = &[
    "Accept: */*",
    "X: \u{fc}\t\"y\"",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "TE: trailers",
    "Connection: close",
    "Empty:",
    "Host: b",
    "X : y",
    " X: y",
    "X",
    ": y",
    "X\0: y",
    "X: a\0b",
    "X: a\rb",
    "Connection: Content-Length",
    "Content-Length : 3",
    "Content_Length: 3",
    "Transfer-Encoding\t: chunked",
];

/// What may end a line, CRLF first.
const LINE_ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", " \r\n", "\0\r\n", "\r\n "];

/// Values of `Content-Length`; `#` stands for the body's true length.
const LENGTHS: &[&str] =
    &["#", "#", " # ", "0#", "+#", "-#", "#, #", "0x#", "# #", "#;", "", "99999999999999999999", "1"];

/// Values of `Transfer-Encoding`.
const CODINGS: &[&str] = &[
    "chunked",
    "Chunked",
    "chunked, chunked",
    "identity",
    "gzip, chunked",
    "chunked, gzip",
    "xchunked",
    "\x0bchunked",
];

/// What may follow a chunk's size.
const EXTENSIONS: &[&str] = &["", "", ";a", ";a=b", ";a=\"b\"", ";a=\"\r\n0\r\n\r\n\"", " ", "; a", "\t", ";\n", "x"];

/// Trailers.
const TRAILERS: &[&str] = &["X: y", "Digest: z", "Content-Length: 3", " X: y", "X", "Host: b"];

/// Makes a stream of up to four requests.
pub fn stream(tape: &mut Tape<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=tape.below(4) {
        let fault = if tape.rarely(2) { tape.pick(&FAULTS) } else { Fault::None };
        Request { tape, fault, bytes: &mut bytes }.write();
    }
    if tape.rarely(4) {
        damage(tape, &mut bytes);
    }
    bytes
}

/// Makes a stream of up to four requests of the corpus, damaged.
pub fn from_corpus(tape: &mut Tape<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=tape.below(4) {
        let cases = if tape.rarely(4) { HEADS } else { BYTES };
        let case = &cases[tape.below(cases.len())];
        bytes.extend_from_slice(if tape.rarely(4) { case.refused } else { case.served });
    }
    damage(tape, &mut bytes);
    bytes
}

/// Makes a parsed head, of any version, with fields that `http` takes; none where it does not take the target.
pub fn head(tape: &mut Tape<'_>) -> Option<http::request::Parts> {
    const VERSIONS: [http::Version; 3] = [http::Version::HTTP_11, http::Version::HTTP_2, http::Version::HTTP_10];
    const TARGETS: [&str; 8] =
        ["/", "http://a/", "https://a:443/b", "http://u@a/", "a:80", "*", "ftp://a/", "http://b/"];
    const NAMES: [&str; 9] = [
        "host",
        "connection",
        "te",
        "upgrade",
        "content-length",
        "transfer-encoding",
        "authorization",
        "x",
        "keep-alive",
    ];
    const VALUES: [&str; 14] = [
        "a",
        "A:80",
        "a:443",
        "",
        "upgrade, x",
        "te, close",
        "Host",
        "Content-Length",
        "X-Forwarded-For, \"",
        "trailers",
        "chunked",
        "3",
        "u@a",
        "[::1]:80",
    ];
    let method = tape.pick(&["GET", "OPTIONS", "CONNECT"]);
    let mut request = http::Request::builder().method(method).uri(tape.pick(&TARGETS)).version(tape.pick(&VERSIONS));
    if !tape.rarely(4) {
        request = request.header("host", "a");
    }
    for _ in 0..tape.below(6) {
        request = request.header(tape.pick(&NAMES), tape.pick(&VALUES));
    }
    request.body(()).ok().map(|request| request.into_parts().0)
}

/// Makes up to five positions in a stream.
pub fn cuts(tape: &mut Tape<'_>, length: usize) -> Vec<usize> {
    (0..tape.below(6)).map(|_| tape.below(length + 1)).collect()
}

/// What may be wrong in a request: one thing, or nearly none would be sound up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Start,
    RequestLine,
    LineEnd,
    Host,
    Field,
    Framing,
    Length,
    Coding,
    Chunk,
}

const FAULTS: [Fault; 9] = [
    Fault::Start,
    Fault::RequestLine,
    Fault::LineEnd,
    Fault::Host,
    Fault::Field,
    Fault::Framing,
    Fault::Length,
    Fault::Coding,
    Fault::Chunk,
];

/// A request that is being written.
struct Request<'a, 'b> {
    tape: &'a mut Tape<'b>,
    fault: Fault,
    bytes: &'a mut Vec<u8>,
}

impl Request<'_, '_> {
    /// One of the first `sound` texts, or one of all if this is where the fault is.
    fn pick(&mut self, place: Fault, all: &[&'static str], sound: usize) -> &'static str {
        self.tape.pick(if self.fault == place { all } else { &all[..sound] })
    }

    fn put(&mut self, text: &str) {
        // As single bytes, so that those above ASCII are none of UTF-8.
        self.bytes.extend(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')));
    }

    fn put_one(&mut self, place: Fault, all: &[&'static str], sound: usize) {
        let text = self.pick(place, all, sound);
        self.put(text);
    }

    fn write(&mut self) {
        self.put_one(Fault::Start, &["", "\r\n", "\r\n\r\n", "\n", " ", "\0", "\r"], 2);
        self.put_one(Fault::RequestLine, METHODS, 3);
        self.put_one(Fault::RequestLine, &[" ", "  ", "\t", ""], 1);
        self.put_one(Fault::RequestLine, TARGETS, 2);
        self.put_one(Fault::RequestLine, &[" ", "  ", "\t", ""], 1);
        self.put_one(Fault::RequestLine, VERSIONS, 3);
        self.put_one(Fault::LineEnd, LINE_ENDS, 1);
        self.put_one(Fault::Host, &["Host: a\r\n", "", "Host: a\r\nHost: a\r\n", "host:a,b\r\n"], 1);
        self.put_one(Fault::Field, FIELDS, 6);
        self.put_one(Fault::LineEnd, LINE_ENDS, 1);
        let data = self.tape.pick(&["", "abc", "0\r\n\r\n", "GET /in HTTP/1.1\r\nHost: a\r\n\r\n"]);
        let framings = &["none", "length", "chunked", "length and chunked", "two lengths", "two codings", "only data"];
        match self.pick(Fault::Framing, framings, 3) {
            "length" => self.with_length(data),
            "chunked" => self.with_chunks(data),
            "length and chunked" => {
                self.put("Content-Length: 3\r\n");
                self.with_chunks(data);
            }
            "two lengths" => {
                self.put("content-length: 3\r\n");
                self.with_length(data);
            }
            "two codings" => {
                self.put("Transfer-Encoding: chunked\r\n");
                self.with_chunks(data);
            }
            "only data" => self.put(&format!("\r\n{data}")),
            _ => self.put("\r\n"),
        }
    }

    fn with_length(&mut self, data: &str) {
        let value = self.pick(Fault::Length, LENGTHS, 1).replace('#', &data.len().to_string());
        self.put(&format!("Content-Length: {value}\r\n\r\n{data}"));
    }

    fn with_chunks(&mut self, data: &str) {
        let coding = self.pick(Fault::Coding, CODINGS, 2);
        self.put(&format!("Transfer-Encoding: {coding}\r\n\r\n"));
        if !data.is_empty() {
            self.put_one(Fault::Chunk, &["", "0", "0x", "+", " ", "fffffffffffffffff"], 2);
            self.put(&format!("{:x}", data.len()));
            self.put_one(Fault::Chunk, EXTENSIONS, 4);
            self.put_one(Fault::Chunk, LINE_ENDS, 1);
            self.put(data);
            self.put_one(Fault::Chunk, &["\r\n", "\n", "", "x\r\n"], 1);
        }
        self.put("0");
        self.put_one(Fault::Chunk, EXTENSIONS, 4);
        self.put_one(Fault::Chunk, LINE_ENDS, 1);
        if self.tape.rarely(3) {
            self.put_one(Fault::Chunk, TRAILERS, 2);
            self.put_one(Fault::Chunk, LINE_ENDS, 1);
        }
        self.put_one(Fault::Chunk, &["\r\n", "\n", "\r", ""], 1);
    }
}

/// Changes, removes or adds a few bytes, or breaks off.
fn damage(tape: &mut Tape<'_>, bytes: &mut Vec<u8>) {
    const ODD: &[u8] = b"\r\n \t:;,\0\x7f0a\"#/\xff";
    for _ in 0..=tape.below(3) {
        if bytes.is_empty() {
            return;
        }
        let position = tape.below(bytes.len());
        match tape.byte() % 4 {
            0 => bytes[position] = tape.pick(ODD),
            1 => drop(bytes.remove(position)),
            2 => bytes.insert(position, tape.pick(ODD)),
            _ => bytes.truncate(position),
        }
    }
}
