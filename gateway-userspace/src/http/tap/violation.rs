//! Why a connection's bytes were refused: one reason for each rule, with the section that it comes from.
//!
//! Names are part of the log's and the metrics' form: they are added to, and never changed.

use std::fmt;

/// What the bytes of a client broke. Sections are those of RFC 9112, where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// LF without CR before it, in a head, a chunk's line or a trailer (2.2). One reader ends a line there, another does not.
    BareLf,
    /// CR without LF after it (2.2).
    BareCr,
    /// NUL or another control byte in a line (RFC 9110, 5.5).
    ControlByte,
    /// More than one empty line before a request line (2.2 allows to skip "at least one").
    EmptyLines,
    /// A head longer than the limit (3, 5: "no predefined limit", so a server has its own).
    HeadTooLarge,
    /// Not method, one blank, target, one blank, version (3).
    RequestLine,
    /// A request line without version, as before HTTP/1.0 (2.3; 3).
    MissingVersion,
    /// A version that is neither HTTP/1.1 nor HTTP/1.0 (2.3), or a broken HTTP/2 preface (RFC 9113, 3.4).
    Version,
    /// A byte in the target that no URI has, or a fragment (3.2).
    Target,
    /// A blank at the start of the first field line (2.2).
    BlankBeforeFields,
    /// A field that goes on in the next line (5.2).
    ObsoleteFold,
    /// A field line without colon (5).
    FieldWithoutColon,
    /// A blank between a field's name and its colon (5.1).
    BlankBeforeColon,
    /// A field's name that is empty or no token (5.1).
    FieldName,
    /// `Content-Length` that is not a plain decimal number below 2^63 (6.2; RFC 9110, 8.6).
    ContentLength,
    /// `Content-Length` more than once, in lines or as a list, even if the numbers agree (6.3, 5).
    RepeatedContentLength,
    /// `Content-Length` and `Transfer-Encoding` in one message (6.3, 3).
    LengthAndCoding,
    /// `Transfer-Encoding` that is not `chunked` alone, or is there twice (6.1; 6.3, 4).
    TransferEncoding,
    /// `Transfer-Encoding` in a request of HTTP/1.0 (6.1).
    CodingInOldVersion,
    /// A chunk's size that is not a hexadecimal number alone (7.1).
    ChunkSize,
    /// A chunk's size of more than 15 digits (7.1: "anticipate … large hexadecimal numerals").
    ChunkSizeOverflow,
    /// A chunk extension with quotes, blanks or what is no token (7.1.1).
    ChunkExtension,
    /// Chunk extensions of one body that are longer than the limit (7.1.1: "limit the total length").
    ChunkExtensionsTooLarge,
    /// A chunk's data that is not followed by CRLF (7.1).
    ChunkEnd,
    /// A trailer that says how the message is framed or routed (RFC 9110, 6.5.1).
    ForbiddenTrailer,
    /// A trailer section longer than the limit (7.1.2).
    TrailersTooLarge,
}

impl Violation {
    /// The stable name, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::EmptyLines => "empty_lines",
            Self::HeadTooLarge => "head_too_large",
            Self::RequestLine => "request_line",
            Self::MissingVersion => "missing_version",
            Self::Version => "version",
            Self::Target => "target",
            Self::BlankBeforeFields => "blank_before_fields",
            Self::ObsoleteFold => "obsolete_fold",
            Self::FieldWithoutColon => "field_without_colon",
            Self::BlankBeforeColon => "blank_before_colon",
            Self::FieldName => "field_name",
            Self::ContentLength => "content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::LengthAndCoding => "length_and_coding",
            Self::TransferEncoding => "transfer_encoding",
            Self::CodingInOldVersion => "coding_in_old_version",
            Self::ChunkSize => "chunk_size",
            Self::ChunkSizeOverflow => "chunk_size_overflow",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkExtensionsTooLarge => "chunk_extensions_too_large",
            Self::ChunkEnd => "chunk_end",
            Self::ForbiddenTrailer => "forbidden_trailer",
            Self::TrailersTooLarge => "trailers_too_large",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the client's bytes break HTTP/1.1 framing: {}", self.name())
    }
}

impl std::error::Error for Violation {}
