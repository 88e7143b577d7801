//! A gRPC service and calls to it, both by tonic: one message and streams, either way, and how calls end.
//!
//! The calls judge what comes back: whoever runs them between a client and a server learns of whatever the way between them
//! does to a call.

pub mod calls;
mod service;

pub use self::service::serve;

/// The service's name.
const SERVICE: &str = "beeline.test.Talk";

/// The methods' paths: one message each way, a stream to the server, from it, and both at a time.
const ONE: &str = "/beeline.test.Talk/One";
const COLLECT: &str = "/beeline.test.Talk/Collect";
const COUNT: &str = "/beeline.test.Talk/Count";
const CHAT: &str = "/beeline.test.Talk/Chat";

/// Metadata that the service sends back, before the answer and behind it.
const ECHOED: &str = "x-echoed";

/// What the service says of an error, beside its code and message.
const DETAILS: &[u8] = &[0, 255, 7];

/// The messages of all methods.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Note {
    /// Any text; [`FAIL`] and [`SLEEP`] mean something to the service.
    #[prost(string, tag = "1")]
    pub text: String,
    /// A number: of messages, or of the message.
    #[prost(uint32, tag = "2")]
    pub number: u32,
}

/// A text that makes the service fail.
pub const FAIL: &str = "fail";
/// A text that makes the service take its time.
pub const SLEEP: &str = "sleep";

impl Note {
    fn new(text: &str, number: u32) -> Self {
        Self { text: text.to_owned(), number }
    }
}
