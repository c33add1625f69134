//! What is wanted: `Interest`, `Subscribe`, `Unsubscribe`.

use causeway_model::{Epoch, Filter, Namespace, QueueKind, Sid};

use super::cluster::check_gateway;
use super::session::head;
use super::{Step, Stop, damaged};
use crate::key::Owner;
use crate::record::{self, Interest, Subscribe, Unsubscribe};
use crate::row::{Head, SubscriptionRow};
use crate::{Family, Outcome, Reason, Tables, key};

/// Adds or removes an owner of a wildcard. Idempotent both ways.
pub(super) fn interest<T: Tables>(step: &mut Step<'_, T>, record: &Interest) -> Result<Outcome, Stop> {
    if !is_indexed(&record.filter) {
        return Err(Reason::Invalid.into());
    }
    if record.add {
        may_add(step, record.owner)?;
        add(step, &record.namespace, &record.filter, record.owner.into())?;
    } else {
        may_remove(step, record.owner)?;
        remove(step, &record.namespace, &record.filter, record.owner.into())?;
    }
    Ok(Outcome::Interest)
}

/// `#` alone is the log itself, and an exact topic has its light queue anyway.
fn is_indexed(filter: &Filter) -> bool {
    filter.queue_kind() == QueueKind::Filter
}

/// Somebody must be there to end it again. A session is known on its home shard only.
fn may_add<T: Tables>(step: &Step<'_, T>, owner: record::Owner) -> Result<(), Stop> {
    match owner {
        record::Owner::Gateway(incarnation) => check_gateway(step, incarnation),
        record::Owner::Session { sid, epoch } if sid.home == step.cluster()?.shard => {
            if owned(step, sid, epoch)?.persistent { Ok(()) } else { Err(Reason::Invalid.into()) }
        }
        record::Owner::Session { .. } => Ok(()),
    }
}

/// Ending it is always right, but for a session's old owner: the new one may have wanted the same since.
fn may_remove<T: Tables>(step: &Step<'_, T>, owner: record::Owner) -> Result<(), Stop> {
    let record::Owner::Session { sid, epoch } = owner else { return Ok(()) };
    if sid.home != step.cluster()?.shard {
        return Ok(());
    }
    match head(step, sid)? {
        Some(head) if head.epoch > epoch => Err(Reason::Fenced.into()),
        _ => Ok(()),
    }
}

fn add<T: Tables>(step: &mut Step<'_, T>, namespace: &Namespace, filter: &Filter, owner: Owner) -> Result<(), Stop> {
    let row = key::filter(namespace, filter.as_str(), owner);
    if step.get(Family::Filter, &row)?.is_some() {
        return Ok(());
    }
    let key = step.cluster()?.key;
    let full = step.roots.active_filters >= step.roots.limits().active_filters;
    let trie = &mut step.roots.tenant(&key, namespace.as_str()).ok_or(Reason::Invalid)?.filters;
    if full && !trie.contains(filter.as_str()) {
        return Err(Reason::Quota.into());
    }
    let first = trie.add(filter.as_str(), key.queue(QueueKind::Filter, namespace, filter.as_str()));
    step.roots.active_filters += u32::from(first);
    let at = step.at;
    step.put(Family::Filter, &row, &at.0.to_be_bytes());
    Ok(())
}

/// Ends an owner's interest, if it has any.
pub(super) fn remove<T: Tables>(
    step: &mut Step<'_, T>,
    namespace: &Namespace,
    filter: &Filter,
    owner: Owner,
) -> Result<(), Stop> {
    let row = key::filter(namespace, filter.as_str(), owner);
    if !is_indexed(filter) || step.get(Family::Filter, &row)?.is_none() {
        return Ok(());
    }
    let key = step.cluster()?.key;
    let tenant = step.roots.tenant(&key, namespace.as_str());
    let last = tenant.is_some_and(|tenant| tenant.filters.remove(filter.as_str()));
    step.roots.active_filters -= u32::from(last);
    step.delete(Family::Filter, &row);
    Ok(())
}

/// Adds a subscription, or replaces the options of one and keeps where it starts.
pub(super) fn subscribe<T: Tables>(step: &mut Step<'_, T>, record: Subscribe) -> Result<Outcome, Stop> {
    let cluster = step.cluster()?;
    let mut head = owned(step, record.sid, record.epoch)?;
    let shards = usize::try_from(cluster.shards).unwrap_or(usize::MAX);
    if !head.persistent || record.from.len() > shards {
        return Err(Reason::Invalid.into());
    }
    let key = key::subscription(record.sid, record.filter.as_str());
    let old = match step.get(Family::Session, &key)? {
        Some(row) => Some(SubscriptionRow::decode(&row).ok_or_else(|| damaged("subscription"))?),
        None => None,
    };
    let existed = old.is_some();
    if !existed {
        if head.filters >= cluster.limits.session_filters {
            return Err(Reason::Quota.into());
        }
        head.filters += 1;
        step.put(Family::Client, &key::client_head(record.sid), &head.encode());
    }
    let row = SubscriptionRow { options: record.options, from: old.map_or(record.from, |old| old.from) };
    step.put(Family::Session, &key, &row.encode());
    Ok(Outcome::Subscribed { existed, from: row.from })
}

/// Removes a subscription. Its interest is ended by records of its own, on every shard.
pub(super) fn unsubscribe<T: Tables>(step: &mut Step<'_, T>, record: &Unsubscribe) -> Result<Outcome, Stop> {
    let mut head = owned(step, record.sid, record.epoch)?;
    let key = key::subscription(record.sid, record.filter.as_str());
    let existed = step.get(Family::Session, &key)?.is_some();
    if existed {
        head.filters = head.filters.saturating_sub(1);
        step.put(Family::Client, &key::client_head(record.sid), &head.encode());
        step.delete(Family::Session, &key);
    }
    Ok(Outcome::Unsubscribed { existed })
}

/// The head of a session that the caller's connection holds.
fn owned<T: Tables>(step: &Step<'_, T>, sid: Sid, epoch: Epoch) -> Result<Head, Stop> {
    let head = head(step, sid)?.ok_or(Reason::NotFound)?;
    if head.epoch == epoch && head.is_connected() { Ok(head) } else { Err(Reason::Fenced.into()) }
}

#[cfg(test)]
mod tests;
