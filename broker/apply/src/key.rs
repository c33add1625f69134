//! Every key of every family, in one place. Frozen by golden bytes.
//!
//! ```text
//! meta      tag ‖ name                1 applied · 2 first position · 3 cluster · 4 level · 5 map · 6 topic: ns ‖ 0 ‖ name
//!                                     7 group: ns ‖ 0 ‖ name · 8 acl: name · 9 gateway: incarnation · 10 departed: incarnation
//! queue     qid
//! entry     qid ‖ offset              prefix: qid
//! key       hash 16 B ‖ position      prefix: hash
//! filter    ns ‖ 0 ‖ filter ‖ 0 ‖ owner                owner = 1 ‖ sid | 2 ‖ incarnation
//! client    tag ‖ …                   1 name: ns ‖ 0 ‖ client id · 2 owned: incarnation ‖ sid · 3 head: sid · 4 will: sid
//! session   sid ‖ tag ‖ …             1 lane · 2 flight: stamp · 3 parked: stamp · 4 subscription: filter · 5 inbound pid
//! group     ns ‖ 0 ‖ group ‖ 0 ‖ qid
//! timer     due ‖ stamp ‖ kind
//! pin       position ‖ kind ‖ reference key
//! retained  ns ‖ 0 ‖ topic
//! ```
//!
//! Integers are big-endian, so byte order is number order. A string that is not last ends in zero; none may contain
//! one. Where a family has several shapes a tag tells them apart, right after what its scans have in common.

use causeway_model::{Filter, Incarnation, Millis, Namespace, Offset, PacketId, Position, QueueId, Sid, Stamp, Text};

use crate::record::{self, OWNER_GATEWAY, OWNER_SESSION};

/// `meta`: how far apply has come.
pub const APPLIED: [u8; 1] = [1];
/// `meta`: the first position that the log still holds.
pub const FIRST: [u8; 1] = [2];
/// `meta`: the cluster's constants.
pub const CLUSTER: [u8; 1] = [3];
/// `meta`: the feature level.
pub const LEVEL: [u8; 1] = [4];
/// `meta`: reserved for the map of slots.
pub const MAP: [u8; 1] = [5];

const TOPIC: u8 = 6;
const GROUP: u8 = 7;
const ACL: u8 = 8;
const GATEWAY: u8 = 9;
const DEPARTED: u8 = 10;

const CLIENT_NAME: u8 = 1;
const CLIENT_OWNED: u8 = 2;
const CLIENT_HEAD: u8 = 3;
const CLIENT_WILL: u8 = 4;

const SESSION_LANE: u8 = 1;
const SESSION_FLIGHT: u8 = 2;
const SESSION_PARKED: u8 = 3;
const SESSION_SUBSCRIPTION: u8 = 4;
const SESSION_PID: u8 = 5;

/// The kind of timer that ends a session.
pub const TIMER_SESSION: u8 = 1;

/// `meta`: a server topic.
pub fn topic(namespace: &Namespace, name: &str) -> Vec<u8> {
    join(&[&[TOPIC], namespace.as_str().as_bytes(), &[0], name.as_bytes()])
}

/// `meta`: reserved for consumer groups.
pub fn group_meta(namespace: &Namespace, name: &str) -> Vec<u8> {
    join(&[&[GROUP], namespace.as_str().as_bytes(), &[0], name.as_bytes()])
}

/// `meta`: reserved for access rules.
pub fn acl(name: &str) -> Vec<u8> {
    join(&[&[ACL], name.as_bytes()])
}

/// `meta`: a gateway process.
pub fn gateway(incarnation: Incarnation) -> [u8; 17] {
    concat(&[&[GATEWAY], &incarnation.0.to_be_bytes()])
}

/// `meta`: a gateway process of which nothing is left, kept for a while so that it stays fenced.
pub fn departed(incarnation: Incarnation) -> [u8; 17] {
    concat(&[&[DEPARTED], &incarnation.0.to_be_bytes()])
}

/// `meta`: what the topics have in common.
pub const TOPICS: [u8; 1] = [TOPIC];
/// `meta`: what the gateways have in common.
pub const GATEWAYS: [u8; 1] = [GATEWAY];
/// `meta`: what the departed gateways have in common.
pub const DEPARTURES: [u8; 1] = [DEPARTED];
/// Beyond every key of every family that is scanned whole.
pub const END: [u8; 32] = [u8::MAX; 32];

/// Reads a topic's key.
pub(crate) fn read_topic(key: &[u8]) -> Option<(Namespace, Text)> {
    let (namespace, name) = split(key.strip_prefix(&TOPICS)?)?;
    Some((Namespace::new(text(namespace)?).ok()?, text(name)?))
}

/// Reads a gateway's key.
pub(crate) fn read_gateway(key: &[u8]) -> Option<Incarnation> {
    let incarnation = key.strip_prefix(&GATEWAYS)?.try_into().ok()?;
    Some(Incarnation(u128::from_be_bytes(incarnation)))
}

/// Reads a departed gateway's key.
pub(crate) fn read_departed(key: &[u8]) -> Option<Incarnation> {
    let incarnation = key.strip_prefix(&DEPARTURES)?.try_into().ok()?;
    Some(Incarnation(u128::from_be_bytes(incarnation)))
}

/// Reads a filter's key.
pub(crate) fn read_filter(key: &[u8]) -> Option<(Namespace, Filter, Owner)> {
    let (namespace, rest) = split(key)?;
    let (filter, owner) = split(rest)?;
    let owner = match owner.split_first()? {
        (&OWNER_SESSION, sid) => Owner::Session(Sid::from_bytes(sid.try_into().ok()?)),
        (&OWNER_GATEWAY, incarnation) => Owner::Gateway(Incarnation(u128::from_be_bytes(incarnation.try_into().ok()?))),
        _ => return None,
    };
    Some((Namespace::new(text(namespace)?).ok()?, Filter::new(text(filter)?).ok()?, owner))
}

fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (string, rest) = key.split_at_checked(end)?;
    Some((string, rest.get(1..)?))
}

fn text(bytes: &[u8]) -> Option<Text> {
    std::str::from_utf8(bytes).ok().map(Text::from)
}

/// `queue`: the head of a server-topic queue.
pub fn queue(id: QueueId) -> [u8; 16] {
    id.0
}

/// `entry`: one entry of one queue.
pub fn entry(queue: QueueId, offset: Offset) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&queue.0);
    key[16..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// `key`: one message that has a key; the hash is over topic and message key.
pub fn message_key(hash: [u8; 16], position: Position) -> [u8; 24] {
    concat(&[&hash, &position.0.to_be_bytes()])
}

/// Whose a `filter` row is. A session's rows are its own through all its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A persistent session.
    Session(Sid),
    /// All volatile sessions of one gateway.
    Gateway(Incarnation),
}

impl From<record::Owner> for Owner {
    fn from(owner: record::Owner) -> Self {
        match owner {
            record::Owner::Session { sid, .. } => Self::Session(sid),
            record::Owner::Gateway(incarnation) => Self::Gateway(incarnation),
        }
    }
}

/// `filter`: one owner of one filter.
pub fn filter(namespace: &Namespace, filter: &str, owner: Owner) -> Vec<u8> {
    let mut key = filter_prefix(namespace, filter);
    match owner {
        Owner::Session(sid) => {
            key.push(OWNER_SESSION);
            key.extend(sid.to_bytes());
        }
        Owner::Gateway(incarnation) => {
            key.push(OWNER_GATEWAY);
            key.extend(incarnation.0.to_be_bytes());
        }
    }
    key
}

/// `filter`: what the rows of one filter have in common.
pub fn filter_prefix(namespace: &Namespace, filter: &str) -> Vec<u8> {
    join(&[namespace.as_str().as_bytes(), &[0], filter.as_bytes(), &[0]])
}

/// `client`: which session a client has.
pub fn client_name(namespace: &Namespace, client: &str) -> Vec<u8> {
    join(&[&[CLIENT_NAME], namespace.as_str().as_bytes(), &[0], client.as_bytes()])
}

/// `client`: a session whose connection a gateway holds.
pub fn client_owned(owner: Incarnation, sid: Sid) -> [u8; 29] {
    concat(&[&[CLIENT_OWNED], &owner.0.to_be_bytes(), &sid.to_bytes()])
}

/// `client`: what the sessions of one gateway have in common.
pub fn client_owned_prefix(owner: Incarnation) -> [u8; 17] {
    concat(&[&[CLIENT_OWNED], &owner.0.to_be_bytes()])
}

/// `client`: the head of a session.
pub fn client_head(sid: Sid) -> [u8; 13] {
    concat(&[&[CLIENT_HEAD], &sid.to_bytes()])
}

/// `client`: the will of a session.
pub fn client_will(sid: Sid) -> [u8; 13] {
    concat(&[&[CLIENT_WILL], &sid.to_bytes()])
}

/// `session`: the lane on this shard.
pub fn lane(sid: Sid) -> [u8; 13] {
    concat(&[&sid.to_bytes(), &[SESSION_LANE]])
}

/// `session`: a delivery above the cursor.
pub fn flight(sid: Sid, stamp: Stamp) -> [u8; 21] {
    concat(&[&sid.to_bytes(), &[SESSION_FLIGHT], &stamp.0.to_be_bytes()])
}

/// `session`: a parked delivery.
pub fn parked(sid: Sid, stamp: Stamp) -> [u8; 21] {
    concat(&[&sid.to_bytes(), &[SESSION_PARKED], &stamp.0.to_be_bytes()])
}

/// `session`: a subscription, on the home shard.
pub fn subscription(sid: Sid, filter: &str) -> Vec<u8> {
    join(&[&subscription_prefix(sid), filter.as_bytes()])
}

/// `session`: what the subscriptions of one session have in common.
pub fn subscription_prefix(sid: Sid) -> [u8; 13] {
    concat(&[&sid.to_bytes(), &[SESSION_SUBSCRIPTION]])
}

/// `session`: reserved for packet ids of QoS 2 publishes that the client has not released.
pub fn inbound(sid: Sid, pid: PacketId) -> [u8; 15] {
    concat(&[&sid.to_bytes(), &[SESSION_PID], &pid.get().to_be_bytes()])
}

/// `group`: reserved for a consumer group's progress on one queue.
pub fn group(namespace: &Namespace, name: &str, queue: QueueId) -> Vec<u8> {
    join(&[namespace.as_str().as_bytes(), &[0], name.as_bytes(), &[0], &queue.0])
}

/// `timer`: what falls due; the stamp is the position of the record that set it.
pub fn timer(due: Millis, stamp: Stamp, kind: u8) -> [u8; 17] {
    concat(&[&due.0.to_be_bytes(), &stamp.0.to_be_bytes(), &[kind]])
}

/// `pin`: who needs an old body.
pub fn pin(position: Position, kind: u8, reference: &[u8]) -> Vec<u8> {
    join(&[&position.0.to_be_bytes(), &[kind], reference])
}

/// `retained`: the retained message of a topic.
pub fn retained(namespace: &Namespace, topic: &str) -> Vec<u8> {
    join(&[namespace.as_str().as_bytes(), &[0], topic.as_bytes()])
}

/// The first key beyond all that start with `prefix`; empty if there is none, which no scan can reach.
pub fn beyond(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Joins parts whose lengths add up to `N`; the golden bytes see to it that they do.
fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    for (to, from) in key.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    key
}

#[cfg(test)]
mod tests;
