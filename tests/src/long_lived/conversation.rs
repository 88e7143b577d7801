//! What flows over a connection that stays open, and how a number goes through it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// What flows over the connections.
#[derive(Clone, Debug)]
pub enum Talk {
    /// Numbers through an echo.
    Echo,
    /// The response to `GET /stream`.
    Stream,
    /// Numbers as messages of a WebSocket to this host, maybe within TLS.
    WebSocket(String, Option<Tls>),
    /// Numbers as messages of a gRPC stream in both directions to this host.
    Grpc(String),
}

/// How to begin TLS.
#[derive(Clone, Debug)]
pub struct Tls(pub Arc<ClientConfig>);

/// How busy a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between a number's return and the next.
    pub pause: Duration,
    /// A number that takes longer to return means that the connection stalls.
    pub stall: Duration,
}

impl Pace {
    /// Of those that HTTP carries there may be many.
    pub const fn of(talk: &Talk) -> Self {
        match talk {
            Talk::Echo => Self { pause: Duration::from_millis(20), stall: Duration::from_secs(2) },
            Talk::Stream => Self { pause: Duration::ZERO, stall: Duration::from_secs(2) },
            Talk::WebSocket(..) | Talk::Grpc(_) => {
                Self { pause: Duration::from_secs(1), stall: Duration::from_secs(10) }
            }
        }
    }
}

/// A stream of bytes, in the clear or not.
pub trait Bytewise: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytewise for T {}

/// A connection that talks.
pub enum Conversation {
    Echo(TcpStream),
    Stream(BufReader<TcpStream>),
    WebSocket(Box<WebSocketStream<Box<dyn Bytewise>>>),
    Grpc(Call),
}

impl Conversation {
    /// Says what a client says first.
    pub async fn begin(stream: TcpStream, talk: &Talk) -> io::Result<Self> {
        match talk {
            Talk::Echo => Ok(Self::Echo(stream)),
            Talk::Stream => {
                let mut stream = BufReader::new(stream);
                request(&mut stream).await?;
                Ok(Self::Stream(stream))
            }
            Talk::WebSocket(host, tls) => {
                let stream: Box<dyn Bytewise> = match tls {
                    None => Box::new(stream),
                    Some(Tls(config)) => {
                        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                        Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
                    }
                };
                let url = format!("ws://{host}/socket");
                let (socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(io::Error::other)?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
            Talk::Grpc(host) => Call::begin(stream, host).await.map(Self::Grpc),
        }
    }

    /// Sends a number, if it is to be sent, and gives the one that came.
    pub async fn turn(&mut self, number: u64) -> io::Result<u64> {
        match self {
            Self::Echo(stream) => {
                stream.write_u64(number).await?;
                stream.read_u64().await
            }
            Self::Stream(stream) => line(stream).await,
            Self::WebSocket(socket) => {
                socket.send(Message::binary(number.to_be_bytes().to_vec())).await.map_err(io::Error::other)?;
                let message = socket.next().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
                number_in(&message.into_data())
            }
            Self::Grpc(call) => call.turn(number).await,
        }
    }
}

/// Asks for the stream and reads the response's head. HTTP/1.0, so that lines come without chunks around them.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    stream.write_all(b"GET /stream HTTP/1.0\r\n\r\n").await?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the response's head"));
        }
    }
    Ok(())
}

/// Reads the number of one line.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let number = line.strip_suffix('\n').and_then(|line| line.split(' ').next_back()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no line of a Pod: `{line}`")))
}

fn number_in(bytes: &[u8]) -> io::Result<u64> {
    let bytes = bytes.try_into().map_err(|_| io::Error::other(format!("{} bytes came, not 8", bytes.len())))?;
    Ok(u64::from_be_bytes(bytes))
}

type Messages = Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A call of gRPC with a stream in each direction, on a connection of its own.
pub struct Call {
    messages: UnboundedSender<Bytes>,
    answers: Incoming,
    /// What has come and is no whole message yet.
    begun: Vec<u8>,
    /// The connection ends with it.
    _requests: http2::SendRequest<StreamBody<Messages>>,
}

/// The length of what stands before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

impl Call {
    async fn begin(stream: TcpStream, host: &str) -> io::Result<Self> {
        let stream = TokioIo::new(stream);
        let (mut requests, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
        // How it ends is seen by whoever waits for an answer.
        drop(tokio::spawn(connection));
        let (messages, sent) = unbounded::<Bytes>();
        let body: Messages = Box::pin(sent.map(|message| Ok(Frame::data(message))));
        let request = Request::post(format!("http://{host}/beeline.Echo/Numbers"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(body))
            .map_err(io::Error::other)?;
        let response = requests.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() || response.headers().contains_key("grpc-status") {
            return Err(io::Error::other(format!(
                "the call was answered {} {:?}",
                response.status(),
                response.headers()
            )));
        }
        Ok(Self { messages, answers: response.into_body(), begun: Vec::new(), _requests: requests })
    }

    async fn turn(&mut self, number: u64) -> io::Result<u64> {
        let message = [&[0, 0, 0, 0, 8][..], &number.to_be_bytes()].concat();
        self.messages.unbounded_send(message.into()).map_err(io::Error::other)?;
        while self.begun.len() < PREFIX + 8 {
            let frame = self.answers.frame().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
            let data = frame.into_data().map_err(|frame| io::Error::other(format!("the call has ended: {frame:?}")))?;
            self.begun.extend_from_slice(&data);
        }
        number_in(&self.begun.drain(..PREFIX + 8).collect::<Vec<_>>()[PREFIX..])
    }
}
