//! Whatever the ports can say comes back as it was; whatever a peer can send is a value or an error.

mod sample;

use std::sync::Arc;

use bytes::Bytes;
use causeway_compute::port::{
    Answer, Ask, ClientSession, CloseReason, Command, Entry, EntryFlags, FlightState, Frame, GatewayEvent,
    GatewayState, InFlight, Interest, Kicked, Lane, LaneProgress, Lease, Map, MapEpoch, Member, Notice, Opened, Owner,
    Page, QueueRef, Read, Rejected, Reply, Session, SessionOpen, ShardStatus, SlotSet, Subscribe, Subscription,
    Whereabout, Will,
};
use causeway_compute::registry::{Kick, Online};
use causeway_model::{
    ClientId, Epoch, Message, Millis, Offset, PacketId, Properties, PropertiesBuilder, Property, Publisher, Qos,
    RetainHandling, Sid, Stamp, SubscribeOptions, Topic,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

use self::sample::*;
use super::*;

/// Through bytes, as it travels.
fn travel<M: prost::Message + Default>(message: &M) -> M {
    M::decode(Bytes::from(message.encode_to_vec())).unwrap()
}

proptest! {
    #[test]
    fn commands_come_back(command in command()) {
        prop_assert_eq!(command_from(travel(&command_to(&command))).unwrap(), command);
    }

    #[test]
    fn replies_come_back(replies in vec(reply(), 0..5)) {
        let (published, replies_sent) = replies_to(&replies);
        let outcome = travel(&pb::Outcome { id: 1, published, replies: replies_sent, failure: None });
        prop_assert_eq!(replies_from(&outcome.published, outcome.replies).unwrap(), replies);
    }

    #[test]
    fn pages_and_frames_come_back(page in page(), frame in frame()) {
        prop_assert_eq!(page_from(&travel(&page_to(&page))).unwrap(), page);
        prop_assert_eq!(frame_from(frame.shard, &travel(&frame_to(&frame))).unwrap(), frame);
    }

    #[test]
    fn reads_come_back(queue in queue(), tenant in tenant(), numbers in any::<(u64, u64, usize, u64)>()) {
        let (after, upto, limit, offset) = numbers;
        for queue in [QueueRef::Sparse(queue), QueueRef::Dense(queue, Offset(offset)), QueueRef::All(tenant)] {
            let read = Read { queue, after: Position(after), upto: Position(upto), limit };
            prop_assert_eq!(read_from(travel(&read_to(&read))).unwrap(), read);
        }
    }

    #[test]
    fn sessions_come_back(
        rows in vec((a_filter(), options(), positions()), 0..3),
        cursor in any::<u64>(),
        flights in vec(flight(), 0..3),
    ) {
        let subscriptions = rows.into_iter().map(|(filter, options, from)| Subscription { filter, options, from });
        let lane = Lane { cursor: Position(cursor), flights };
        let session = Session { subscriptions: subscriptions.collect(), lane };
        prop_assert_eq!(session_from(travel(&session_to(&session))).unwrap(), session);
    }

    #[test]
    fn what_people_ask_comes_back(
        ids in (sid(), epoch(), incarnation()),
        flags in any::<(bool, bool, bool)>(),
        expiry in duration(),
        ended in option::of((any::<u64>(), close_reason())),
        numbers in any::<(u64, u64, u64, u64, u32)>(),
    ) {
        let (sid, epoch, owner) = ids;
        let (connected, persistent, leader) = flags;
        let (first, durable, applied, term, subscriptions) = numbers;
        let (disconnected, closed) = ended.map(|(at, why)| (Millis(at), why)).unzip();
        let session =
            ClientSession { sid, epoch, owner, connected, persistent, expiry, disconnected, closed, subscriptions };
        prop_assert_eq!(client_session_from(&travel(&client_session_to(&session))).unwrap(), session);
        let rows = vec![(owner, GatewayState::Joined), (Incarnation(1), GatewayState::Lost)];
        prop_assert_eq!(gateways_from(&travel(&gateways_to(&rows))).unwrap(), rows);
        let (first, durable, applied) = (Position(first), Position(durable), Position(applied));
        let status = ShardStatus { first, durable, applied, term, leader };
        prop_assert_eq!(status_from(&travel(&status_to(&status))), status);
    }

    #[test]
    fn leases_come_back(mut members in vec(member(), 0..4), epoch in map_epoch(), length in duration()) {
        members.sort_by_key(|member| member.incarnation);
        members.dedup_by_key(|member| member.incarnation);
        let lease = Lease { length, map: Arc::new(Map { epoch, members }) };
        prop_assert_eq!(lease_from(travel(&lease_to(&lease))).unwrap(), lease);
    }

    #[test]
    fn asks_and_answers_of_gateways_come_back(ask in ask(), answer in answer()) {
        prop_assert_eq!(ask_from(travel(&ask_to(&ask))).unwrap(), Some(ask));
        prop_assert_eq!(answer_from(travel(&answer_to(&answer))).unwrap(), answer);
    }

    #[test]
    fn failures_come_back(ms in any::<u32>(), hint in option::of("[a-z]{1,5}")) {
        let kinds = [
            Kind::Invalid, Kind::TooLarge, Kind::Quota, Kind::Denied, Kind::NotFound, Kind::Fenced,
            Kind::Busy { retry_after: Duration::from_millis(ms.into()) }, Kind::DiskFull, Kind::NotLeader { hint },
            Kind::Unavailable, Kind::Unknown, Kind::Unsupported, Kind::Corrupt,
        ];
        for kind in kinds {
            prop_assert_eq!(failure_from(travel(&failure_to(kind.clone()))), kind);
        }
    }

    /// A byte changed anywhere is another value or an error: nothing panics.
    #[test]
    fn damaged_bytes_are_a_value_or_an_error(
        command in command(), page in page(), frame in frame(), ask in ask(), answer in answer(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let damage = |mut bytes: Vec<u8>| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Bytes::from(bytes)
        };
        let _ = pb::Command::decode(damage(command_to(&command).encode_to_vec())).map(command_from);
        let _ = pb::Page::decode(damage(page_to(&page).encode_to_vec())).map(|page| page_from(&page));
        let _ = pb::Frame::decode(damage(frame_to(&frame).encode_to_vec())).map(|got| frame_from(frame.shard, &got));
        let _ = pb::Ask::decode(damage(ask_to(&ask).encode_to_vec())).map(ask_from);
        let _ = pb::PeerAnswer::decode(damage(answer_to(&answer).encode_to_vec())).map(answer_from);
    }
}

#[test]
fn what_breaks_a_rule_says_which() {
    let publish = |message| command_from(pb::Command { kind: Some(pb::command::Kind::Publish(message)) }).unwrap_err();
    let good = || pb::Message { topic: "a/b".into(), ..pb::Message::default() };
    assert_eq!(publish(pb::Message::default()).to_string(), "topic: empty");
    let error = publish(pb::Message { topic: "a/+".into(), ..good() });
    assert_eq!(error.to_string(), "topic: a topic name may not contain '+' or '#'");
    assert_eq!(publish(pb::Message { flags: 3, ..good() }).to_string(), "quality of service is 3");
    assert_eq!(publish(pb::Message { pid: 65_536, ..good() }).to_string(), "packet id is 65536");
    assert_eq!(publish(pb::Message { client: b"\xff"[..].into(), ..good() }), Malformed::Text("client"));
    assert!(matches!(publish(pb::Message { properties: b"\x09"[..].into(), ..good() }), Malformed::Properties(_)));
    assert_eq!(command_from(pb::Command { kind: None }).unwrap_err(), Malformed::Missing("command"));
    assert_eq!(incarnation_from(&[0; 15]).unwrap_err().to_string(), "incarnation has 15 bytes");
    assert_eq!(reads().unwrap_err().to_string(), "queue id has 3 bytes");
    let page = pb::Page { stamps: vec![1, 2], ..pb::Page::default() };
    assert_eq!(page_from(&page).unwrap_err(), Malformed::Columns("page"));
    let frame = pb::Frame { queues: vec![0; 16].into(), ..pb::Frame::default() };
    assert_eq!(frame_from(ShardId(0), &frame).unwrap_err(), Malformed::Columns("frame"));
    assert_eq!(ask_from(pb::Ask { kind: None }).unwrap(), None, "a kind of a newer build");
}

fn reads() -> Result<Read, Malformed> {
    read_from(pb::Read { queue: Some(pb::read::Queue::Sparse(vec![1; 3].into())), ..pb::Read::default() })
}

#[test]
fn an_expiry_that_is_not_zero_stays_so() {
    assert_eq!(millis(Duration::ZERO), 0);
    assert_eq!(millis(Duration::from_nanos(1)), 1);
    assert_eq!(millis(Duration::from_millis(7)), 7);
    assert_eq!(millis(Duration::MAX), u64::MAX);
}
