//! What Pods say, as clients read it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::pod::Answer;

/// How long a connection may take from SYN to its last byte.
const LIMIT: Duration = Duration::from_secs(5);

/// What a Pod says in a whole HTTP response.
pub fn read_response(response: &str) -> io::Result<Answer> {
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body);
    body.and_then(|body| serde_json::from_str(body).ok())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no answer of a Pod: {response}")))
}

/// Connects with a bounded time for everything. To be called inside a namespace.
pub fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a Pod said to a datagram.
pub struct DatagramAnswer {
    /// The Pod's name.
    pub pod: String,
    /// The client's address and port, as the Pod sees them.
    pub client: SocketAddr,
}

/// What a Pod says in a datagram that answers one with this payload.
pub fn read_answer(answer: &[u8], payload: &str) -> io::Result<DatagramAnswer> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.splitn(3, ' ');
    let answer = match (words.next(), words.next().map(str::parse), words.next()) {
        (Some(pod), Some(Ok(client)), Some(rest)) if rest == payload => {
            Some(DatagramAnswer { pod: pod.to_owned(), client })
        }
        _ => None,
    };
    answer.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no answer of a Pod: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_datagram_names_pod_and_client() {
        let answer = read_answer(b"v1 172.20.0.2:40000 who are you", "who are you").unwrap();

        assert_eq!(answer.pod, "v1");
        assert_eq!(answer.client.port(), 40000);
        assert!(read_answer(b"v1 172.20.0.2:40000 other", "who").is_err());
    }
}
