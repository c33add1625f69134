//! Between what travels and what the ports speak: total in one direction, checked in the other.
//!
//! Whatever a peer sends either becomes a value that the ports' own constructors accept or is [`Malformed`]. Bodies and
//! text are slices of what was received: nothing is copied, and who keeps a message long copies it out (`detach`).

mod command;
mod frame;
mod member;
mod message;
mod overview;
mod page;
mod peer;
mod reply;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use causeway_model::{
    Filter, Incarnation, Kind, NameError, Namespace, Position, PropertyError, QueueId, ShardId, Text,
};

use crate::proto as pb;

pub(crate) use command::{command_from, command_to};
pub(crate) use frame::{frame_from, frame_to, ids_from, ids_to};
pub(crate) use member::{lease_from, lease_to, member_from, member_to};
pub(crate) use message::{message_from, message_to};
pub(crate) use overview::{client_session_from, client_session_to, gateways_from, gateways_to, status_from, status_to};
pub(crate) use page::{page_from, page_to, read_from, read_to};
pub(crate) use peer::{answer_from, answer_to, ask_from, ask_to};
pub(crate) use reply::{replies_from, replies_to};
pub(crate) use session::{session_from, session_to, sid_from, sid_to};

/// What a peer sent is no value of the ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Bytes of another length than the field has.
    #[error("{field} has {found} bytes")]
    Length {
        /// The field.
        field: &'static str,
        /// Its bytes.
        found: usize,
    },
    /// A number that means nothing.
    #[error("{field} is {found}")]
    Number {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// Not UTF-8.
    #[error("{0} is no text")]
    Text(&'static str),
    /// A topic, filter or namespace that breaks a rule.
    #[error("{field}: {error}")]
    Name {
        /// The field.
        field: &'static str,
        /// The rule.
        error: NameError,
    },
    /// Not a block of properties.
    #[error(transparent)]
    Properties(#[from] PropertyError),
    /// Columns of different lengths.
    #[error("columns of a {0} do not fit together")]
    Columns(&'static str),
    /// Not the encoding of a message.
    #[error("not decodable: {0}")]
    Encoding(#[from] prost::DecodeError),
}

fn need<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or(Malformed::Missing(field))
}

fn number<T: TryFrom<u64>>(field: &'static str, value: impl Into<u64>) -> Result<T, Malformed> {
    let found = value.into();
    T::try_from(found).map_err(|_| Malformed::Number { field, found })
}

pub(crate) fn sixteen(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Length { field, found: bytes.len() })
}

pub(crate) fn text(field: &'static str, bytes: Bytes) -> Result<Text, Malformed> {
    Text::try_from(bytes).map_err(|_| Malformed::Text(field))
}

pub(crate) fn namespace(bytes: Bytes) -> Result<Namespace, Malformed> {
    let field = "namespace";
    Namespace::new(text(field, bytes)?).map_err(|error| Malformed::Name { field, error })
}

fn filter(bytes: Bytes) -> Result<Filter, Malformed> {
    let field = "filter";
    Filter::new(text(field, bytes)?).map_err(|error| Malformed::Name { field, error })
}

pub(crate) fn bytes_of(text: &Text) -> Bytes {
    text.as_bytes().clone()
}

pub(crate) fn incarnation_to(incarnation: Incarnation) -> Bytes {
    Bytes::copy_from_slice(&incarnation.0.to_be_bytes())
}

pub(crate) fn incarnation_from(bytes: &[u8]) -> Result<Incarnation, Malformed> {
    Ok(Incarnation(u128::from_be_bytes(sixteen("incarnation", bytes)?)))
}

fn queue_from(bytes: &[u8]) -> Result<QueueId, Malformed> {
    sixteen("queue id", bytes).map(QueueId)
}

/// Whole milliseconds, rounded up: a session's expiry that is not zero must not become zero.
pub(crate) fn millis(duration: Duration) -> u64 {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX)
}

fn positions_to(from: &[(ShardId, Position)]) -> Vec<pb::ShardPosition> {
    from.iter().map(|(shard, position)| pb::ShardPosition { shard: shard.0, position: position.0 }).collect()
}

fn positions_from(from: &[pb::ShardPosition]) -> Vec<(ShardId, Position)> {
    from.iter().map(|at| (ShardId(at.shard), Position(at.position))).collect()
}

/// A kind of failure, as it travels.
pub(crate) fn failure_to(kind: Kind) -> pb::Failure {
    use pb::FailureKind as To;
    let (mut retry_after_ms, mut hint) = (0, String::new());
    let kind = match kind {
        Kind::Invalid => To::Invalid,
        Kind::TooLarge => To::TooLarge,
        Kind::Quota => To::Quota,
        Kind::Denied => To::Denied,
        Kind::NotFound => To::NotFound,
        Kind::Fenced => To::Fenced,
        Kind::Busy { retry_after } => {
            retry_after_ms = millis(retry_after);
            To::Busy
        }
        Kind::DiskFull => To::DiskFull,
        Kind::NotLeader { hint: leader } => {
            hint = leader.unwrap_or_default();
            To::NotLeader
        }
        Kind::Unavailable => To::Unavailable,
        Kind::Unknown => To::Unknown,
        Kind::Unsupported => To::Unsupported,
        Kind::Corrupt => To::Corrupt,
    };
    pb::Failure { kind: kind.into(), retry_after_ms, hint }
}

/// The kind that came. One that this build does not know leaves open what was done.
pub(crate) fn failure_from(failure: pb::Failure) -> Kind {
    use pb::FailureKind as From;
    match failure.kind() {
        From::Invalid => Kind::Invalid,
        From::TooLarge => Kind::TooLarge,
        From::Quota => Kind::Quota,
        From::Denied => Kind::Denied,
        From::NotFound => Kind::NotFound,
        From::Fenced => Kind::Fenced,
        From::Busy => Kind::Busy { retry_after: Duration::from_millis(failure.retry_after_ms) },
        From::DiskFull => Kind::DiskFull,
        From::NotLeader => Kind::NotLeader { hint: (!failure.hint.is_empty()).then_some(failure.hint) },
        From::Unavailable => Kind::Unavailable,
        From::Unknown | From::Unspecified => Kind::Unknown,
        From::Unsupported => Kind::Unsupported,
        From::Corrupt => Kind::Corrupt,
    }
}
