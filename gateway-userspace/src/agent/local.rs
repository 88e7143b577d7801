//! Sockets by which agents of one network namespace, and `beeline probe`, talk to each other.
//!
//! Abstract ones: they lie in no file system, so containers share them with the host's network namespace alone, and they
//! vanish with their process. Anybody may take such a name, so either side trusts only root, or its own user.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

/// Listens under a name. An error of the kind `AddrInUse` means that another process does.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Connects to whoever listens under a name, and refuses whom it does not trust.
pub fn connect(name: &str) -> io::Result<(UnixStream, u32)> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    let process = trusted_peer(&stream)?;
    Ok((stream, process))
}

/// The process at the other end, in this one's numbering (0 if it is in none); fails if it is to be refused.
pub fn trusted_peer(stream: &impl AsFd) -> io::Result<u32> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.uid() == 0 || peer.uid() == geteuid().as_raw() {
        return Ok(u32::try_from(peer.pid()).unwrap_or_default());
    }
    let message = format!("process {} of user {} is not trusted: only root is", peer.pid(), peer.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_known_by_its_process() {
        let name = format!("beeline/test/local/{}", std::process::id());
        let _listener = listen(&name).expect("the name is free");

        let (_stream, process) = connect(&name).expect("somebody listens");

        assert_eq!(process, std::process::id());
        assert_eq!(listen(&name).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn nobody_listening_is_told_from_a_refusal() {
        let name = format!("beeline/test/nobody/{}", std::process::id());

        assert_eq!(connect(&name).expect_err("nobody").kind(), io::ErrorKind::ConnectionRefused);
    }
}
