//! Server topics: a first level whose messages are also in queues with dense offsets.

use causeway_model::Topic;

use super::{Step, Stop};
use crate::record::{MAX_SERVER_QUEUES, TopicDrop, TopicPut};
use crate::row::topic_value;
use crate::{Family, Outcome, Reason, Tables, key};

/// Creates a topic or gives it more queues; it cannot have fewer, since consumers hold offsets in them. Heads of queues
/// come with their first message.
pub(super) fn put<T: Tables>(step: &mut Step<'_, T>, record: &TopicPut) -> Result<Outcome, Stop> {
    let key = step.cluster()?.key;
    if !is_first_level(&record.name) || !(1..=MAX_SERVER_QUEUES).contains(&record.queues) {
        return Err(Reason::Invalid.into());
    }
    let tenant = step.roots.tenant(&key, record.namespace.as_str()).ok_or(Reason::Invalid)?;
    let now = tenant.topics.get(&record.name).map_or(0, Vec::len);
    if usize::from(record.queues) < now {
        return Err(Reason::Invalid.into());
    }
    if usize::from(record.queues) > now {
        tenant.put_topic(&key, &record.name, record.queues);
        let row = key::topic(&record.namespace, &record.name);
        step.put(Family::Meta, &row, &topic_value(record.queues));
    }
    Ok(Outcome::Done)
}

/// Forgets a topic and the heads of its queues. Its entries stay until the log below them is trimmed; nobody reads
/// them, since a queue without a head ends at offset zero.
pub(super) fn drop<T: Tables>(step: &mut Step<'_, T>, record: &TopicDrop) -> Result<Outcome, Stop> {
    let key = step.cluster()?.key;
    let tenant = step.roots.tenant(&key, record.namespace.as_str()).ok_or(Reason::Invalid)?;
    let queues = tenant.topics.remove(&record.name).ok_or(Reason::NotFound)?;
    step.delete(Family::Meta, &key::topic(&record.namespace, &record.name));
    for queue in queues.iter().filter(|queue| queue.next > 0) {
        step.delete(Family::Queue, &key::queue(queue.id));
    }
    Ok(Outcome::Done)
}

fn is_first_level(name: &str) -> bool {
    Topic::check(name).is_ok() && !name.contains('/') && !name.starts_with('$')
}

#[cfg(test)]
mod tests;
