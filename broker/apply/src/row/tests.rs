use std::time::Duration;

use bytes::Bytes;
use causeway_model::{
    ClientId, Epoch, Incarnation, Millis, Namespace, Position, Qos, ShardId, Sid, Stamp, SubscribeOptions,
};
use proptest::prelude::*;

use super::*;
use crate::key;
use crate::record::CloseReason;

const SID: Sid = Sid { home: ShardId(1), position: Position(0x23) };

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unspaced(text: &str) -> String {
    text.split_whitespace().collect()
}

fn head() -> Head {
    Head {
        namespace: Namespace::new("n".into()).unwrap(),
        client: ClientId("c".into()),
        epoch: Epoch(Position(0x21)),
        owner: Incarnation(7),
        attempt: 2,
        persistent: true,
        state: SessionState::Disconnected,
        closed: Some(CloseReason::GatewayLost),
        will: true,
        expiry: Duration::from_secs(1),
        disconnected: Millis(9),
        filters: 3,
        timer: Some((Millis(0x3f1), Stamp(0x22))),
    }
}

#[test]
fn a_session_head_is_frozen_and_comes_back() {
    let expected = "01 1d 05 0000000000000021 00000000000000000000000000000007 02 e807 0000000000000009 00000003 \
                    00000000000003f1 0000000000000022 016e 0163";
    let bytes = head().encode();
    assert_eq!(hex(&bytes), unspaced(expected));
    assert_eq!(Head::decode(&bytes), Some(head()));
    let other = Head { timer: None, will: false, closed: None, state: SessionState::Connected, ..head() };
    let other = Head { persistent: false, ..other };
    assert_eq!(Head::decode(&other.encode()), Some(other));
    assert!((0..bytes.len()).all(|cut| Head::decode(&bytes[..cut]).is_none()));
}

#[test]
fn a_timer_is_frozen_and_comes_back() {
    let timer = Timer { due: Millis(5), stamp: Stamp(6), sid: SID, epoch: Epoch(Position(0x21)) };
    let value = Timer::value(SID, timer.epoch);
    assert_eq!(hex(&value), unspaced("000000010000000000000023 0000000000000021"));
    let key = key::timer(timer.due, timer.stamp, key::TIMER_SESSION);
    assert_eq!(Timer::decode(&key, &value), Some(timer));
}

#[test]
fn a_lane_is_frozen_and_comes_back() {
    let lane = LaneRow { epoch: Epoch(Position(0x21)), cursor: Position(0x30), flights: true, parked: false };
    assert_eq!(hex(&lane.encode()), unspaced("01 01 0000000000000021 0000000000000030"));
    assert_eq!(LaneRow::decode(&lane.encode()), Some(lane));
}

#[test]
fn a_subscription_is_frozen_and_comes_back() {
    let from = vec![(ShardId(0), Position(0x80))];
    let row = SubscriptionRow { options: SubscribeOptions::at(Qos::AtLeastOnce), from };
    assert_eq!(hex(&row.encode()), unspaced("01 01 01 00 8001"));
    assert_eq!(SubscriptionRow::decode(&row.encode()), Some(row));
}

#[test]
fn the_applied_mark_is_frozen_and_comes_back() {
    let mark = AppliedMark {
        index: 1,
        term: 2,
        position: Position(3),
        time: Millis(4),
        digest: 5,
        membership_index: 6,
        membership: Bytes::from_static(b"m"),
    };
    let mut bytes = Vec::new();
    mark.encode(&mut bytes);
    let expected = "01 0000000000000001 0000000000000002 0000000000000003 0000000000000004 0000000000000005 \
                    0000000000000006 6d";
    assert_eq!(hex(&bytes), unspaced(expected));
    let bytes = Bytes::from(bytes);
    assert_eq!(AppliedMark::decode(&bytes), Some(mark));
    assert_eq!(applied_position(Some(&bytes)), Position(3));
    assert_eq!(applied_position(None), Position(0));
}

#[test]
fn topics_and_heads_of_queues_are_frozen_and_come_back() {
    assert_eq!(topic_value(0x0102), [1, 1, 2]);
    assert_eq!(read_topic_value(&[1, 1, 2]), Some(0x0102));
    let bytes = QueueHead::encode("n", "t", 3, 4);
    assert_eq!(hex(&bytes), unspaced("01 0003 0000000000000004 016e 0174"));
    let head = QueueHead::decode(&bytes).unwrap();
    assert_eq!((head.namespace.as_str(), &*head.topic, head.number, head.next), ("n", "t", 3, 4));
}

#[test]
fn only_entries_and_message_keys_die_with_their_body() {
    let at = Position(0x0506);
    let key = key::message_key([1; 16], at);
    assert_eq!(body_position(Family::Key, &key, b""), Some(at));
    assert_eq!(body_position(Family::Session, &key, b""), None);
    assert_eq!(body_position(Family::Entry, &key, b""), None, "a malformed one is kept: somebody should see it");
}

proptest! {
    #[test]
    fn any_bytes_are_a_row_or_none(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        mut value in proptest::collection::vec(any::<u8>(), 0..120),
        version: bool,
    ) {
        if let Some(first) = value.first_mut().filter(|_| version) {
            *first = 1;
        }
        let _ = (Head::decode(&value), LaneRow::decode(&value), SubscriptionRow::decode(&value));
        let _ = (QueueHead::decode(&value), read_topic_value(&value), GatewayState::decode(&value));
        let _ = (Timer::decode(&key, &value), entry(&key, &value), body_position(Family::Entry, &key, &value));
        let _ = AppliedMark::decode(&value.into());
    }
}
