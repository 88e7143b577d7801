//! Judges a request's head line by line, and says how its body is framed.
//!
//! It knows only what decides where a message ends and what two readers could take differently. What a request means is
//! `framing`'s concern and the router's.

use super::violation::Violation;
use crate::http::token::is_token;

/// How a body is delimited (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 0 without `Content-Length`.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a head says about what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// How the body is delimited.
    pub body: Body,
    /// Whether the connection may speak another protocol after this message: CONNECT, or an `Upgrade` field.
    pub asks_to_switch: bool,
}

/// What follows a line of a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another line.
    Line,
    /// The body.
    Body(Framing),
    /// HTTP/2: the preface was complete.
    Http2,
}

/// A head that is being read.
#[derive(Debug, Default)]
pub struct Head {
    stage: Stage,
    is_http_1_0: bool,
    asks_to_switch: bool,
    /// None as long as no field says how the body is framed.
    body: Option<Body>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing was read, on a connection that had no request yet.
    #[default]
    Connection,
    /// Nothing was read but what may stand before a request line.
    Request { empty_line_seen: bool },
    /// The request line was read, and no field.
    FirstField,
    /// At least one field was read.
    Field,
    /// So many lines of the HTTP/2 preface were read.
    Preface(usize),
}

/// The lines of the HTTP/2 connection preface after the first (RFC 9113, 3.4).
const PREFACE: [&[u8]; 3] = [b"", b"SM", b""];

impl Head {
    /// The head of a request that is not the connection's first: no HTTP/2 preface may stand here.
    pub fn following() -> Self {
        Self { stage: Stage::Request { empty_line_seen: false }, ..Self::default() }
    }

    /// Reads one line, without its CRLF.
    pub fn read(&mut self, line: &[u8]) -> Result<Next, Violation> {
        match self.stage {
            Stage::Connection if line == b"PRI * HTTP/2.0" => self.stage = Stage::Preface(0),
            Stage::Connection if line.is_empty() => self.stage = Stage::Request { empty_line_seen: true },
            Stage::Request { empty_line_seen: false } if line.is_empty() => {
                self.stage = Stage::Request { empty_line_seen: true };
            }
            Stage::Connection | Stage::Request { .. } => self.read_request_line(line)?,
            Stage::FirstField | Stage::Field if line.is_empty() => return Ok(Next::Body(self.framing())),
            Stage::FirstField | Stage::Field => self.read_field(line)?,
            Stage::Preface(read) => {
                if line != PREFACE[read] {
                    return Err(Violation::Version);
                }
                if read + 1 == PREFACE.len() {
                    return Ok(Next::Http2);
                }
                self.stage = Stage::Preface(read + 1);
            }
        }
        Ok(Next::Line)
    }

    fn framing(&self) -> Framing {
        Framing { body: self.body.unwrap_or(Body::Length(0)), asks_to_switch: self.asks_to_switch }
    }

    fn read_request_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        if line.is_empty() {
            return Err(Violation::EmptyLines);
        }
        let mut words = line.split(|&byte| byte == b' ');
        let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
        if method.is_empty() || !method.iter().copied().all(is_token) || words.next().is_some() {
            return Err(Violation::RequestLine);
        }
        let (target, version) = match (target, version) {
            (Some(target), Some(version)) if !target.is_empty() && !version.is_empty() => (target, version),
            (Some(target), None) if !target.is_empty() => return Err(Violation::MissingVersion),
            _ => return Err(Violation::RequestLine),
        };
        if !target.iter().copied().all(is_in_target) {
            return Err(Violation::Target);
        }
        self.is_http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Violation::Version),
        };
        self.asks_to_switch = method == b"CONNECT";
        self.stage = Stage::FirstField;
        Ok(())
    }

    fn read_field(&mut self, line: &[u8]) -> Result<(), Violation> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let is_first = self.stage == Stage::FirstField;
            return Err(if is_first { Violation::BlankBeforeFields } else { Violation::ObsoleteFold });
        }
        self.stage = Stage::Field;
        let (name, value) = split_field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            self.read_content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_transfer_encoding(value)
        } else {
            self.asks_to_switch |= name.eq_ignore_ascii_case(b"upgrade");
            Ok(())
        }
    }

    fn read_content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        match self.body {
            Some(Body::Chunked) => return Err(Violation::LengthAndCoding),
            Some(Body::Length(_)) => return Err(Violation::RepeatedContentLength),
            None if value.contains(&b',') => return Err(Violation::RepeatedContentLength),
            None => {}
        }
        self.body = Some(Body::Length(decimal(value).ok_or(Violation::ContentLength)?));
        Ok(())
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Violation> {
        match self.body {
            Some(Body::Length(_)) => return Err(Violation::LengthAndCoding),
            None if self.is_http_1_0 => return Err(Violation::CodingInOldVersion),
            None if value.eq_ignore_ascii_case(b"chunked") => {}
            None | Some(Body::Chunked) => return Err(Violation::TransferEncoding),
        }
        self.body = Some(Body::Chunked);
        Ok(())
    }
}

/// Refuses a trailer that is no field line, or one that would tell framing or routing after the fact.
pub fn judge_trailer(line: &[u8]) -> Result<(), Violation> {
    const FORBIDDEN: [&[u8]; 5] = [b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade"];
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::ObsoleteFold);
    }
    let (name, _) = split_field(line)?;
    if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
        return Err(Violation::ForbiddenTrailer);
    }
    Ok(())
}

/// A field's name, and its value without the blanks around it.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = memchr::memchr(b':', line).ok_or(Violation::FieldWithoutColon)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Violation::BlankBeforeColon);
    }
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Violation::FieldName);
    }
    Ok((name, value.trim_ascii()))
}

/// Visible ASCII but `#`: a fragment is never sent (RFC 9112, 3.2), and some readers cut it off while others do not.
fn is_in_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Digits alone, below 2^63: no sign, no blank, no other base.
fn decimal(value: &[u8]) -> Option<u64> {
    const MAX_DIGITS: usize = 19;
    if value.is_empty() || value.len() > MAX_DIGITS {
        return None;
    }
    let number = value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    i64::try_from(number).is_ok().then_some(number)
}
