//! Other readers of HTTP/1.1, as lenient as servers in the field are, each in its own way.
//!
//! Smuggling needs two readers who disagree about where a message ends. So whatever the tap lets through, these must all
//! read alike. They are simple on purpose: they share no code with the tap, and keep to no rule that it relies on.

use std::fmt;

/// What a reader may make of what the standard leaves open, or forbids.
#[derive(Clone, Copy, Debug)]
pub enum Leniency {
    /// LF alone ends a line.
    LfEndsLines,
    /// CR alone ends a line.
    CrEndsLines,
    /// `Content-Length` counts although there is `Transfer-Encoding`.
    LengthWins,
    /// Of several lengths the last one counts, not the first.
    LastLengthWins,
    /// A blank before the colon is dropped, where others take it for a part of the name.
    TrimsNames,
    /// A line that begins with a blank belongs to the one before, where others take it for a field.
    Unfolds,
    /// Any coding that contains "chunked" is chunked, where others want it alone.
    FindsChunked,
    /// Only the leading digits of a number count, where others take 0 for one with anything else in it.
    TakesLeadingDigits,
}

const LENIENCIES: [Leniency; 8] = [
    Leniency::LfEndsLines,
    Leniency::CrEndsLines,
    Leniency::LengthWins,
    Leniency::LastLengthWins,
    Leniency::TrimsNames,
    Leniency::Unfolds,
    Leniency::FindsChunked,
    Leniency::TakesLeadingDigits,
];

/// A reader with some of them.
#[derive(Clone, Copy)]
pub struct Reader(u8);

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("reader ")?;
        formatter.debug_set().entries(LENIENCIES.iter().filter(|leniency| self.is(**leniency))).finish()
    }
}

impl Reader {
    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    fn is(self, leniency: Leniency) -> bool {
        self.0 & (1 << leniency as u8) != 0
    }

    /// Positions behind the complete messages of a stream.
    pub fn ends(self, stream: &[u8]) -> Vec<usize> {
        let (mut ends, mut position) = (Vec::new(), 0);
        while let Some(length) = self.message(&stream[position..]) {
            position += length;
            ends.push(position);
        }
        ends
    }

    /// The length of the first message, if it is complete.
    fn message(self, stream: &[u8]) -> Option<usize> {
        let mut position = 0;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        loop {
            let (line, length) = self.line(&stream[position..])?;
            position += length;
            match line {
                // Empty lines before a request line are skipped.
                [] if lines.is_empty() => {}
                [] => break,
                [b' ' | b'\t', ..] if self.is(Leniency::Unfolds) && lines.len() > 1 => {
                    lines.last_mut()?.extend_from_slice(line);
                }
                line => lines.push(line.to_vec()),
            }
        }
        let body = &stream[position..];
        let is_chunked = self.values(&lines, "transfer-encoding").any(|value| self.is_chunked(value));
        let mut lengths = self.values(&lines, "content-length");
        let length = if self.is(Leniency::LastLengthWins) { lengths.last() } else { lengths.next() };
        let length = length.map(|value| self.number(value, 10));
        match length {
            Some(length) if self.is(Leniency::LengthWins) || !is_chunked => {
                (body.len() >= length).then_some(position + length)
            }
            _ if is_chunked => Some(position + self.chunks(body)?),
            _ => Some(position),
        }
    }

    /// The first line, without its end, and its length with it.
    fn line(self, stream: &[u8]) -> Option<(&[u8], usize)> {
        (0..stream.len()).find_map(|end| match stream[end] {
            b'\r' if stream.get(end + 1) == Some(&b'\n') => Some((&stream[..end], end + 2)),
            b'\r' if self.is(Leniency::CrEndsLines) && end + 1 < stream.len() => Some((&stream[..end], end + 1)),
            b'\n' if self.is(Leniency::LfEndsLines) => Some((&stream[..end], end + 1)),
            _ => None,
        })
    }

    fn values<'a>(self, lines: &'a [Vec<u8>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        lines.iter().skip(1).filter_map(move |line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let found = if self.is(Leniency::TrimsNames) { line[..colon].trim_ascii() } else { &line[..colon] };
            found.eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
    }

    fn is_chunked(self, value: &[u8]) -> bool {
        let value = value.to_ascii_lowercase();
        if self.is(Leniency::FindsChunked) {
            value.windows(7).any(|part| part == b"chunked")
        } else {
            value == b"chunked"
        }
    }

    fn number(self, value: &[u8], radix: u32) -> usize {
        let text = String::from_utf8_lossy(value);
        let digits = text.find(|c: char| !c.is_digit(radix)).map_or(&*text, |end| &text[..end]);
        let counts = self.is(Leniency::TakesLeadingDigits) || digits.len() == text.len();
        // Beyond any stream here, and never an overflow.
        if counts { usize::from_str_radix(digits, radix).unwrap_or(0).min(1 << 40) } else { 0 }
    }

    /// The length of a chunked body, if it is complete.
    fn chunks(self, body: &[u8]) -> Option<usize> {
        let mut position = 0;
        loop {
            let (line, length) = self.line(&body[position..])?;
            position += length;
            let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let size = self.number(size, 16);
            if size == 0 {
                break;
            }
            let (_, length) = self.line(body.get(position + size..)?)?;
            position += size + length;
        }
        loop {
            let (line, length) = self.line(&body[position..])?;
            position += length;
            if line.is_empty() {
                return Some(position);
            }
        }
    }
}
