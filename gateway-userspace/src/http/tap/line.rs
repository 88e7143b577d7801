//! Finds lines in bytes that come in pieces, and what no line may contain.
//!
//! A line that is whole in one piece is judged where it stands; only one that is split is copied together. Bytes are
//! judged from left to right, before anybody asks what they mean, so that the answer never depends on the pieces.

use super::violation::Violation;

/// What `Lines::next` found at the start of a piece.
pub enum Found<'a> {
    /// A line without its CRLF, and how many bytes of the piece it took.
    Line(&'a [u8], usize),
    /// The piece ends before the line does; all of it was taken.
    Part,
    /// The room for the section ended before the line did.
    NoRoom,
}

/// A line that has begun in earlier pieces.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    /// Whether `begun` was handed out and has to go before the next line.
    is_done: bool,
}

impl Lines {
    /// Looks for the end of a line in `piece`, which begins where the last call stopped. At most `room` bytes are used.
    pub fn next<'a>(&'a mut self, piece: &'a [u8], room: usize) -> Result<Found<'a>, Violation> {
        if std::mem::take(&mut self.is_done) {
            self.begun.clear();
        }
        let window = &piece[..piece.len().min(room)];
        match memchr::memchr(b'\n', window) {
            Some(end) if self.begun.is_empty() => Ok(Found::Line(content(&window[..end])?, end + 1)),
            Some(end) => {
                self.begun.extend_from_slice(&window[..end]);
                self.is_done = true;
                Ok(Found::Line(content(&self.begun)?, end + 1))
            }
            None => {
                let judged = self.begun.len().saturating_sub(1);
                self.begun.extend_from_slice(window);
                judge(&self.begun[judged..])?;
                Ok(if window.len() == room { Found::NoRoom } else { Found::Part })
            }
        }
    }
}

/// The content of what stood before an LF.
fn content(before_lf: &[u8]) -> Result<&[u8], Violation> {
    judge(before_lf)?;
    before_lf.strip_suffix(b"\r").ok_or(Violation::BareLf)
}

/// Refuses a CR that something follows, and control bytes. A CR at the end may still get its LF.
fn judge(bytes: &[u8]) -> Result<(), Violation> {
    let Some(position) = bytes.iter().position(|&byte| is_control(byte)) else { return Ok(()) };
    match bytes[position] {
        b'\r' if position + 1 == bytes.len() => Ok(()),
        b'\r' => Err(Violation::BareCr),
        _ => Err(Violation::ControlByte),
    }
}

/// All but HTAB, which values may contain.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `input`, fed in pieces of `size`.
    fn lines(input: &[u8], size: usize) -> Result<Vec<Vec<u8>>, Violation> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for mut piece in input.chunks(size) {
            while !piece.is_empty() {
                match lines.next(piece, usize::MAX)? {
                    Found::Line(line, taken) => {
                        found.push(line.to_vec());
                        piece = &piece[taken..];
                    }
                    Found::Part => break,
                    Found::NoRoom => panic!("there is room"),
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn lines_and_refusals_do_not_depend_on_the_pieces() {
        let cases: [(&[u8], Result<usize, Violation>); 6] = [
            (b"a\r\n\r\nbc\r\nrest", Ok(3)),
            (b"a\r\nb\nc\r\n", Err(Violation::BareLf)),
            (b"a\rb\n", Err(Violation::BareCr)),
            (b"a\r\r\n", Err(Violation::BareCr)),
            (b"a\0\r\n", Err(Violation::ControlByte)),
            (b"tab\tand \xc3\xbc\r\n", Ok(1)),
        ];

        for (input, expected) in cases {
            for size in 1..=input.len() {
                let found = lines(input, size).map(|lines| lines.len());
                assert_eq!(found, expected, "{:?} in pieces of {size}", input.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_forbidden_byte_is_found_before_its_line_ends() {
        let mut lines = Lines::default();

        assert!(matches!(lines.next(b"a\r", 100), Ok(Found::Part)));
        assert_eq!(lines.next(b"b", 100).err(), Some(Violation::BareCr));
    }
}
