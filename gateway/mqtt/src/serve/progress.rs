//! Cursors on their way to the log: of many sessions, one record a shard and tick.
//!
//! Only the latest cursor of a lane counts, so what waits is bounded by the number of lanes. A record that is refused or
//! whose outcome is unknown is made again: a cursor never moves back, so doing it twice does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::{Broker, Command, LaneProgress};
use causeway_model::{ShardId, Sid};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Bytes of a lane's cursor in a record, nearly.
const LANE_BYTES: u64 = 64;
/// Cursors that may wait for the task; a session whose cursor finds no room hands it over again when it moves.
pub(super) const QUEUE: usize = 8192;

/// Cursors that are not logged yet.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<(ShardId, Sid), LaneProgress>);

impl Waiting {
    fn put(&mut self, shard: ShardId, progress: LaneProgress) {
        let newer = (progress.epoch, progress.cursor);
        let place = self.0.entry((shard, progress.sid)).or_insert_with(|| progress.clone());
        if newer > (place.epoch, place.cursor) {
            *place = progress;
        }
    }

    /// Lanes of the first shard that `free` lets pass.
    fn take(&mut self, lanes: usize, free: impl Fn(ShardId) -> bool) -> Option<(ShardId, Vec<LaneProgress>)> {
        let shard = self.0.keys().map(|(shard, _)| *shard).find(|shard| free(*shard))?;
        let keys: Vec<_> = self.0.keys().filter(|key| key.0 == shard).take(lanes).copied().collect();
        Some((shard, keys.iter().filter_map(|key| self.0.remove(key)).collect()))
    }
}

type Outcome = (ShardId, Option<Vec<LaneProgress>>);

/// Logs what comes, every `interval` or once `bytes` of it wait, until `end` resolves; what waits then is logged once more.
pub(super) async fn run(
    broker: Arc<dyn Broker>,
    mut inbox: mpsc::Receiver<(ShardId, LaneProgress)>,
    interval: Duration,
    bytes: u64,
    end: impl Future<Output = ()>,
) {
    let lanes = usize::try_from(bytes / LANE_BYTES).unwrap_or(usize::MAX).max(1);
    let mut end = std::pin::pin!(end);
    let mut tick = tokio::time::interval(interval.max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = Waiting::default();
    let mut under_way: FuturesUnordered<BoxFuture<'static, Outcome>> = FuturesUnordered::new();
    let mut shards: Vec<ShardId> = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            Some((shard, again)) = under_way.next() => {
                shards.retain(|other| *other != shard);
                again.into_iter().flatten().for_each(|progress| waiting.put(shard, progress));
            }
            came = inbox.recv() => match came {
                Some((shard, progress)) => {
                    waiting.put(shard, progress);
                    if waiting.0.len() < lanes {
                        continue;
                    }
                    propose(&broker, lanes, &mut waiting, &mut shards, &mut under_way);
                }
                None => break,
            },
            _ = tick.tick() => propose(&broker, lanes, &mut waiting, &mut shards, &mut under_way),
        }
    }
    // Every lane once more, those of a shard with a record under way after it. What fails now is not tried again.
    loop {
        propose(&broker, lanes, &mut waiting, &mut shards, &mut under_way);
        let Some((shard, _)) = under_way.next().await else { break };
        shards.retain(|other| *other != shard);
    }
}

/// One record a shard that has none under way.
fn propose(
    broker: &Arc<dyn Broker>,
    limit: usize,
    waiting: &mut Waiting,
    shards: &mut Vec<ShardId>,
    under_way: &mut FuturesUnordered<BoxFuture<'static, Outcome>>,
) {
    while let Some((shard, lanes)) = waiting.take(limit, |shard| !shards.contains(&shard)) {
        shards.push(shard);
        let reply = broker.propose(shard, vec![Command::Progress(lanes.clone())]);
        under_way.push(Box::pin(async move { (shard, reply.await.is_err().then_some(lanes)) }));
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::{Epoch, Position};

    use super::*;

    fn progress(sid: u64, epoch: u64, cursor: u64) -> LaneProgress {
        LaneProgress {
            sid: Sid { home: ShardId(0), position: Position(sid) },
            epoch: Epoch(Position(epoch)),
            cursor: Some(Position(cursor)),
            flights: Vec::new(),
        }
    }

    #[test]
    fn only_the_latest_cursor_of_a_lane_is_logged() {
        let mut waiting = Waiting::default();
        for (sid, epoch, cursor) in [(1, 1, 10), (1, 1, 30), (1, 1, 20), (2, 5, 7), (2, 4, 99), (1, 2, 3)] {
            waiting.put(ShardId(0), progress(sid, epoch, cursor));
        }
        let (shard, lanes) = waiting.take(9, |_| true).unwrap();
        assert_eq!((shard, lanes), (ShardId(0), vec![progress(1, 2, 3), progress(2, 5, 7)]));
        assert_eq!(waiting.take(9, |_| true), None);
    }

    #[test]
    fn shards_with_a_record_under_way_wait() {
        let mut waiting = Waiting::default();
        waiting.put(ShardId(0), progress(1, 1, 1));
        waiting.put(ShardId(1), progress(1, 1, 2));
        assert_eq!(waiting.take(9, |shard| shard != ShardId(0)).unwrap().0, ShardId(1));
        assert_eq!(waiting.take(9, |shard| shard != ShardId(0)), None);
        assert_eq!(waiting.take(9, |_| true).unwrap().0, ShardId(0));
    }
}
