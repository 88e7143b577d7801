//! The benchmark's load: a server that plays along with a client that measures, both as thin as sockets allow.
//!
//! A TCP connection begins with a byte that says what it is for. Threads and blocking calls on both sides, so that
//! what is measured is the path and not a runtime.

pub mod server;

/// Upload: the server reads to the end and answers with the number of bytes, 8 bytes in network order.
pub const UPLOAD: u8 = b'U';
/// Download: the server sends until the client closes.
pub const DOWNLOAD: u8 = b'D';
/// The server answers every [`MESSAGE_BYTES`] with as many.
pub const EXCHANGE: u8 = b'X';
/// The server answers with the number of datagrams it has received so far, 8 bytes in network order.
pub const COUNT: u8 = b'C';

/// Size of a request, of a response and of a datagram.
pub const MESSAGE_BYTES: usize = 64;
/// Size of one read or write of a stream.
pub const CHUNK_BYTES: usize = 128 * 1024;
