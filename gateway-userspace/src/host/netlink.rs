//! A blocking conversation with the kernel's routing socket: one request, its whole answer.
//!
//! It works in the network namespace of the thread that opened it. It keeps no state between requests and
//! retries a dump that the kernel says was interrupted by a change.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tracing::debug;

/// How often a dump that changed under our eyes is asked for again before the last answer is taken as it is.
const DUMP_ATTEMPTS: u32 = 4;

/// Changes in one datagram: their acknowledgements must fit into the socket's receive buffer together.
const CHANGES_AT_ONCE: usize = 64;

/// A routing socket.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the current network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Port 0 is the kernel itself.
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The same, but the kernel lists only what a request's header asks for.
    pub fn open_strict() -> io::Result<Self> {
        let netlink = Self::open()?;
        netlink.socket.set_netlink_get_strict_chk(true)?;
        Ok(netlink)
    }

    /// Asks for one thing.
    pub fn ask(&mut self, request: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let sequence = self.send(request, NLM_F_REQUEST)?;
        loop {
            for message in self.receive(sequence)? {
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => return Ok(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Asks for a list.
    pub fn dump(&mut self, request: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut attempt = 1;
        loop {
            let (messages, interrupted) = self.dump_once(request.clone())?;
            if !interrupted || attempt == DUMP_ATTEMPTS {
                return Ok(messages);
            }
            attempt += 1;
        }
    }

    /// Asks for a change and waits for the kernel's word on it.
    pub fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.change_all([request], flags)?.into_iter().collect()
    }

    /// Asks for changes, many in one datagram, and says of each, in order, how it went. An error of its own means that
    /// the socket failed.
    pub fn change_all(
        &mut self,
        requests: impl IntoIterator<Item = RouteNetlinkMessage>,
        flags: u16,
    ) -> io::Result<Vec<io::Result<()>>> {
        let mut outcomes = Vec::new();
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let first = self.sequence.wrapping_add(1);
            let mut datagram = Vec::new();
            for request in requests.by_ref().take(CHANGES_AT_ONCE) {
                datagram.extend(self.message(request, NLM_F_REQUEST | NLM_F_ACK | flags));
            }
            self.socket.send(&datagram, 0)?;
            self.acknowledgements(first, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    /// The kernel's word on each request from `first` to the last one sent; it answers them in order.
    fn acknowledgements(&mut self, first: u32, outcomes: &mut Vec<io::Result<()>>) -> io::Result<()> {
        let mut expected = first;
        while expected != self.sequence.wrapping_add(1) {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<RouteNetlinkMessage>(&datagram) {
                if message.header.sequence_number != expected {
                    continue;
                }
                if let NetlinkPayload::Error(error) = message.payload {
                    outcomes.push(if error.code.is_none() { Ok(()) } else { Err(error.to_io()) });
                    expected = expected.wrapping_add(1);
                }
            }
        }
        Ok(())
    }

    fn dump_once(&mut self, request: RouteNetlinkMessage) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let sequence = self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            for message in self.receive(sequence)? {
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok((answers, interrupted)),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        let bytes = self.message(request, flags);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    /// A request with the next number. Its length is a multiple of four, so another may follow it.
    fn message(&mut self, request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len().next_multiple_of(size_of::<u32>())];
        message.serialize(&mut buffer);
        buffer
    }

    /// One datagram's messages that answer the request with this number.
    fn receive(&mut self, sequence: u32) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (datagram, _) = self.socket.recv_from_full()?;
        Ok(messages(&datagram).into_iter().filter(|message| message.header.sequence_number == sequence).collect())
    }
}

/// The messages of a datagram. One that this build cannot read is passed over: it tells of something newer.
fn messages<T: NetlinkDeserializable>(datagram: &[u8]) -> Vec<NetlinkMessage<T>> {
    const LENGTH_FIELD: usize = 4;
    let mut rest = datagram;
    let mut messages = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk::<LENGTH_FIELD>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(bytes) = rest.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        match NetlinkMessage::deserialize(bytes) {
            Ok(message) => messages.push(message),
            Err(error) => debug!(%error, "a netlink message could not be read"),
        }
        rest = rest.get(length.next_multiple_of(LENGTH_FIELD)..).unwrap_or_default();
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::LinkMessage;

    #[test]
    fn a_datagram_of_several_messages_is_read_whole() {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        message.finalize();
        let mut one = vec![0; message.buffer_len()];
        message.serialize(&mut one);

        let read: Vec<NetlinkMessage<RouteNetlinkMessage>> = messages(&one.repeat(3));

        assert_eq!(read.len(), 3);
    }

    #[test]
    fn a_message_that_lies_about_its_length_ends_the_reading() {
        let read: Vec<NetlinkMessage<RouteNetlinkMessage>> = messages(&[0; 64]);
        assert!(read.is_empty());

        let read: Vec<NetlinkMessage<RouteNetlinkMessage>> = messages(&[0xff; 64]);
        assert!(read.is_empty());
    }

    #[test]
    fn the_loopback_device_is_listed_without_privileges() {
        let mut netlink = Netlink::open().expect("a routing socket");

        let links = netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default())).expect("a list");

        assert!(!links.is_empty());
    }
}
