//! `Message`: which queues it enters. This is what runs a million times a second: it reads no row, and it allocates
//! nothing.
//!
//! ```text
//! client queue         if it is addressed to one, and no other    stamp
//! light queue          else always, written blind                 stamp
//! filter queues        each active filter that matches            stamp
//! overflow queue       instead of the filters, over the limit     stamp
//! server-topic queue   if the first level is a server topic       next offset, head row
//! `#`                  no entry: named to readers only
//! ```

use bytes::Bytes;
use causeway_model::{QueueId, QueueKind, Topic, topic_queue};

use super::roots::Tenant;
use super::{Step, Stop};
use crate::record::MessageHead;
use crate::row::{Entry, EntryFlags, EntryValue, QueueHead};
use crate::{Effects, Entered, Family, Matched, Outcome, Reason, Tables, key};

pub(super) fn message<T: Tables>(step: &mut Step<'_, T>, payload: &Bytes) -> Result<Outcome, Stop> {
    let cluster = step.cluster()?;
    let head = MessageHead::read(payload).map_err(|_| Reason::Invalid)?;
    Topic::check(head.topic).map_err(|_| Reason::Invalid)?;
    let stamp = step.at.stamp();
    let entry = Entry {
        offset: stamp.offset(),
        stamp,
        position: step.at,
        length: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        time: step.roots.clock,
        flags: EntryFlags { qos: head.qos, retain: head.retain, expires: head.expires, referred: false },
    };
    let tenant = step.roots.tenant(&cluster.key, head.namespace).ok_or(Reason::Invalid)?;
    let (kind, name) = topic_queue(head.topic);
    let own = cluster.key.queue(kind, &tenant.namespace, name);
    let server = server_queue(tenant, &head, own)?;

    let out = &mut *step.out;
    let start = out.queues.len();
    out.queues.push(own);
    // What is addressed to one client is for no filter to see, whoever owns it.
    if kind != QueueKind::Client {
        enter_filter_queues(tenant, &head, cluster.limits.matches, &mut out.queues);
    }
    let value = EntryValue::new(&entry, false);
    for queue in out.queues.get(start..).unwrap_or_default() {
        value.put(*queue, entry.offset, &mut out.mutations);
    }
    if let Some(number) = server {
        enter_server_queue(tenant, &head, number, &entry, out);
    }
    if !head.topic.starts_with('$') {
        out.queues.push(tenant.all);
    }
    tell(out, &entry, start);
    Ok(Outcome::Published)
}

/// The queues of the filters that match, or the overflow queue instead of them.
fn enter_filter_queues(tenant: &Tenant, head: &MessageHead<'_>, limit: u32, queues: &mut Vec<QueueId>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !tenant.filters.is_empty() && tenant.filters.matches(head.topic, limit, queues) == Matched::TooMany {
        queues.push(tenant.overflow);
    }
}

/// The number of the server-topic queue that the message enters. No server topic's name starts with `$`, so what is
/// addressed to one client enters none.
fn server_queue(tenant: &Tenant, head: &MessageHead<'_>, own: QueueId) -> Result<Option<u16>, Stop> {
    let first = head.topic.split('/').next().unwrap_or_default();
    let queues = if tenant.topics.is_empty() { None } else { tenant.topics.get(first) };
    let Some(queues) = queues.map(Vec::len).filter(|count| *count > 0) else {
        return if head.server_queue.is_some() { Err(Reason::NotFound.into()) } else { Ok(None) };
    };
    match head.server_queue {
        Some(number) if usize::from(number) < queues => Ok(Some(number)),
        Some(_) => Err(Reason::NotFound.into()),
        // By topic, so that what is published to one topic stays in order.
        None => {
            let [a, b, c, d, ..] = own.0;
            let number = u32::from_be_bytes([a, b, c, d]) as usize % queues;
            Ok(u16::try_from(number).ok())
        }
    }
}

fn enter_server_queue(tenant: &mut Tenant, head: &MessageHead<'_>, number: u16, entry: &Entry, out: &mut Effects) {
    let name = head.topic.split('/').next().unwrap_or_default();
    let Some(queue) = tenant.topics.get_mut(name).and_then(|queues| queues.get_mut(usize::from(number))) else {
        return;
    };
    let offset = causeway_model::Offset(queue.next);
    queue.next += 1;
    EntryValue::new(entry, true).put(queue.id, offset, &mut out.mutations);
    let row = QueueHead::encode(tenant.namespace.as_str(), name, number, queue.next);
    out.mutations.put(Family::Queue, &key::queue(queue.id), &row);
    out.queues.push(queue.id);
}

/// Tells readers which queues grew: all that were pushed since `start`.
fn tell(out: &mut Effects, entry: &Entry, start: usize) {
    if out.replay {
        out.queues.truncate(start);
        return;
    }
    out.entered.push(Entered {
        stamp: entry.stamp,
        position: entry.position,
        length: entry.length,
        time: entry.time,
        flags: entry.flags,
        queues: u16::try_from(out.queues.len() - start).unwrap_or(u16::MAX),
    });
}

#[cfg(test)]
mod tests;
