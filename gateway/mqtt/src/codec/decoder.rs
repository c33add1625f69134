//! From a read buffer to packets, one connection's state: which version, and who is the peer.

use bytes::{Buf, Bytes, BytesMut};

use super::{Error, FixedHeader, Packet, PacketType, Sender, Version, packet::Connect, primitive::Rule};

const FIRST: Rule = "the first packet of a client is CONNECT [MQTT-3.1.0-1]";
const SECOND_CONNECT: Rule = "a second CONNECT [MQTT-3.1.0-2]";

/// The most that a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole packet, fixed header included: what CONNACK says in Maximum Packet Size.
    pub packet: usize,
    /// Bytes of a CONNECT, which comes from somebody not yet known.
    pub connect: usize,
}

impl Limits {
    /// The same limit for every packet.
    pub const fn packet(bytes: usize) -> Self {
        Self { packet: bytes, connect: bytes }
    }
}

/// Decodes what one peer sends.
///
/// Calling again after an error is a mistake: there is no known next packet.
#[derive(Clone, Debug)]
pub struct Decoder {
    peer: Sender,
    version: Option<Version>,
    limits: Limits,
}

impl Decoder {
    /// A server's decoder: the peer is a client, and the first packet, CONNECT, says the version.
    pub const fn server(limits: Limits) -> Self {
        Self { peer: Sender::Client, version: None, limits }
    }

    /// A client's decoder: the peer is a server, the version is that of the CONNECT that was sent.
    pub const fn client(version: Version, limits: Limits) -> Self {
        Self { peer: Sender::Server, version: Some(version), limits }
    }

    /// The version of this connection: that of its CONNECT. After an error in CONNECT it is the version in which to
    /// answer, if CONNECT got as far as that; for an unsupported level it is the one closest to it.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next packet off the start of `buffer`. `Ok(None)`: it has not all come; nothing was taken.
    ///
    /// The packet shares the buffer's memory.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Error> {
        let Some(header) = self.peek(buffer)? else { return Ok(None) };
        let whole = header.packet_len();
        if buffer.len() < whole {
            return Ok(None);
        }
        if let Some(ack) = Packet::plain_ack(header, buffer) {
            buffer.advance(whole);
            return Ok(Some(ack));
        }
        let mut body = buffer.split_to(whole).freeze();
        body.advance(header.len);
        let Some(version) = self.version else {
            return self.connect(header, body).map(Some);
        };
        Packet::parse(header, body, version, self.peer).map(Some)
    }

    /// Looks at the fixed header of the next packet and refuses what is known to be wrong from it alone: size, type,
    /// flags. So an unacceptable packet is refused before it is read.
    pub fn peek(&self, bytes: &[u8]) -> Result<Option<FixedHeader>, Error> {
        let Some(header) = FixedHeader::peek(bytes)? else {
            // The first byte alone tells a peer that does not speak MQTT.
            let foreign = bytes.first().is_some_and(|first| first >> 4 != PacketType::Connect.number());
            if self.version.is_none() && foreign {
                return Err(Error::FixedHeader { rule: FIRST });
            }
            return Ok(None);
        };
        let max = match self.version {
            None => self.limits.connect.min(self.limits.packet),
            Some(_) => self.limits.packet,
        };
        match (self.version, header.packet) {
            (None, PacketType::Connect) => {}
            (None, packet) => return Err(Error::Protocol { packet, rule: FIRST }),
            (Some(_), PacketType::Connect) if self.peer == Sender::Client => {
                return Err(Error::Protocol { packet: PacketType::Connect, rule: SECOND_CONNECT });
            }
            (Some(version), packet) => {
                packet.check_sender(self.peer, version)?;
                packet.check_flags(header.flags, version)?;
            }
        }
        let size = header.packet_len();
        if size > max {
            return Err(Error::TooLarge { packet: header.packet, size, max });
        }
        Ok(Some(header))
    }

    fn connect(&mut self, header: FixedHeader, body: Bytes) -> Result<Packet, Error> {
        let (version, connect) = Connect::parse(header, body);
        self.version = version;
        connect.map(|connect| Packet::Connect(Box::new(connect)))
    }
}
