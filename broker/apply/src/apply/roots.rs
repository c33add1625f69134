//! What every record needs at hand: the cluster's constants, and by namespace its filters and server topics. All of it
//! comes from tables at open and is changed only beside the row that says the same.

use std::collections::HashMap;
use std::ops::ControlFlow;

use causeway_model::{HashKey, Millis, Namespace, Position, QueueId, QueueKind, Text};

use crate::record::{ClusterInit, Limits};
use crate::row::QueueHead;
use crate::{ApplyError, Family, Tables, Trie, key, read};

/// Namespaces kept although they have neither filter nor topic; beyond, they are made again for each message.
const MAX_PLAIN: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) cluster: Option<ClusterInit>,
    pub(super) level: u8,
    pub(super) first: Position,
    /// The largest time of all batches.
    pub(super) clock: Millis,
    /// Distinct filters with an owner, over all namespaces.
    pub(super) active_filters: u32,
    tenants: Vec<Tenant>,
    by_name: HashMap<Text, usize>,
    /// The namespace of the last message: most likely the next one's too.
    last: usize,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) namespace: Namespace,
    /// The queue of `#`: named in frames, has no entries.
    pub(super) all: QueueId,
    pub(super) overflow: QueueId,
    pub(super) filters: Trie,
    pub(super) topics: HashMap<Text, Vec<ServerQueue>>,
}

/// A queue of a server topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerQueue {
    pub(super) id: QueueId,
    /// The offset of its next entry.
    pub(super) next: u64,
}

impl Tenant {
    fn new(key: &HashKey, namespace: Namespace) -> Self {
        let all = key.queue(QueueKind::All, &namespace, "#");
        let overflow = key.queue(QueueKind::Overflow, &namespace, "");
        Self { namespace, all, overflow, filters: Trie::default(), topics: HashMap::new() }
    }
}

impl Roots {
    /// Reads them from tables.
    pub(super) fn open<T: Tables>(tables: &T, clock: Millis) -> Result<Self, ApplyError> {
        let mut roots = Self {
            cluster: read::cluster(tables)?,
            level: read::level(tables)?,
            first: read::first(tables)?,
            clock,
            active_filters: 0,
            tenants: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
        };
        let Some(cluster) = roots.cluster else { return Ok(roots) };
        roots.load_filters(tables, &cluster.key)?;
        roots.load_topics(tables, &cluster.key)?;
        Ok(roots)
    }

    fn load_filters<T: Tables>(&mut self, tables: &T, key: &HashKey) -> Result<(), ApplyError> {
        let mut damaged = false;
        tables.scan(Family::Filter, &[], &key::END, &mut |row, _| {
            let Some((namespace, filter, _)) = key::read_filter(row) else {
                damaged = true;
                return ControlFlow::Break(());
            };
            let queue = key.queue(QueueKind::Filter, &namespace, filter.as_str());
            if let Some(tenant) = self.tenant(key, namespace.as_str()) {
                let first = tenant.filters.add(filter.as_str(), queue);
                self.active_filters += u32::from(first);
            }
            ControlFlow::Continue(())
        })?;
        if damaged { Err(ApplyError::Damaged { row: "filter" }) } else { Ok(()) }
    }

    fn load_topics<T: Tables>(&mut self, tables: &T, key: &HashKey) -> Result<(), ApplyError> {
        let mut damaged = false;
        for topic in read::topics(tables, usize::MAX)? {
            if let Some(tenant) = self.tenant(key, topic.namespace.as_str()) {
                tenant.put_topic(key, &topic.name, topic.queues);
            }
        }
        tables.scan(Family::Queue, &[], &key::END, &mut |_, value| {
            let Some(head) = QueueHead::decode(value) else {
                damaged = true;
                return ControlFlow::Break(());
            };
            let tenant = self.tenant(key, head.namespace.as_str());
            let queues = tenant.and_then(|tenant| tenant.topics.get_mut(&head.topic));
            if let Some(queue) = queues.and_then(|queues| queues.get_mut(usize::from(head.number))) {
                queue.next = head.next;
            }
            ControlFlow::Continue(())
        })?;
        if damaged { Err(ApplyError::Damaged { row: "topic" }) } else { Ok(()) }
    }

    pub(super) fn limits(&self) -> Limits {
        self.cluster.map_or_else(Limits::default, |cluster| cluster.limits)
    }

    /// The namespace of that name, made if it is not there yet; none where the name is not valid.
    pub(super) fn tenant(&mut self, key: &HashKey, name: &str) -> Option<&mut Tenant> {
        if self.tenants.get(self.last).is_none_or(|tenant| tenant.namespace.as_str() != name) {
            self.last = match self.by_name.get(name) {
                Some(index) => *index,
                None => self.push(key, name)?,
            };
        }
        self.tenants.get_mut(self.last)
    }

    fn push(&mut self, key: &HashKey, name: &str) -> Option<usize> {
        // A copy: the name must not hold the batch that it arrived in.
        let namespace = Namespace::new(Text::from(name)).ok()?;
        // Namespaces come from publishers: a stream of new names must not fill the memory.
        if self.tenants.len() >= MAX_PLAIN {
            self.tenants.retain(|tenant| !tenant.filters.is_empty() || !tenant.topics.is_empty());
            let names = self.tenants.iter().enumerate().map(|(i, tenant)| (tenant.namespace.text().clone(), i));
            self.by_name = names.collect();
        }
        let index = self.tenants.len();
        self.by_name.insert(namespace.text().clone(), index);
        self.tenants.push(Tenant::new(key, namespace));
        Some(index)
    }
}

impl Tenant {
    /// Creates a topic or gives it more queues.
    pub(super) fn put_topic(&mut self, key: &HashKey, name: &Text, queues: u16) {
        let topic = self.topics.entry(Text::from(&**name)).or_default();
        for number in 0..queues {
            if usize::from(number) >= topic.len() {
                topic.push(ServerQueue { id: key.server_queue(&self.namespace, name, number), next: 0 });
            }
        }
    }
}
