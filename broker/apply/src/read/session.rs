//! The rows of sessions: what a resume needs, and what the leader needs to end them.

use causeway_model::{
    ClientId, Epoch, Filter, Incarnation, Millis, Namespace, Position, ShardId, Sid, Stamp, SubscribeOptions, Text,
};

use super::{collect, collect_range};
use crate::record::{InFlight, Kind, SessionExpire, Will, read_flight, wire::Reader};
use crate::row::{Head, LaneRow, SubscriptionRow, Timer};
use crate::{ApplyError, Family, Tables, key};

/// The rows of a session as this shard has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// Its subscriptions; empty on another shard than its home.
    pub subscriptions: Vec<Subscription>,
    /// Its lane here; the default where it has none.
    pub lane: Lane,
}

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter.
    pub filter: Filter,
    /// What was granted.
    pub options: SubscribeOptions,
    /// Where it starts on each shard.
    pub from: Vec<(ShardId, Position)>,
}

/// A session's progress on this shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// The opening whose progress is taken.
    pub epoch: Epoch,
    /// Everything at or below is finished, but for what is parked.
    pub cursor: Position,
    /// Deliveries above the cursor, and parked ones wherever they are, by stamp.
    pub flights: Vec<InFlight>,
}

/// A session's rows, all of them.
pub fn session<T: Tables>(tables: &T, sid: Sid) -> Result<Session, ApplyError> {
    Ok(Session { subscriptions: subscriptions(tables, sid)?, lane: lane(tables, sid)?.unwrap_or_default() })
}

/// A session's subscriptions, by filter.
pub fn subscriptions<T: Tables>(tables: &T, sid: Sid) -> Result<Vec<Subscription>, ApplyError> {
    let prefix = key::subscription_prefix(sid);
    collect(tables, Family::Session, &prefix, usize::MAX, "subscription", |key, value| {
        let row = SubscriptionRow::decode(value)?;
        Some(Subscription { filter: filter_of(key)?, options: row.options, from: row.from })
    })
}

/// A session's lane on this shard; none where it has none.
pub fn lane<T: Tables>(tables: &T, sid: Sid) -> Result<Option<Lane>, ApplyError> {
    let Some(row) = tables.get(Family::Session, &key::lane(sid))? else { return Ok(None) };
    let row = LaneRow::decode(&row).ok_or(ApplyError::Damaged { row: "lane" })?;
    let mut flights = Vec::new();
    if row.flights {
        let above = row.cursor.plus(1).stamp();
        let range = (&key::flight(sid, above)[..], &key::beyond(&key::flight(sid, Stamp(u64::MAX)))[..]);
        flights = collect_range(tables, Family::Session, range, usize::MAX, "flight", flight)?;
    }
    if row.parked {
        let range = (&key::parked(sid, Stamp(0))[..], &key::beyond(&key::parked(sid, Stamp(u64::MAX)))[..]);
        flights.extend(collect_range(tables, Family::Session, range, usize::MAX, "parked", flight)?);
        flights.sort_by_key(|flight| flight.stamp);
    }
    Ok(Some(Lane { epoch: row.epoch, cursor: row.cursor, flights }))
}

fn flight(key: &[u8], value: &[u8]) -> Option<InFlight> {
    let stamp = Stamp(u64::from_be_bytes(*key.last_chunk()?));
    read_flight(&mut Reader::row(Kind::Progress, value), stamp).ok()
}

fn filter_of(key: &[u8]) -> Option<Filter> {
    let text = std::str::from_utf8(key.get(Sid::LEN + 1..)?).ok()?;
    Filter::new(Text::from(text)).ok()
}

/// The head of a session.
pub fn head<T: Tables>(tables: &T, sid: Sid) -> Result<Option<Head>, ApplyError> {
    let Some(row) = tables.get(Family::Client, &key::client_head(sid))? else { return Ok(None) };
    Head::decode(&row).map(Some).ok_or(ApplyError::Damaged { row: "session head" })
}

/// The session that a client has now.
pub fn client<T: Tables>(tables: &T, namespace: &Namespace, client: &ClientId) -> Result<Option<Sid>, ApplyError> {
    let Some(row) = tables.get(Family::Client, &key::client_name(namespace, &client.0))? else { return Ok(None) };
    row.as_ref().try_into().map(|bytes| Some(Sid::from_bytes(bytes))).map_err(|_| ApplyError::Damaged { row: "client" })
}

/// The will stored with a session.
pub fn will<T: Tables>(tables: &T, sid: Sid) -> Result<Option<Will>, ApplyError> {
    let Some(row) = tables.get(Family::Client, &key::client_will(sid))? else { return Ok(None) };
    Will::read(&mut Reader::new(Kind::SessionOpen, &row, 0)).map(Some).map_err(|_| ApplyError::Damaged { row: "will" })
}

/// At most `limit` sessions whose connection a gateway holds, by sid, after one: what to close when it is lost.
pub fn owned<T: Tables>(
    tables: &T,
    gateway: Incarnation,
    after: Option<Sid>,
    limit: usize,
) -> Result<Vec<(Sid, Epoch)>, ApplyError> {
    let prefix = key::client_owned_prefix(gateway);
    let from = after.map_or(prefix.to_vec(), |sid| key::beyond(&key::client_owned(gateway, sid)));
    let range = (from.as_slice(), &key::beyond(&prefix)[..]);
    let sids = collect_range(tables, Family::Client, range, limit, "owned session", |key, _| {
        Some(Sid::from_bytes(*key.last_chunk()?))
    })?;
    let mut sessions = Vec::with_capacity(sids.len());
    for sid in sids {
        // One that was closed in between has no head any more, or another epoch: its close will be rejected.
        if let Some(head) = head(tables, sid)? {
            sessions.push((sid, head.epoch));
        }
    }
    Ok(sessions)
}

/// At most `limit` timers that are due, the oldest first.
pub fn due<T: Tables>(tables: &T, now: Millis, limit: usize) -> Result<Vec<Timer>, ApplyError> {
    let upto = match now.0.checked_add(1) {
        Some(beyond) => beyond.to_be_bytes().to_vec(),
        None => key::END.to_vec(),
    };
    collect_range(tables, Family::Timer, (&[], &upto), limit, "timer", Timer::decode)
}

/// The next record that ends the session of a due timer; none if the timer is out of date. Propose it, wait until it
/// is applied, ask again, until it is the `last`. The first one may name nothing: it only fences the lane, and what is
/// read after it is all there will be.
pub fn expire_page<T: Tables>(tables: &T, timer: &Timer) -> Result<Option<SessionExpire>, ApplyError> {
    let sid = timer.sid;
    let current = head(tables, sid)?.filter(|head| head.timer == Some((timer.due, timer.stamp)));
    let Some(head) = current else { return Ok(None) };
    let fenced = tables.get(Family::Session, &key::lane(sid))?.is_none();
    let rows = SessionExpire::MAX_ROWS;
    let prefix = key::subscription_prefix(sid);
    let filters = collect(tables, Family::Session, &prefix, rows, "subscription", |key, _| filter_of(key))?;
    let mut flights = Vec::new();
    for parked in [false, true] {
        let shape = if parked { key::parked } else { key::flight };
        let upto = key::beyond(&shape(sid, Stamp(u64::MAX)));
        let left = rows - filters.len() - flights.len();
        let range = (&shape(sid, Stamp(0))[..], &upto[..]);
        flights.extend(collect_range(tables, Family::Session, range, left, "flight", |key, _| {
            Some((parked, Stamp(u64::from_be_bytes(*key.last_chunk()?))))
        })?);
    }
    let last = fenced && filters.len() + flights.len() < rows;
    Ok(Some(SessionExpire { sid, epoch: head.epoch, filters, flights, last }))
}
