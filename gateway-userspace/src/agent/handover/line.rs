//! What is said at a hand-over: one line of JSON each way.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Counts up when agents would no longer understand each other.
pub const PROTOCOL: u32 = 1;

/// No line is longer: what is does not come from an agent.
const LONGEST_LINE_BYTES: u64 = 4096;

/// Who speaks. From the agent that starts it is the request itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The protocol it speaks.
    pub protocol: u32,
    /// Its version.
    pub version: String,
    /// Its process, in its own numbering.
    pub pid: u32,
    /// What it is called, such as its Pod's name; empty if it has no name.
    #[serde(default)]
    pub instance: String,
}

/// The answer of the agent that served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who speaks.
    #[serde(flatten)]
    pub from: Introduction,
    /// Why it goes on to serve. Without this it has let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Introduction {
    /// That of this process.
    pub fn of(instance: &str) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: instance.to_owned(),
        }
    }
}

/// Sends one line.
pub async fn write(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Receives one line. An error of the kind `InvalidData` means that it says nothing sensible; of the kind
/// `UnexpectedEof`, that the other has gone.
pub async fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_LINE_BYTES)).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
