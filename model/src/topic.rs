//! Topic names and topic filters, checked once (MQTT 5.0 §4.7), and the one rule by which they match.

use std::fmt;

use crate::{QueueKind, Text};

/// The most levels a name or filter may have. A topic of n levels can match 3·2ⁿ−1 filters, so it is bounded.
pub const MAX_LEVELS: usize = 16;

/// The longest name or filter, in bytes: what MQTT's 16-bit length can carry.
pub const MAX_NAME_BYTES: usize = 65_535;

/// The first level of topics that are addressed to one client each.
const PEER: &str = "$p2p";

/// Why a name or filter was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// At least one character is needed.
    #[error("empty")]
    Empty,
    /// Over [`MAX_NAME_BYTES`].
    #[error("longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Over [`MAX_LEVELS`].
    #[error("more than {MAX_LEVELS} levels")]
    TooManyLevels,
    /// U+0000 may not occur.
    #[error("contains U+0000")]
    Nul,
    /// A topic name may not contain `+` or `#`.
    #[error("a topic name may not contain '+' or '#'")]
    Wildcard,
    /// `+` must be a whole level, `#` the whole last level.
    #[error("a wildcard must be a whole level, and '#' the last one")]
    MisplacedWildcard,
    /// `$p2p` without a client after it.
    #[error("'$p2p/' is followed by the client that it is addressed to")]
    NoAddressee,
    /// A namespace may not contain `/`.
    #[error("a namespace may not contain '/', '+' or '#'")]
    Namespace,
}

/// The tenant a name belongs to; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Text);

impl Namespace {
    /// Checks a namespace: at most 255 bytes, no NUL, `/`, `+` or `#`.
    pub fn new(name: Text) -> Result<Self, NameError> {
        if name.len() > 255 {
            return Err(NameError::TooLong);
        }
        if name.contains('\0') {
            return Err(NameError::Nul);
        }
        if name.contains(['/', '+', '#']) {
            return Err(NameError::Namespace);
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub fn text(&self) -> &Text {
        &self.0
    }
}

/// A topic name: what messages are published to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Text);

impl Topic {
    /// Checks a topic name.
    pub fn new(name: Text) -> Result<Self, NameError> {
        Self::check(&name)?;
        Ok(Self(name))
    }

    /// Checks a topic name without keeping it.
    pub fn check(name: &str) -> Result<(), NameError> {
        check(name)?;
        if name.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(NameError::Wildcard);
        }
        if is_peer(name) && addressee(name).is_none() {
            return Err(NameError::NoAddressee);
        }
        Ok(())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub fn text(&self) -> &Text {
        &self.0
    }

    /// The parts between slashes; an empty part is a level too.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Server-internal topics: wildcards at the first level do not reach them (MQTT 5.0 §4.7.2).
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The client that messages to this topic are for, and nobody else.
    pub fn addressee(&self) -> Option<&str> {
        addressee(&self.0)
    }
}

/// A topic filter: what subscribers ask for. May be an exact name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Text);

impl Filter {
    /// Checks a topic filter.
    pub fn new(filter: Text) -> Result<Self, NameError> {
        check(&filter)?;
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let whole = matches!(level, "+" | "#");
            if (!whole && level.contains(['+', '#'])) || (level == "#" && levels.peek().is_some()) {
                return Err(NameError::MisplacedWildcard);
            }
        }
        Ok(Self(filter))
    }

    /// The filter.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The filter as shared text.
    pub fn text(&self) -> &Text {
        &self.0
    }

    /// The parts between slashes.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Contains `+` or `#`: matches more than one topic.
    pub fn is_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// The filter `#`, whose queue is the log itself.
    pub fn is_all(&self) -> bool {
        &*self.0 == "#"
    }

    /// The queue that holds what this filter matches, by kind and name.
    pub fn queue(&self) -> (QueueKind, &str) {
        match (self.is_all(), self.is_wildcard()) {
            (true, _) => (QueueKind::All, &self.0),
            (_, true) => (QueueKind::Filter, &self.0),
            (_, false) => topic_queue(&self.0),
        }
    }

    /// The kind of queue that holds what this filter matches.
    pub fn queue_kind(&self) -> QueueKind {
        self.queue().0
    }

    /// Whether it asks for what is addressed to others than this client: any filter below `$p2p` does, but the one topic
    /// that is the client's own.
    pub fn is_for_others_than(&self, client: &str) -> bool {
        is_peer(&self.0) && (self.is_wildcard() || addressee(&self.0) != Some(client))
    }

    /// Whether a message to `topic` matches (MQTT 5.0 §4.7): `+` one level, `#` the rest including none, and neither
    /// of them a first level that starts with `$`, nor anything of a topic that is addressed to one client.
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_system() && self.0.starts_with(['+', '#']) {
            return false;
        }
        if topic.addressee().is_some() {
            return self.0 == topic.0;
        }
        let mut names = topic.levels();
        for level in self.levels() {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The client that a topic is addressed to, which is all that comes after `$p2p/`, slashes included. A client whose
/// identifier is no part of a topic (it contains `+` or `#`, or has too many levels) cannot be addressed.
fn addressee(topic: &str) -> Option<&str> {
    topic.strip_prefix(PEER)?.strip_prefix('/').filter(|client| !client.is_empty())
}

/// The queue that messages to a topic enter, by kind and name: that of the client it is addressed to, else the topic's
/// own.
pub fn topic_queue(topic: &str) -> (QueueKind, &str) {
    addressee(topic).map_or((QueueKind::Light, topic), |client| (QueueKind::Client, client))
}

fn is_peer(name: &str) -> bool {
    name.split('/').next() == Some(PEER)
}

/// Whether a message to `topic` that entered a queue at all is in the queue of `#`: all of its namespace but system
/// topics, which those that are addressed to one client belong to. (Half and due messages have not entered yet; retry
/// and dead-letter queues are no topics.)
pub fn in_all_queue(topic: &Topic) -> bool {
    !topic.is_system()
}

/// The same for a name as it stands in a record, which nobody has checked yet: no topic is in no queue.
pub fn in_all_queue_name(name: &str) -> bool {
    Topic::check(name).is_ok() && !name.starts_with('$')
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    let mut levels = 1;
    for byte in name.bytes() {
        match byte {
            0 => return Err(NameError::Nul),
            b'/' => levels += 1,
            _ => {}
        }
    }
    if levels > MAX_LEVELS {
        return Err(NameError::TooManyLevels);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &'static str) -> Topic {
        Topic::new(Text::from_static(name)).unwrap()
    }

    #[test]
    fn matching_follows_the_specification() {
        let yes = [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("#", "a/b"),
            ("+", "a"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("a//b", "a//b"),
            ("a/+/b", "a//b"),
            ("$SYS/#", "$SYS/x"),
            ("$SYS/+", "$SYS/x"),
            ("$p2p/a/b", "$p2p/a/b"),
            ("$p2pa/+", "$p2pa/b"),
        ];
        let no = [
            ("+", "/finance"),
            ("sport/+", "sport"),
            ("a/b", "a/b/c"),
            ("a/b/c", "a/b"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("A", "a"),
            ("#", "$p2p/a"),
            ("+/a", "$p2p/a"),
            ("$p2p/+", "$p2p/a"),
            ("$p2p/#", "$p2p/a"),
            ("$p2p/a/#", "$p2p/a"),
            ("$p2p/a", "$p2p/a/b"),
        ];
        for (filter, name) in yes {
            assert!(Filter::new(filter.into()).unwrap().matches(&topic(name)), "{filter} {name}");
        }
        for (filter, name) in no {
            assert!(!Filter::new(filter.into()).unwrap().matches(&topic(name)), "{filter} {name}");
        }
    }

    #[test]
    fn malformed_names_and_filters_are_refused_with_their_reason() {
        let filter = |s: &str| Filter::new(s.into()).unwrap_err();
        let name = |s: &str| Topic::new(s.into()).unwrap_err();
        for bad in ["a+", "a/#/b", "#/a", "a#", "+a/b", "a/b#"] {
            assert_eq!(filter(bad), NameError::MisplacedWildcard, "{bad}");
        }
        assert_eq!(name("a/+"), NameError::Wildcard);
        assert_eq!(name(""), NameError::Empty);
        assert_eq!(name("a\0b"), NameError::Nul);
        assert_eq!(name(&"a".repeat(MAX_NAME_BYTES + 1)), NameError::TooLong);
        assert_eq!(name(&"/".repeat(MAX_LEVELS)), NameError::TooManyLevels);
        assert!(Topic::new("/".repeat(MAX_LEVELS - 1).into()).is_ok());
        assert_eq!(name("$p2p"), NameError::NoAddressee);
        assert_eq!(name("$p2p/"), NameError::NoAddressee);
    }

    #[test]
    fn a_topic_is_addressed_to_the_client_whose_identifier_is_all_that_comes_after_p2p() {
        for (name, client) in [("$p2p/a", "a"), ("$p2p/a/b", "a/b"), ("$p2p//", "/"), ("$p2p/$p2p/a", "$p2p/a")] {
            assert_eq!(topic(name).addressee(), Some(client), "{name}");
            assert_eq!(topic_queue(name), (QueueKind::Client, client));
            assert_eq!(Filter::new(name.into()).unwrap().queue(), (QueueKind::Client, client));
            assert!(!in_all_queue_name(name));
        }
        for name in ["a", "p2p/a", "$p2pa/b", "$P2P/a", "/$p2p/a"] {
            assert_eq!(topic(name).addressee(), None, "{name}");
            assert_eq!(topic_queue(name), (QueueKind::Light, name));
            assert_eq!(Filter::new(name.into()).unwrap().queue(), (QueueKind::Light, name));
        }
        for (name, kind) in [("#", QueueKind::All), ("$p2p/#", QueueKind::Filter), ("$p2p/+", QueueKind::Filter)] {
            assert_eq!(Filter::new(name.into()).unwrap().queue(), (kind, name));
        }
    }

    #[test]
    fn below_p2p_a_client_may_ask_for_its_own_topic_alone() {
        let others = |filter: &'static str, client| Filter::new(filter.into()).unwrap().is_for_others_than(client);
        for (filter, client) in [("$p2p/a", "a"), ("$p2p/a/b", "a/b"), ("#", "a"), ("+/a", "a"), ("$p2pa/+", "a")] {
            assert!(!others(filter, client), "{filter} {client}");
        }
        // An identifier may look like a wildcard.
        for (filter, client) in [("$p2p/+", "+"), ("$p2p/#", "#"), ("$p2p/a/#", "a/#")] {
            assert!(others(filter, client), "{filter} {client}");
        }
        for filter in ["$p2p", "$p2p/", "$p2p/b", "$p2p/A", "$p2p/a/", "$p2p/a/b", "$p2p/+", "$p2p/#", "$p2p/a/#"] {
            assert!(others(filter, "a"), "{filter}");
        }
        assert!(others("$p2p/", ""), "an empty identifier names nobody");
    }
}
