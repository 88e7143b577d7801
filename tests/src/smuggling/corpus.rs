//! The corpus: each rule of RFC 9112 (sections 2.2, 3, 5, 6, 7.1) and each known attack, with a twin that is fine.
//!
//! A pair is one request that is refused and one, as like it as can be, that is served. The tests send both in the middle
//! of a pipeline.

/// A request that is refused and its valid twin.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about, with its source.
    pub name: &'static str,
    /// The bytes that are refused.
    pub refused: &'static [u8],
    /// The reason that is logged.
    pub reason: &'static str,
    /// What is served.
    pub served: &'static [u8],
}

macro_rules! cases {
    ($($name:literal, $reason:literal: $refused:expr => $served:expr;)*) => {
        &[$(Case { name: $name, reason: $reason, refused: $refused, served: $served }),*]
    };
}

/// Refused by the tap, before hyper sees the head or in the middle of the body.
pub const BYTES: &[Case] = cases! {
    // Lines: RFC 9112, 2.2.
    "bare LF ends the request line (2.2)", "bare_lf":
        b"GET / HTTP/1.1\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "bare LF ends a field line (2.2)", "bare_lf":
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    "bare LF ends the head (2.2)", "bare_lf":
        b"GET / HTTP/1.1\r\nHost: a\r\n\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "two bare LFs in a value hide a request (2.2)", "bare_lf":
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\nGET /in HTTP/1.1\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nX: y GET /in HTTP/1.1\r\n\r\n";
    "bare CR in a value (2.2)", "bare_cr":
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 3\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    "bare CR in the request line (2.2)", "bare_cr":
        b"GET / HTTP/1.1\rX: y\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n";
    "CR CR LF (2.2)", "bare_cr":
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "two empty lines before a request (2.2)", "empty_lines":
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" => b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a bare LF before a request (2.2)", "bare_lf":
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n" => b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a blank before the first field (2.2)", "blank_before_fields":
        b"GET / HTTP/1.1\r\n Host: b\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a tab before the first field (2.2)", "blank_before_fields":
        b"GET / HTTP/1.1\r\n\tHost: b\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "LF CR ends a field line (2.2)", "bare_lf":
        b"GET / HTTP/1.1\r\nHost: a\n\rX: y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    "a bare CR before the first field (2.2)", "bare_cr":
        b"GET / HTTP/1.1\r\n\rHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a bare CR before the empty line (2.2)", "bare_cr":
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n";
    // The request line: RFC 9112, 2.3 and 3.
    "HTTP/0.9 (3)", "missing_version": b"GET /\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a version of no HTTP/1 that is known (2.3)", "version":
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a version in lower case (2.3)", "version":
        b"GET / http/1.1\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a version of two digits (2.3)", "version":
        b"GET / HTTP/1.10\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a tab behind the version (2.3)", "version":
        b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "no target (3)", "missing_version":
        b"GET HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "HTTP/2 in words of HTTP/1 (2.3)", "version":
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "the HTTP/2 preface amid a connection (RFC 9113, 3.4)", "version":
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" => b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    "two blanks in the request line (3)", "request_line":
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a tab in the request line (3)", "request_line":
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a blank behind the version (3)", "request_line":
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a blank in the target (3.2)", "request_line":
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /a%20b HTTP/1.1\r\nHost: a\r\n\r\n";
    "a request in the target (3.2)", "request_line":
        b"GET / HTTP/1.1 /in HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /in HTTP/1.1\r\nHost: a\r\n\r\n";
    "a blank before the method (3)", "request_line":
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a method that is no token (3.1)", "request_line":
        b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n" => b"GE.T / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a fragment in the target (3.2; CVE-2023-45539)", "target":
        b"GET /a#.png HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /a%23.png HTTP/1.1\r\nHost: a\r\n\r\n";
    "a byte above ASCII in the target (3.2)", "target":
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n";
    "NUL in the target (3.2)", "control_byte":
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /%01 HTTP/1.1\r\nHost: a\r\n\r\n";
    // Fields: RFC 9112, 5.
    "a blank before the colon (5.1)", "blank_before_colon":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a tab before the colon (5.1)", "blank_before_colon":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n";
    "a folded value (5.2)", "obsolete_fold":
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 3\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nX: y Content-Length: 3\r\n\r\n";
    "a coding in a folded line, so the first line has none (5.2)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a line without colon (5)", "field_without_colon":
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n";
    "an empty name (5.1)", "field_name":
        b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    "a name that is no token (5.1)", "field_name":
        b"GET / HTTP/1.1\r\nHost: a\r\nX(): y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: ()y\r\n\r\n";
    "a blank in a name (5.1)", "field_name":
        b"GET / HTTP/1.1\r\nHost: a\r\nContent Length: 3\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    "NUL in a name (5.1)", "control_byte":
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    "NUL in a value (RFC 9110, 5.5)", "control_byte":
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: y\tz\r\n\r\n";
    "a vertical tab before a coding (RFC 9110, 5.5)", "control_byte":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tchunked\r\n\r\n0\r\n\r\n";
    "DEL in a value (RFC 9110, 5.5)", "control_byte":
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n";
    "a name in quotes (5.1)", "field_name":
        b"GET / HTTP/1.1\r\nHost: a\r\n\"X\": y\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nX: \"y\"\r\n\r\n";
    "a byte above ASCII in a name (5.1)", "field_name":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length\xa0: 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: \xa0\r\n\r\nabc";
    // Framing: RFC 9112, 6.
    "CL.TE: length before coding (6.3, 3)", "length_and_coding":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
    "TE.CL: coding before length (6.3, 3)", "length_and_coding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\na\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    "two lengths that differ (6.3, 5)", "repeated_content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "two lengths that agree (6.3, 5)", "repeated_content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nabc";
    "a list of lengths (6.3, 5)", "repeated_content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  3 \r\n\r\nabc";
    "a length with a plus (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a length below 0 (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc";
    "a hexadecimal length (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a length with a blank inside (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "an empty length (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    "a length beyond 64 bits (6.2; RFC 9110, 8.6)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000003\r\n\r\nabc";
    "a length with a fraction (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a length with a parameter (6.2)", "content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3;a=b\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a length and an empty one in a list (6.3, 5)", "repeated_content_length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "a length in a GET that is said twice (6.3, 5)", "repeated_content_length":
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"
        => b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "chunked as a part of a word (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkeD\r\n\r\n0\r\n\r\n";
    "chunked and an empty element (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "chunked and identity (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "an unknown coding in the first line (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "an empty coding in a second line (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "NUL behind a coding (6.1)", "control_byte":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n";
    "a coding in a GET beside a length (6.3, 3)", "length_and_coding":
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a coding that is not chunked (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n";
    "chunked that is not final (6.3, 4)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "another coding under chunked (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n0\r\n\r\n";
    "chunked twice in a list (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "chunked twice in lines (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "an unknown coding in a second line (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-encoding: cow\r\n\r\n0\r\n\r\n";
    "identity, which was removed (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    "an empty coding (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    "a coding in quotes (6.1)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a parameter of chunked (7)", "transfer_encoding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a coding in HTTP/1.0 (6.1; CVE-2026-2835)", "coding_in_old_version":
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    // Chunks: RFC 9112, 7.1.
    "a chunk's line ends by a bare LF (7.1)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a chunk's line ends by a bare CR (7.1)", "bare_cr":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\rabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "the last chunk's line ends by a bare LF (7.1)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a chunked body ends by a bare LF (7.1)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a chunk's data is longer than its size (7.1)", "chunk_end":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    "a chunk's data ends by a bare LF (7.1)", "chunk_end":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc\n\r\n0\r\n\r\n";
    "any two bytes behind a chunk's data (7.1)", "chunk_end":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a chunk's data is shorter than its size (7.1)", "chunk_end":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\n\r\n00\r\n\r\n";
    "a chunk's line ends by LF CR (7.1)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\n\rabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a chunk's size that is no number (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ng\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nabcdefghij\r\n0\r\n\r\n";
    "a chunk's size with an underscore (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_3\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n003\r\nabc\r\n0\r\n\r\n";
    "a chunk's size as 0x3 (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n";
    "a chunk's size with a sign (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a chunk's size below 0 (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "no size of a chunk (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "a blank before a chunk's size (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a blank behind a chunk's size (7.1)", "chunk_size":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    "a chunk's size beyond 64 bits (7.1)", "chunk_size_overflow":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n000000000000003\r\nabc\r\n0\r\n\r\n";
    "a quoted chunk extension (7.1.1; CVE-2026-33870, CVE-2026-2332)", "chunk_extension":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n";
    "a bare LF in a chunk extension (7.1.1)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\n\r\n";
    "a bare CR in a chunk extension (7.1.1)", "bare_cr":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a;b\r\nabc\r\n0\r\n\r\n";
    "a blank in a chunk extension (7.1.1)", "chunk_extension":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3; a\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\n\r\n";
    "a comma in a chunk extension (7.1.1)", "chunk_extension":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a,b\r\nabc\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b;c\r\nabc\r\n0\r\n\r\n";
    "a coding as trailer (7.1.2; RFC 9110, 6.5.1)", "forbidden_trailer":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Encoding: chunked\r\n\r\n";
    "a Host as trailer (7.1.2; RFC 9110, 6.5.1)", "forbidden_trailer":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nhost: b\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nhosts: b\r\n\r\n";
    "a blank before a trailer's colon (7.1.2)", "blank_before_colon":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:y\r\n\r\n";
    "NUL in a trailer (7.1.2)", "control_byte":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \t\r\n\r\n";
    "a length as trailer (7.1.2; RFC 9110, 6.5.1)", "forbidden_trailer":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Digest: 3\r\n\r\n";
    "a folded trailer (7.1.2)", "obsolete_fold":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nY: z\r\n\r\n";
    "a trailer ends by a bare LF (7.1.2)", "bare_lf":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n";
    "a trailer that is a request (7.1.2)", "field_without_colon":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /in HTTP/1.1\r\nHost: a\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: GET /in HTTP/1.1\r\n\r\n";
};

/// Refused by `framing`, on the parsed head.
pub const HEADS: &[Case] = cases! {
    "no Host (3.2)", "missing_host": b"GET / HTTP/1.1\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "two Hosts (3.2)", "repeated_host":
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "one Host twice (3.2)", "repeated_host":
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n" => b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    "an empty Host (3.2)", "invalid_host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    "a list of Hosts (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a.b\r\n\r\n";
    "a Host with user information (RFC 9110, 4.2.4)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a-b:80\r\n\r\n";
    "a Host with a path (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";
    "a Host with a port that is none (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n";
    "a Host with a port beyond 65535 (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n";
    "a Host with two ports (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: [::80:81]\r\n\r\n";
    "a Host whose bracket stays open (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n";
    "a blank in Host (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" => b"GET / HTTP/1.1\r\nHost:  a \r\n\r\n";
    "an encoded Host (3.2)", "invalid_host":
        b"GET / HTTP/1.1\r\nHost: a%00\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a00\r\n\r\n";
    "a target with a host, and no Host (3.2)", "missing_host":
        b"GET http://a/ HTTP/1.1\r\n\r\n" => b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    "a target with user information (3.2.2; RFC 9110, 4.2.4)", "invalid_host":
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET http://a/@ HTTP/1.1\r\nHost: a\r\n\r\n";
    "a target for one port, Host for another (3.2.2)", "host_mismatch":
        b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET http://a:81/ HTTP/1.1\r\nHost: a:81\r\n\r\n";
    "a target for one host, Host for another (3.2.2)", "host_mismatch":
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET http://A:80/ HTTP/1.1\r\nHost: a\r\n\r\n";
    "a target of no HTTP (3.2.2)", "invalid_target":
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    "a target that is a host, without CONNECT (3.2.3)", "invalid_target":
        b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" => b"GET http://a:80/ HTTP/1.1\r\nHost: a:80\r\n\r\n";
    "a target that is a name (3.2.1)", "invalid_target":
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n" => b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    "an asterisk without OPTIONS (3.2.4)", "invalid_target":
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n" => b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    "Connection names the length (CVE-2026-6338)", "connection_names_field":
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabc"
        => b"POST / HTTP/1.1\r\nHost: a\r\nConnection: X-Length\r\nContent-Length: 3\r\n\r\nabc";
    "Connection names the coding", "connection_names_field":
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, TE\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    "Connection names Host", "connection_names_field":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: HOST\r\n\r\n" => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Te\r\n\r\n";
    "Connection names the credentials", "connection_names_field":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: Authorization\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: b\r\n\r\n";
    "Connection names whom the request is from", "connection_names_field":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: b\r\n\r\n";
    "Connection that is no list of tokens (RFC 9110, 7.6.1)", "invalid_connection":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \"Host\"\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: , keep-alive,\r\n\r\n";
    "an upgrade with a length (CVE-2026-58055, CVE-2026-2833)", "upgrade_with_body":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc"
        => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    "an upgrade with chunks", "upgrade_with_body":
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
};
