//! The packets, one file each, and what they have in common.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

use bytes::{Bytes, BytesMut};
use causeway_model::PacketId;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use publish::{Parts, Publish, SharedPublish};
pub use suback::SubAck;
pub use subscribe::{FilterOptions, Subscribe};
pub use unsuback::UnsubAck;
pub use unsubscribe::Unsubscribe;

use super::{
    Error, FixedHeader, Holder, PacketType, Properties, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const HAS_PROPERTIES: Rule = "properties exist in 5.0 only";
const HAS_REASON: Rule = "a negative acknowledgement exists in 5.0 only";
const UNKNOWN_REASON: Rule = "unknown reason code (§2.4)";
const REASON_MISPLACED: Rule = "reason code has no place in this packet (§3)";

/// An MQTT control packet, in either direction and any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Client to server: the first packet. Boxed: it is large and comes once.
    Connect(Box<Connect>),
    /// Server to client: the answer to CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// QoS 1: the message is received.
    PubAck(Ack),
    /// QoS 2, part 1: the message is received.
    PubRec(Ack),
    /// QoS 2, part 2: the packet id is released.
    PubRel(Ack),
    /// QoS 2, part 3: done.
    PubComp(Ack),
    /// Client to server.
    Subscribe(Subscribe),
    /// Server to client.
    SubAck(SubAck),
    /// Client to server.
    Unsubscribe(Unsubscribe),
    /// Server to client.
    UnsubAck(UnsubAck),
    /// Client to server.
    PingReq,
    /// Server to client.
    PingResp,
    /// The end, with a reason; from a server in 5.0 only.
    Disconnect(Disconnect),
    /// A step of authentication; 5.0 only.
    Auth(Auth),
}

/// What encoding needs to know of a packet's body.
trait Body {
    fn packet(&self) -> PacketType;

    fn flags(&self) -> u8 {
        self.packet().flags()
    }

    /// Refuses what the decoder would refuse, and what this version cannot say.
    fn check(&self, version: Version) -> Result<(), Error>;

    /// Bytes after the fixed header. Called after `check`.
    fn len(&self, version: Version) -> usize;

    /// Writes exactly `len` bytes. Called after `check`.
    fn write(&self, version: Version, out: &mut BytesMut);
}

/// The body of PINGREQ and PINGRESP: nothing (§3.12, §3.13).
struct Ping(PacketType);

impl Body for Ping {
    fn packet(&self) -> PacketType {
        self.0
    }
    fn check(&self, _version: Version) -> Result<(), Error> {
        Ok(())
    }
    fn len(&self, _version: Version) -> usize {
        0
    }
    fn write(&self, _version: Version, _out: &mut BytesMut) {}
}

fn encode(body: &dyn Body, version: Version, out: &mut BytesMut) -> Result<(), Error> {
    body.check(version)?;
    let remaining = body.len(version);
    let whole = FixedHeader::whole(body.packet(), remaining)?;
    out.reserve(whole);
    let start = out.len();
    FixedHeader::put(out, body.packet(), body.flags(), remaining);
    body.write(version, out);
    debug_assert_eq!(out.len().saturating_sub(start), whole, "{} says its length", body.packet());
    Ok(())
}

impl Packet {
    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet, all or nothing. What is written, the decoder of `version` reads back as an equal packet.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), Error> {
        self.with_body(|body| encode(body, version, out))
    }

    /// Bytes that [`Packet::encode`] would append; what a peer's Maximum Packet Size is compared with.
    pub fn encoded_len(&self, version: Version) -> Result<usize, Error> {
        self.with_body(|body| {
            body.check(version)?;
            FixedHeader::whole(body.packet(), body.len(version))
        })
    }

    fn with_body<R>(&self, f: impl FnOnce(&dyn Body) -> R) -> R {
        match self {
            Self::Connect(packet) => f(&**packet),
            Self::ConnAck(packet) => f(packet),
            Self::Publish(packet) => f(packet),
            Self::PubAck(ack) => f(&ack::Typed { holder: Holder::PubAck, ack }),
            Self::PubRec(ack) => f(&ack::Typed { holder: Holder::PubRec, ack }),
            Self::PubRel(ack) => f(&ack::Typed { holder: Holder::PubRel, ack }),
            Self::PubComp(ack) => f(&ack::Typed { holder: Holder::PubComp, ack }),
            Self::Subscribe(packet) => f(packet),
            Self::SubAck(packet) => f(packet),
            Self::Unsubscribe(packet) => f(packet),
            Self::UnsubAck(packet) => f(packet),
            Self::PingReq | Self::PingResp => f(&Ping(self.packet_type())),
            Self::Disconnect(packet) => f(packet),
            Self::Auth(packet) => f(packet),
        }
    }

    /// The acknowledgement at the start of `bytes` if it is a packet identifier and nothing else, as nearly all are: read
    /// in place, since a handle on the buffer costs several times as much. Anything unusual is left to [`Packet::parse`].
    #[inline]
    pub(crate) fn plain_ack(header: FixedHeader, bytes: &[u8]) -> Option<Self> {
        if header.remaining != 2 {
            return None;
        }
        let pid = bytes.get(header.len..)?.first_chunk::<2>()?;
        let ack = Ack::success(PacketId::new(u16::from_be_bytes(*pid))?);
        match header.packet {
            PacketType::PubAck => Some(Self::PubAck(ack)),
            PacketType::PubRec => Some(Self::PubRec(ack)),
            PacketType::PubRel => Some(Self::PubRel(ack)),
            PacketType::PubComp => Some(Self::PubComp(ack)),
            PacketType::Connect
            | PacketType::ConnAck
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::SubAck
            | PacketType::Unsubscribe
            | PacketType::UnsubAck
            | PacketType::PingReq
            | PacketType::PingResp
            | PacketType::Disconnect
            | PacketType::Auth => None,
        }
    }

    /// Parses the body of a packet whose header's type, sender and flags were checked.
    #[inline]
    pub(crate) fn parse(header: FixedHeader, body: Bytes, version: Version, sender: Sender) -> Result<Self, Error> {
        let packet = header.packet;
        if packet == PacketType::Publish {
            return Publish::parse(header.flags, body, version, sender).map(Self::Publish);
        }
        Self::parse_rare(header, body, version, sender)
    }

    /// Kept out of the way of the packets that come by the million.
    #[inline(never)]
    fn parse_rare(header: FixedHeader, body: Bytes, version: Version, sender: Sender) -> Result<Self, Error> {
        let packet = header.packet;
        let mut reader = Reader::new(packet, body);
        let parsed = match packet {
            PacketType::Connect => {
                let (_, connect) = Connect::parse(header, reader.rest());
                Self::Connect(Box::new(connect?))
            }
            PacketType::Publish | PacketType::PingReq => Self::PingReq,
            PacketType::PingResp => Self::PingResp,
            PacketType::ConnAck => Self::ConnAck(ConnAck::parse(&mut reader, version)?),
            PacketType::PubAck => Self::PubAck(Ack::parse(&mut reader, Holder::PubAck, version)?),
            PacketType::PubRec => Self::PubRec(Ack::parse(&mut reader, Holder::PubRec, version)?),
            PacketType::PubRel => Self::PubRel(Ack::parse(&mut reader, Holder::PubRel, version)?),
            PacketType::PubComp => Self::PubComp(Ack::parse(&mut reader, Holder::PubComp, version)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::parse(&mut reader, version)?),
            PacketType::SubAck => Self::SubAck(SubAck::parse(&mut reader, version)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::parse(&mut reader, version)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::parse(&mut reader, version)?),
            PacketType::Disconnect => Self::Disconnect(Disconnect::parse(&mut reader, version, sender)?),
            PacketType::Auth => Self::Auth(Auth::parse(&mut reader, sender)?),
        };
        reader.finish()?;
        Ok(parsed)
    }
}

/// A reason code that has its place in this packet.
fn read_reason(reader: &mut Reader, sender: Sender) -> Result<Reason, Error> {
    let code = reader.u8()?;
    let reason = Reason::from_code(code).ok_or_else(|| reader.malformed(UNKNOWN_REASON))?;
    if reason.fits(reader.packet(), sender) { Ok(reason) } else { Err(reader.protocol(REASON_MISPLACED)) }
}

/// Whether either end may send the reason in this packet: an encoder does not know which end it is.
fn check_reason(packet: PacketType, reason: Reason) -> Result<(), Error> {
    if reason.fits(packet, Sender::Server) || reason.fits(packet, Sender::Client) {
        Ok(())
    } else {
        Err(Error::Protocol { packet, rule: REASON_MISPLACED })
    }
}

/// 3.x has no properties.
fn check_no_properties(packet: PacketType, version: Version, properties: &Properties) -> Result<(), Error> {
    if properties.is_empty() { Ok(()) } else { Err(Error::NotInVersion { packet, version, rule: HAS_PROPERTIES }) }
}
