//! The serving agent's end of the hand-over.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::line::{Answer, Introduction, PROTOCOL, read, write};
use crate::agent::local;

/// How long whoever connects may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// Pause after the system could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the name is tried: a process that is killed may lose its lock a moment before its sockets.
const NAME_TRIES: u32 = 20;

/// Pause between two tries.
const NAME_PAUSE: Duration = Duration::from_millis(10);

/// Waits for agents that want to take over. Dropping it frees the name.
#[derive(Debug)]
pub struct Listener {
    me: Introduction,
    /// None if the name is taken by a process that has no business with it.
    socket: Option<UnixListener>,
}

/// An agent that is ready to serve and waits until this one lets go.
#[derive(Debug)]
pub struct Request {
    /// Who it is.
    pub from: Introduction,
    me: Introduction,
    stream: UnixStream,
}

impl Listener {
    /// Listens under a name. If that fails the agent serves all the same, and must be stopped before another can start.
    pub async fn start(name: &str, me: &Introduction) -> Self {
        let mut socket = listen(name);
        for _ in 0..NAME_TRIES {
            match &socket {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(NAME_PAUSE).await,
                _ => break,
            }
            socket = listen(name);
        }
        let socket = socket
            .inspect_err(|error| warn!(name, %error, "no agent can take over from this one before it is stopped"))
            .ok();
        Self { me: me.clone(), socket }
    }

    /// Waits for somebody to connect. May be cancelled.
    pub async fn next(&self) -> UnixStream {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        loop {
            match socket.accept().await {
                Ok((stream, _)) => match local::trusted_peer(&stream) {
                    Ok(_) => return stream,
                    Err(error) => debug!(%error, "a hand-over was refused"),
                },
                Err(error) => {
                    debug!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// What whoever connected wants, if that can be done and it still waits for it.
    pub async fn request(&self, mut stream: UnixStream) -> Option<Request> {
        let refusal = match timeout(REQUEST_LIMIT, read::<Introduction>(&mut stream)).await {
            Ok(Ok(from)) if from.protocol == PROTOCOL => {
                let request = Request { from, me: self.me.clone(), stream };
                return request.waits().then_some(request);
            }
            Ok(Ok(from)) => format!("it speaks protocol {PROTOCOL}, not {}", from.protocol),
            Ok(Err(error)) => format!("the request is none ({error})"),
            Err(_) => format!("nothing was requested within {REQUEST_LIMIT:?}"),
        };
        debug!(refusal, "nothing is handed over");
        let answer = Answer { from: self.me.clone(), refused: Some(refusal) };
        if let Err(error) = write(&mut stream, &answer).await {
            debug!(%error, "whoever asked has gone");
        }
        None
    }
}

fn listen(name: &str) -> io::Result<UnixListener> {
    let socket = local::listen(name)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

impl Request {
    /// Whether the other is still there: after a time it gives up, and must not be handed anything then.
    fn waits(&self) -> bool {
        // The kernel is asked, not the runtime, which may not have heard of the end yet.
        recv(self.stream.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN)
    }

    /// Tells the other that everything is its own now. If it has gone meanwhile, this agent will find the lock free.
    pub async fn answer(mut self) {
        let Introduction { version, instance, pid, .. } = &self.from;
        info!(process = pid, version, instance, "handed over; standing by in case that agent fails");
        if let Err(error) = write(&mut self.stream, &Answer { from: self.me, refused: None }).await {
            warn!(%error, "whoever asked to take over has gone");
        }
    }
}
