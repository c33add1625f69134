//! Replies. A group whose every command was a publish that was stored, which is nearly all of them, is one column.

use std::time::Duration;

use causeway_compute::port::{Opened, Rejected, Reply};
use causeway_model::{Epoch, Position};

use super::session::{sid_from, sid_to};
use super::{Malformed, incarnation_from, incarnation_to, millis, need, positions_from, positions_to};
use crate::proto as pb;
use crate::proto::reply::Kind;

/// Replies as they stand in an outcome.
pub(crate) fn replies_to(replies: &[Reply]) -> (Vec<u64>, Vec<pb::Reply>) {
    let stored = |reply: &Reply| if let Reply::Published { position } = reply { Some(position.0) } else { None };
    match replies.iter().map(stored).collect::<Option<Vec<u64>>>() {
        Some(published) => (published, Vec::new()),
        None => (Vec::new(), replies.iter().map(reply_to).collect()),
    }
}

/// The replies that came.
pub(crate) fn replies_from(published: &[u64], replies: Vec<pb::Reply>) -> Result<Vec<Reply>, Malformed> {
    if replies.is_empty() {
        return Ok(published.iter().map(|at| Reply::Published { position: Position(*at) }).collect());
    }
    if !published.is_empty() {
        return Err(Malformed::Columns("outcome"));
    }
    replies.into_iter().map(reply_from).collect()
}

fn reply_to(reply: &Reply) -> pb::Reply {
    let kind = match reply {
        Reply::Published { position } => Kind::Published(position.0),
        Reply::Duplicate => Kind::Duplicate(true),
        Reply::Interest { position } => Kind::Interest(position.0),
        Reply::Opened(opened) => Kind::Opened(pb::Opened {
            sid: Some(sid_to(opened.sid)),
            epoch: opened.epoch.0.0,
            present: opened.present,
            persistent: opened.persistent,
            old_owner: opened.old_owner.map(incarnation_to),
            expiry_ms: millis(opened.expiry),
        }),
        Reply::Subscribed { existed, from } => {
            Kind::Subscribed(pb::Subscribed { existed: *existed, from: positions_to(from) })
        }
        Reply::Unsubscribed { existed } => Kind::Unsubscribed(*existed),
        Reply::Done => Kind::Done(true),
        Reply::Rejected(rejected) => Kind::Rejected(rejected_to(*rejected).into()),
    };
    pb::Reply { kind: Some(kind) }
}

fn reply_from(reply: pb::Reply) -> Result<Reply, Malformed> {
    Ok(match need("reply", reply.kind)? {
        Kind::Published(position) => Reply::Published { position: Position(position) },
        Kind::Duplicate(_) => Reply::Duplicate,
        Kind::Interest(position) => Reply::Interest { position: Position(position) },
        Kind::Opened(opened) => Reply::Opened(Opened {
            sid: sid_from(opened.sid)?,
            epoch: Epoch(Position(opened.epoch)),
            present: opened.present,
            persistent: opened.persistent,
            old_owner: opened.old_owner.as_deref().map(incarnation_from).transpose()?,
            expiry: Duration::from_millis(opened.expiry_ms),
        }),
        Kind::Subscribed(subscribed) => {
            Reply::Subscribed { existed: subscribed.existed, from: positions_from(&subscribed.from) }
        }
        Kind::Unsubscribed(existed) => Reply::Unsubscribed { existed },
        Kind::Done(_) => Reply::Done,
        Kind::Rejected(number) => Reply::Rejected(rejected_from(number)?),
    })
}

fn rejected_to(rejected: Rejected) -> pb::Rejected {
    match rejected {
        Rejected::Fenced => pb::Rejected::Fenced,
        Rejected::NotFound => pb::Rejected::NotFound,
        Rejected::Quota => pb::Rejected::Quota,
        Rejected::Invalid => pb::Rejected::Invalid,
    }
}

fn rejected_from(number: i32) -> Result<Rejected, Malformed> {
    match pb::Rejected::try_from(number) {
        Ok(pb::Rejected::Fenced) => Ok(Rejected::Fenced),
        Ok(pb::Rejected::NotFound) => Ok(Rejected::NotFound),
        Ok(pb::Rejected::Quota) => Ok(Rejected::Quota),
        Ok(pb::Rejected::Invalid) => Ok(Rejected::Invalid),
        Ok(pb::Rejected::Unspecified) | Err(_) => Err(Malformed::Missing("why it was rejected")),
    }
}
