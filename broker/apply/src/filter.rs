//! The active wildcard filters of one namespace, as a trie by level: which filter queues does a message enter?
//!
//! ```text
//! a/+/c, a/#          (root) ─a─► ( ; '#' ends here: queue of a/#) ─+─► ( ) ─c─► (ends here: queue of a/+/c)
//! ```
//!
//! A message visits at most two children a level, the one of its own name and `+`. Matching allocates nothing and
//! stops early: over so many matches, or so many nodes visited without any, the message goes to the overflow queue
//! instead, so neither a filter bomb nor a thicket of filters that almost match can make one message dear.

use std::collections::HashMap;

use causeway_model::QueueId;

/// The most nodes that matching one topic visits. Part of what decides outcomes: frozen.
const MAX_VISITS: u32 = 2048;

const ROOT: u32 = 0;

/// The filters that have an owner; see the module.
#[derive(Debug)]
pub struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    filters: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, u32>,
    plus: Option<u32>,
    /// The filter that ends at this node.
    here: Option<Active>,
    /// The filter that ends with `#` after this node.
    rest: Option<Active>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    queue: QueueId,
    owners: u32,
}

/// What matching found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// All filters that match were appended.
    All,
    /// There are too many, or looking for them took too long; nothing was appended.
    TooMany,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), filters: 0 }
    }
}

impl Trie {
    /// No filter at all.
    pub fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// How many filters are active.
    pub fn len(&self) -> usize {
        self.filters
    }

    /// Whether the filter has an owner.
    pub fn contains(&self, filter: &str) -> bool {
        let (mut path, rest) = path(filter);
        let end = path.try_fold(ROOT, |node, level| self.child(node, level));
        end.and_then(|end| self.nodes.get(end as usize)).is_some_and(|node| node.end(rest).is_some())
    }

    /// Adds an owner; `queue` is the filter's, which the trie keeps so that matching hashes nothing. True if the
    /// filter had no owner before.
    pub fn add(&mut self, filter: &str, queue: QueueId) -> bool {
        let (path, rest) = path(filter);
        let mut at = ROOT;
        for level in path {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.grow(at, level),
            };
        }
        let Some(end) = self.nodes.get_mut(at as usize).map(|node| node.end_mut(rest)) else { return false };
        let active = end.get_or_insert(Active { queue, owners: 0 });
        active.owners += 1;
        let first = active.owners == 1;
        self.filters += usize::from(first);
        first
    }

    /// Removes an owner. True if that was the last one, and the filter is no longer active.
    pub fn remove(&mut self, filter: &str) -> bool {
        let (levels, rest) = path(filter);
        let mut trail = Vec::with_capacity(causeway_model::MAX_LEVELS);
        let mut at = ROOT;
        for level in levels {
            let Some(child) = self.child(at, level) else { return false };
            trail.push((at, level));
            at = child;
        }
        let Some(end) = self.nodes.get_mut(at as usize).map(|node| node.end_mut(rest)) else { return false };
        let Some(active) = end else { return false };
        active.owners = active.owners.saturating_sub(1);
        if active.owners > 0 {
            return false;
        }
        *end = None;
        self.filters -= 1;
        for (parent, level) in trail.into_iter().rev() {
            self.prune(parent, level);
        }
        true
    }

    /// Appends the queue of every filter that matches the topic, at most `limit`.
    pub fn matches(&self, topic: &str, limit: usize, out: &mut Vec<QueueId>) -> Matched {
        let start = out.len();
        let mut search =
            Search { trie: self, system: topic.starts_with('$'), limit: start + limit, visits: MAX_VISITS, out };
        if search.visit(ROOT, Some(topic)).is_some() {
            return Matched::All;
        }
        out.truncate(start);
        Matched::TooMany
    }

    fn child(&self, node: u32, level: &str) -> Option<u32> {
        let node = self.nodes.get(node as usize)?;
        if level == "+" { node.plus } else { node.children.get(level).copied() }
    }

    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            u32::try_from(self.nodes.len() - 1).unwrap_or(ROOT)
        });
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            if level == "+" {
                parent.plus = Some(child);
            } else {
                parent.children.insert(level.into(), child);
            }
        }
        child
    }

    /// Cuts off a child that leads nowhere.
    fn prune(&mut self, parent: u32, level: &str) {
        let Some(child) = self.child(parent, level) else { return };
        if !self.nodes.get(child as usize).is_some_and(Node::is_dead) {
            return;
        }
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            if level == "+" {
                parent.plus = None;
            } else {
                parent.children.remove(level);
            }
        }
        if let Some(child) = self.nodes.get_mut(child as usize) {
            *child = Node::default();
        }
        self.free.push(child);
    }
}

impl Node {
    fn end(&self, rest: bool) -> Option<&Active> {
        if rest { self.rest.as_ref() } else { self.here.as_ref() }
    }

    fn end_mut(&mut self, rest: bool) -> &mut Option<Active> {
        if rest { &mut self.rest } else { &mut self.here }
    }

    fn is_dead(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_none() && self.rest.is_none()
    }
}

/// The levels of a filter without a final `#`, and whether there was one.
fn path(filter: &str) -> (impl Iterator<Item = &str>, bool) {
    let rest = filter == "#" || filter.ends_with("/#");
    (filter.split('/').filter(|level| *level != "#"), rest)
}

struct Search<'a> {
    trie: &'a Trie,
    /// Wildcards at the first level do not reach the topic (MQTT 5.0 §4.7.2).
    system: bool,
    limit: usize,
    visits: u32,
    out: &'a mut Vec<QueueId>,
}

impl Search<'_> {
    /// Visits a node with the part of the topic that is left; none when it is time to give up.
    fn visit(&mut self, at: u32, topic: Option<&str>) -> Option<()> {
        self.visits = self.visits.checked_sub(1)?;
        let trie = self.trie;
        let node = trie.nodes.get(at as usize)?;
        let hidden = self.system && at == ROOT;
        if let Some(active) = node.rest.as_ref().filter(|_| !hidden) {
            self.found(active)?;
        }
        let Some(topic) = topic else {
            return node.here.as_ref().map_or(Some(()), |active| self.found(active));
        };
        let (level, below) = topic.split_once('/').map_or((topic, None), |(level, below)| (level, Some(below)));
        if let Some(child) = node.children.get(level) {
            self.visit(*child, below)?;
        }
        match node.plus.filter(|_| !hidden) {
            Some(child) => self.visit(child, below),
            None => Some(()),
        }
    }

    fn found(&mut self, active: &Active) -> Option<()> {
        (self.out.len() < self.limit).then(|| self.out.push(active.queue))
    }
}

#[cfg(test)]
mod tests;
