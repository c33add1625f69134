//! An answer of any size as messages of a bounded one.

use std::sync::Arc;
use std::vec::IntoIter;

use causeway_compute::port::Page;
use causeway_model::{Kind, Message};

use crate::convert;
use crate::proto as pb;
use crate::proto::answer::Kind as Answered;

/// What is left of one answer. Encoded as it is sent: what waits is what the broker gave, bodies shared.
pub(crate) enum Parts {
    Messages(IntoIter<Option<Arc<Message>>>),
    Pages(IntoIter<Page>),
    Whole(Option<Answered>),
}

impl Parts {
    pub(crate) fn failure(kind: Kind) -> Self {
        Self::Whole(Some(Answered::Failure(convert::failure_to(kind))))
    }

    /// The next part, about `room` bytes of it, and whether more is left. `room` is made less by what was taken.
    pub(crate) fn next(&mut self, room: &mut usize) -> (Option<Answered>, bool) {
        match self {
            Self::Whole(answer) => {
                *room = room.saturating_sub(ENTRY);
                (answer.take(), false)
            }
            Self::Messages(messages) => {
                let mut taken = Vec::with_capacity(messages.len().min(*room / ENTRY + 1));
                while let Some(message) =
                    next(messages, room, !taken.is_empty(), |message| message_bytes(message.as_ref()))
                {
                    let message = message.as_deref().map(convert::message_to);
                    taken.push(pb::Fetched { message });
                }
                (Some(Answered::Messages(pb::Messages { messages: taken })), messages.len() > 0)
            }
            Self::Pages(pages) => {
                let mut taken = Vec::new();
                while let Some(page) = next(pages, room, !taken.is_empty(), page_bytes) {
                    taken.push(convert::page_to(&page));
                }
                (Some(Answered::Pages(pb::Pages { pages: taken })), pages.len() > 0)
            }
        }
    }
}

/// The next item if there is room for it; the first of a part always has room.
fn next<T>(items: &mut IntoIter<T>, room: &mut usize, bounded: bool, bytes: fn(&T) -> usize) -> Option<T> {
    let bytes = bytes(items.as_slice().first()?);
    if bounded && bytes > *room {
        return None;
    }
    *room = room.saturating_sub(bytes);
    items.next()
}

/// What the smallest item takes, about.
const ENTRY: usize = 32;

fn message_bytes(message: Option<&Arc<Message>>) -> usize {
    message.map_or(ENTRY, |message| 2 * ENTRY + message.body.len() + message.properties.encoded().len())
}

fn page_bytes(page: &Page) -> usize {
    ENTRY + page.entries.len() * ENTRY
}

#[cfg(test)]
mod tests {
    use causeway_model::{ClientId, Millis, Namespace, Position, Properties, Publisher, Qos, Topic};

    use super::*;

    fn message(bytes: usize) -> Arc<Message> {
        Arc::new(Message {
            namespace: Namespace::default(),
            topic: Topic::new("t".into()).unwrap(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry: None,
            born: Millis(1),
            publisher: Publisher { client: ClientId("c".into()), session: None, pid: None },
            properties: Properties::default(),
            body: vec![0; bytes].into(),
        })
    }

    fn parts(mut parts: Parts, room: usize) -> Vec<usize> {
        let mut counts = Vec::new();
        loop {
            let (part, more) = parts.next(&mut { room });
            let count = match part.unwrap() {
                Answered::Messages(part) => Some(part.messages.len()),
                Answered::Pages(part) => Some(part.pages.len()),
                Answered::Failure(_)
                | Answered::Session(_)
                | Answered::Client(_)
                | Answered::Gateways(_)
                | Answered::Status(_) => None,
            };
            counts.push(count.unwrap());
            if !more {
                return counts;
            }
        }
    }

    #[test]
    fn a_large_answer_comes_in_parts_and_nothing_is_left_out() {
        let messages = |sizes: &[usize]| {
            Parts::Messages(sizes.iter().map(|size| Some(message(*size))).collect::<Vec<_>>().into_iter())
        };
        assert_eq!(parts(messages(&[]), 100), [0]);
        assert_eq!(parts(messages(&[5000, 10, 10, 5000]), 1000), [1, 2, 1]);
        assert_eq!(parts(messages(&[100; 10]), 500), [3, 3, 3, 1]);
        let page = Page { entries: Vec::new(), next: Position(1), end: Position(1), more: false };
        assert_eq!(parts(Parts::Pages(vec![page; 5].into_iter()), 2 * ENTRY), [2, 2, 1]);
    }

    #[test]
    fn a_whole_answer_is_one_part() {
        let mut parts = Parts::failure(Kind::Fenced);
        let mut room = 1000;
        assert!(matches!(parts.next(&mut room), (Some(Answered::Failure(_)), false)));
        assert!(room < 1000);
    }
}
