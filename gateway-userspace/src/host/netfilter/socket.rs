//! Lists from netfilter's netlink socket, as attributes: a type and a payload each, often with others inside.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

const NFTABLES: u16 = 10 << 8;
const HEADER: usize = 16;
/// `nfgenmsg`, which follows each header: family, version, resource.
const GENERIC: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
/// The bits of an attribute's type that say something else.
const TYPE: u16 = 0x3fff;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
const INTERRUPTED: u16 = 0x10;
/// How often a list that changed under our eyes is asked for again before the last answer is taken as it is.
const ATTEMPTS: u32 = 4;

/// A conversation with nftables.
pub struct NftSocket {
    socket: Socket,
    sequence: u32,
}

/// One object of a list.
pub struct Object {
    pub family: u8,
    pub attributes: Attributes,
}

impl NftSocket {
    /// Opens it; nothing if the kernel has no netfilter.
    pub fn open() -> io::Result<Option<Self>> {
        let mut socket = match Socket::new(NETLINK_NETFILTER) {
            Ok(socket) => socket,
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Some(Self { socket, sequence: 0 }))
    }

    /// All objects of a kind that these names narrow.
    pub fn list(&mut self, kind: u16, family: u8, names: &[(u16, &str)]) -> io::Result<Vec<Object>> {
        let mut attempt = 1;
        loop {
            let (objects, interrupted) = self.list_once(kind, family, names)?;
            if !interrupted || attempt == ATTEMPTS {
                return Ok(objects);
            }
            attempt += 1;
        }
    }

    fn list_once(&mut self, kind: u16, family: u8, names: &[(u16, &str)]) -> io::Result<(Vec<Object>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(NFTABLES | kind, self.sequence, family, names), 0)?;
        let (mut objects, mut interrupted) = (Vec::new(), false);
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram).filter(|message| message.sequence == self.sequence) {
                interrupted |= message.flags & INTERRUPTED != 0;
                match message.kind {
                    DONE => return Ok((objects, interrupted)),
                    ERROR => {
                        let code = number_at(message.payload, 0).map_or(0, i32::from_ne_bytes);
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    _ => objects.extend(object(message.payload)),
                }
            }
        }
    }
}

fn request(kind: u16, sequence: u32, family: u8, names: &[(u16, &str)]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for (attribute, name) in names {
        let length = ATTRIBUTE_HEADER + name.len() + 1;
        body.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(name.as_bytes());
        body.push(0);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(number_at(rest, 0)?) as usize;
        let message = Message {
            kind: u16::from_ne_bytes(number_at(rest, 4)?),
            flags: u16::from_ne_bytes(number_at(rest, 6)?),
            sequence: u32::from_ne_bytes(number_at(rest, 8)?),
            payload: rest.get(HEADER..length)?,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn object(payload: &[u8]) -> Option<Object> {
    let family = *payload.first()?;
    Some(Object { family, attributes: Attributes::read(payload.get(GENERIC..)?) })
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Attributes in their order.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<(u16, Vec<u8>)>);

impl Attributes {
    pub fn read(bytes: &[u8]) -> Self {
        let (mut rest, mut all) = (bytes, Vec::new());
        while let (Some(length), Some(kind)) = (number_at(rest, 0), number_at(rest, 2)) {
            let length = usize::from(u16::from_ne_bytes(length));
            let Some(payload) = rest.get(ATTRIBUTE_HEADER..length) else { break };
            all.push((u16::from_ne_bytes(kind) & TYPE, payload.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Self(all)
    }

    /// The payload of the first attribute of a type.
    pub fn bytes(&self, kind: u16) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| *found == kind).map(|(_, bytes)| bytes.as_slice())
    }

    /// The attributes inside of one.
    pub fn inside(&self, kind: u16) -> Option<Self> {
        self.bytes(kind).map(Self::read)
    }

    /// Whatever stands in a list, one after the other.
    pub fn elements(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.iter().map(|(_, bytes)| Self::read(bytes))
    }

    /// A number, as nftables writes all of its own.
    pub fn number(&self, kind: u16) -> Option<u32> {
        number_at(self.bytes(kind)?, 0).map(u32::from_be_bytes)
    }

    pub fn text(&self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let request = request(NFTABLES | 4, 7, 2, &[(1, "filter"), (2, "FORWARD")]);

        let read: Vec<_> = messages(&request).collect();

        let [message] = read.as_slice() else { panic!("one message") };
        assert_eq!((message.kind, message.sequence), (NFTABLES | 4, 7));
        let object = object(message.payload).expect("an object");
        assert_eq!(object.family, 2);
        assert_eq!(object.attributes.text(2).as_deref(), Some("FORWARD"));
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        assert!(messages(&[0xff; 64]).next().is_none());
        assert!(messages(&[0; 64]).next().is_none());
        assert!(Attributes::read(&[0xff; 9]).bytes(TYPE).is_none());
        assert!(Attributes::read(&[0; 9]).bytes(0).is_none());
    }
}
