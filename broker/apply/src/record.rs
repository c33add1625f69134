//! Records: what the log holds, from the byte after a frame's crc to the frame's end.
//!
//! ```text
//! record = kind u8 ‖ version u8 ‖ flags u16 ‖ body          flags = feature level u8 ‖ bits of the kind u8
//! ```
//!
//! Integers are big-endian, lengths are varints, strings are length ‖ UTF-8. Numbers and layouts are frozen once
//! released; a change is a new version, and a build that lacks it stops instead of guessing. That is why the feature
//! level travels with the record: an old build can say which level it would need.
//!
//! Decoding copies no topic, client, property or body: they are slices of the payload. Any bytes give a record or an
//! error.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::NameError;

mod cluster;
mod interest;
mod kind;
mod message;
mod progress;
mod session;
mod topic;
pub(crate) mod wire;

pub use cluster::{Check, ClusterInit, FeatureLevel, Gateway, GatewayEvent, Limits, Trim};
pub use interest::{Interest, Owner, Subscribe, Unsubscribe};
pub(crate) use interest::{OWNER_GATEWAY, OWNER_SESSION, put_options, read_options};
pub use kind::Kind;
pub use message::{Message, MessageHead, decode_message, encode_message};
pub use progress::{FlightState, InFlight, LaneProgress};
pub(crate) use progress::{put_flight, read_flight};
pub use session::{CloseReason, SessionAbandon, SessionClose, SessionExpire, SessionOpen, Will};
pub use topic::{MAX_SERVER_QUEUES, TopicDrop, TopicPut};

use wire::Reader;

/// The highest feature level whose records this build applies.
pub const SUPPORTED_LEVEL: u8 = 1;

/// The only version of every kind so far.
const VERSION: u8 = 1;

/// The feature level that all kinds built so far came with.
const FIRST_LEVEL: u8 = 1;

/// Bytes before the body.
pub const HEADER_LEN: usize = 4;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Stores a message.
    Message(Box<Message>),
    /// Gives up the log below a position.
    Trim(Trim),
    /// Starts or ends the indexing of a wildcard for an owner.
    Interest(Interest),
    /// Opens, resumes or takes over a client's session.
    SessionOpen(SessionOpen),
    /// Ends a connection.
    SessionClose(SessionClose),
    /// See [`SessionAbandon`].
    SessionAbandon(SessionAbandon),
    /// Deletes rows of a session that has ended.
    SessionExpire(SessionExpire),
    /// Adds or replaces a subscription.
    Subscribe(Subscribe),
    /// Removes a subscription.
    Unsubscribe(Unsubscribe),
    /// Moves lanes of this shard on.
    Progress(Vec<LaneProgress>),
    /// Creates a server topic or gives it more queues.
    TopicPut(TopicPut),
    /// Drops a server topic.
    TopicDrop(TopicDrop),
    /// Names the log: its first record.
    ClusterInit(ClusterInit),
    /// A gateway process came or is gone.
    Gateway(Gateway),
    /// Allows records of a higher level from here on.
    FeatureLevel(FeatureLevel),
    /// Compares replicas.
    Check(Check),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than [`HEADER_LEN`].
    #[error("shorter than a record's header")]
    Headless,
    /// A kind, version or level that this build does not know.
    #[error("kind {kind} version {version} of level {level} is not supported")]
    Unsupported {
        /// The kind.
        kind: u8,
        /// The version.
        version: u8,
        /// The feature level that it needs.
        level: u8,
    },
    /// The body is not what the kind has.
    #[error("{kind}: {field} is malformed")]
    Malformed {
        /// The kind.
        kind: Kind,
        /// The first field that is wrong.
        field: &'static str,
    },
    /// A name breaks a rule.
    #[error("{kind}: {field}: {source}")]
    Name {
        /// The kind.
        kind: Kind,
        /// Which name.
        field: &'static str,
        /// Which rule.
        source: NameError,
    },
}

/// The first bytes of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What kind of record.
    pub kind: u8,
    /// Which layout of that kind.
    pub version: u8,
    /// The feature level that a build must have to apply it.
    pub level: u8,
    /// Bits whose meaning is the kind's.
    pub bits: u8,
}

impl Header {
    /// Reads it from the start of a payload; none if that is too short.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let [kind, version, level, bits] = *payload.first_chunk::<HEADER_LEN>()?;
        Some(Self { kind, version, level, bits })
    }

    /// The kind, if this build can apply the record.
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`]: reserved or unknown kind, unknown version, or a level above ours.
    pub fn supported(self) -> Result<Kind, DecodeError> {
        Kind::from_number(self.kind)
            .filter(|kind| kind.is_built() && self.version == VERSION && self.level <= SUPPORTED_LEVEL)
            .ok_or(DecodeError::Unsupported { kind: self.kind, version: self.version, level: self.level })
    }

    fn write(kind: Kind, level: u8, bits: u8, buf: &mut BytesMut) {
        buf.put_slice(&[kind as u8, VERSION, level, bits]);
    }
}

impl Record {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Message(_) => Kind::Message,
            Self::Trim(_) => Kind::Trim,
            Self::Interest(_) => Kind::Interest,
            Self::SessionOpen(_) => Kind::SessionOpen,
            Self::SessionClose(_) => Kind::SessionClose,
            Self::SessionAbandon(_) => Kind::SessionAbandon,
            Self::SessionExpire(_) => Kind::SessionExpire,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::Progress(_) => Kind::Progress,
            Self::TopicPut(_) => Kind::TopicPut,
            Self::TopicDrop(_) => Kind::TopicDrop,
            Self::ClusterInit(_) => Kind::ClusterInit,
            Self::Gateway(_) => Kind::Gateway,
            Self::FeatureLevel(_) => Kind::FeatureLevel,
            Self::Check(_) => Kind::Check,
        }
    }

    /// Appends its encoded form.
    pub fn encode(&self, buf: &mut BytesMut) {
        if let Self::Message(message) = self {
            return encode_message(&message.message, message.server_queue, buf);
        }
        Header::write(self.kind(), self.level(), 0, buf);
        match self {
            Self::Message(_) | Self::FeatureLevel(_) => {}
            Self::Trim(record) => record.encode(buf),
            Self::Interest(record) => record.encode(buf),
            Self::SessionOpen(record) => record.encode(buf),
            Self::SessionClose(record) => record.encode(buf),
            Self::SessionAbandon(record) => record.encode(buf),
            Self::SessionExpire(record) => record.encode(buf),
            Self::Subscribe(record) => record.encode(buf),
            Self::Unsubscribe(record) => record.encode(buf),
            Self::Progress(lanes) => progress::encode(lanes, buf),
            Self::TopicPut(record) => record.encode(buf),
            Self::TopicDrop(record) => record.encode(buf),
            Self::ClusterInit(record) => record.encode(buf),
            Self::Gateway(record) => record.encode(buf),
            Self::Check(record) => record.encode(buf),
        }
    }

    /// The feature level that a build must have to apply it. A record that raises the level needs the new one, so a
    /// build that lacks it stops there and not at the first record it cannot read.
    fn level(&self) -> u8 {
        if let Self::FeatureLevel(record) = self {
            return record.level;
        }
        if let Self::ClusterInit(record) = self { record.level } else { FIRST_LEVEL }
    }

    /// Reads one from a frame's payload.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let header = Header::read(payload).ok_or(DecodeError::Headless)?;
        let kind = header.supported()?;
        if kind == Kind::Message {
            return Message::decode(payload).map(|message| Self::Message(Box::new(message)));
        }
        let mut reader = Reader::new(kind, payload, HEADER_LEN);
        if header.bits != 0 {
            return Err(reader.malformed("flags"));
        }
        let record = Self::body(kind, header, &mut reader)?;
        reader.finish()?;
        Ok(record)
    }

    fn body(kind: Kind, header: Header, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let record = match kind {
            Kind::Trim => Self::Trim(Trim::decode(r)?),
            Kind::Interest => Self::Interest(Interest::decode(r)?),
            Kind::SessionOpen => Self::SessionOpen(SessionOpen::decode(r)?),
            Kind::SessionClose => Self::SessionClose(SessionClose::decode(r)?),
            Kind::SessionAbandon => Self::SessionAbandon(SessionAbandon::decode(r)?),
            Kind::SessionExpire => Self::SessionExpire(SessionExpire::decode(r)?),
            Kind::Subscribe => Self::Subscribe(Subscribe::decode(r)?),
            Kind::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(r)?),
            Kind::Progress => Self::Progress(progress::decode(r)?),
            Kind::TopicPut => Self::TopicPut(TopicPut::decode(r)?),
            Kind::TopicDrop => Self::TopicDrop(TopicDrop::decode(r)?),
            Kind::ClusterInit => match ClusterInit::decode(r)? {
                record if record.level == header.level => Self::ClusterInit(record),
                _ => return Err(r.malformed("level")),
            },
            Kind::Gateway => Self::Gateway(Gateway::decode(r)?),
            Kind::FeatureLevel => Self::FeatureLevel(FeatureLevel { level: header.level }),
            Kind::Check => Self::Check(Check::decode(r)?),
            Kind::Message
            | Kind::Refer
            | Kind::Carry
            | Kind::LaneOpen
            | Kind::LaneDrop
            | Kind::PidRelease
            | Kind::GroupPut
            | Kind::GroupDrop
            | Kind::GroupProgress
            | Kind::TxnEnd
            | Kind::TimerCancel
            | Kind::ExchangePut
            | Kind::ExchangeDrop
            | Kind::QueuePut
            | Kind::QueueDrop
            | Kind::Bind
            | Kind::Unbind
            | Kind::Map
            | Kind::MetaCopy
            | Kind::AclPut
            | Kind::AclDrop => {
                let Header { kind, version, level, .. } = header;
                return Err(DecodeError::Unsupported { kind, version, level });
            }
        };
        Ok(record)
    }
}

#[cfg(test)]
mod tests;
