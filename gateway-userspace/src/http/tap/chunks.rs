//! Follows a chunked body to its end (RFC 9112, 7.1), and refuses what two readers could take differently.
//!
//! Data is counted, never looked at. Trailers are judged line by line.

use super::head::judge_trailer;
use super::line::{Found, Lines};
use super::violation::Violation;
use crate::http::token::is_token;

/// Bytes of chunk extensions that one body may have. Nobody's service reads them.
const MAX_EXTENSIONS: usize = 4096;

/// Bytes of trailers that one body may have. Below hyper's own limit, so that the reason is ours.
const MAX_TRAILERS: usize = 8192;

/// Digits of a chunk's size: no sum of sizes overflows, and no leading zeros go on for ever.
const MAX_DIGITS: u8 = 15;

/// A chunked body that is being followed.
#[derive(Debug)]
pub struct Chunks {
    place: Place,
    extensions: usize,
    trailers: usize,
    lines: Lines,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
}

/// The place before a chunk's size.
const START: Place = Place::Size { size: 0, digits: 0 };

/// How far a piece of a body went.
#[derive(Debug, PartialEq, Eq)]
pub struct Followed {
    /// Bytes that belong to the body and may be passed on, also if a violation follows them.
    pub taken: usize,
    /// Whether the body ends after them, or what is wrong there.
    pub ended: Result<bool, Violation>,
}

impl Chunks {
    /// A body of which nothing was read.
    pub fn new() -> Self {
        Self { place: START, extensions: 0, trailers: 0, lines: Lines::default() }
    }

    /// Follows the body through `piece`, which begins where the last one ended.
    pub fn follow(&mut self, piece: &[u8]) -> Followed {
        let mut taken = 0;
        while taken < piece.len() {
            let rest = &piece[taken..];
            let step = match self.place {
                Place::Data { left } => Ok(self.skip(left, rest.len())),
                Place::Trailers => match self.trailer(rest) {
                    Ok((length, true)) => return Followed { taken: taken + length, ended: Ok(true) },
                    Ok((length, false)) => Ok(length),
                    Err(violation) => Err(violation),
                },
                place => self.advance(place, rest[0]).map(|next| {
                    self.place = next;
                    1
                }),
            };
            match step {
                Ok(length) => taken += length,
                Err(violation) => return Followed { taken, ended: Err(violation) },
            }
        }
        Followed { taken, ended: Ok(false) }
    }

    /// Skips a chunk's data; returns how many bytes.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let length = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - length as u64;
        self.place = if left == 0 { Place::DataCr } else { Place::Data { left } };
        length
    }

    /// Where one byte leads that is neither data nor trailer.
    fn advance(&mut self, place: Place, byte: u8) -> Result<Place, Violation> {
        match (place, byte) {
            (Place::SizeLf { size: 0 }, b'\n') => Ok(Place::Trailers),
            (Place::SizeLf { size }, b'\n') => Ok(Place::Data { left: size }),
            (Place::SizeLf { .. }, _) => Err(Violation::BareCr),
            (Place::Size { .. } | Place::Extension { .. }, b'\n') => Err(Violation::BareLf),
            (Place::Size { size, digits }, _) => Self::size(size, digits, byte),
            (Place::Extension { size }, _) => self.extension(size, byte),
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(START),
            (Place::DataCr | Place::DataLf, _) => Err(Violation::ChunkEnd),
            (Place::Data { .. } | Place::Trailers, _) => Ok(place),
        }
    }

    fn size(size: u64, digits: u8, byte: u8) -> Result<Place, Violation> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == MAX_DIGITS {
                return Err(Violation::ChunkSizeOverflow);
            }
            return Ok(Place::Size { size: size << 4 | u64::from(digit), digits: digits + 1 });
        }
        match byte {
            b'\r' if digits > 0 => Ok(Place::SizeLf { size }),
            b';' if digits > 0 => Ok(Place::Extension { size }),
            _ => Err(Violation::ChunkSize),
        }
    }

    fn extension(&mut self, size: u64, byte: u8) -> Result<Place, Violation> {
        if byte == b'\r' {
            return Ok(Place::SizeLf { size });
        }
        if !is_token(byte) && byte != b'=' && byte != b';' {
            return Err(Violation::ChunkExtension);
        }
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Violation::ChunkExtensionsTooLarge);
        }
        Ok(Place::Extension { size })
    }

    /// Reads up to the end of a trailer's line; returns how many bytes, and whether it was the empty one.
    fn trailer(&mut self, rest: &[u8]) -> Result<(usize, bool), Violation> {
        let (length, is_end) = match self.lines.next(rest, MAX_TRAILERS - self.trailers)? {
            Found::Line(b"", length) => (length, true),
            Found::Line(line, length) => {
                judge_trailer(line)?;
                (length, false)
            }
            Found::Part => (rest.len(), false),
            Found::NoRoom => return Err(Violation::TrailersTooLarge),
        };
        self.trailers += length;
        Ok((length, is_end))
    }
}
