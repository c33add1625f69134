//! Whatever the ports can say comes back as it was; whatever a peer can send is a value or an error.

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

use super::*;

fn duration() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()))
}

fn sid() -> impl Strategy<Value = Sid> {
    any::<(u32, u64)>().prop_map(|(home, position)| Sid { home: ShardId(home), position: Position(position) })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(|position| Epoch(Position(position)))
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u128>().prop_map(Incarnation)
}

fn queue() -> impl Strategy<Value = QueueId> {
    any::<[u8; 16]>().prop_map(QueueId)
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn name() -> impl Strategy<Value = Text> {
    "[a-zß$/]{1,12}".prop_map(Text::from)
}

fn tenant() -> impl Strategy<Value = Namespace> {
    "[a-z]{0,4}".prop_map(|name| Namespace::new(name.into()).unwrap())
}

fn client() -> impl Strategy<Value = ClientId> {
    ".{0,12}".prop_map(|name| ClientId(name.into()))
}

fn a_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![name(), Just("#".into()), Just("a/+/b".into())].prop_map(|name| Filter::new(name).unwrap())
}

fn properties() -> impl Strategy<Value = Properties> {
    vec((".{0,4}", ".{0,4}"), 0..3).prop_map(|pairs| {
        let mut builder = PropertiesBuilder::default();
        for (key, value) in pairs {
            builder.push(&Property::User(key.into(), value.into())).unwrap();
        }
        builder.finish()
    })
}

fn message() -> impl Strategy<Value = Message> {
    let names = (tenant(), name(), client());
    let flags = (qos(), any::<bool>(), option::of(duration()), any::<u64>());
    let publisher = (option::of((sid(), epoch())), any::<u16>());
    (names, flags, publisher, properties(), vec(any::<u8>(), 0..40)).prop_map(
        |((namespace, topic, client), (qos, retain, expiry, born), (session, pid), properties, body)| Message {
            namespace,
            topic: Topic::new(topic).unwrap(),
            qos,
            retain,
            expiry,
            born: Millis(born),
            publisher: Publisher { client, session, pid: PacketId::new(pid) },
            properties,
            body: body.into(),
        },
    )
}

fn flight() -> impl Strategy<Value = InFlight> {
    use FlightState::{Done, Parked, Received, Sent};
    let state = prop_oneof![Just(Sent), Just(Received), Just(Done), Just(Parked)];
    (any::<(u64, u64, u16)>(), qos(), state).prop_map(|((stamp, position, pid), qos, state)| InFlight {
        stamp: Stamp(stamp),
        position: Position(position),
        qos,
        pid: PacketId::new(pid),
        state,
    })
}

fn options() -> impl Strategy<Value = SubscribeOptions> {
    use RetainHandling::{Send, SendIfNew, Skip};
    let handling = prop_oneof![Just(Send), Just(SendIfNew), Just(Skip)];
    (qos(), any::<(bool, bool)>(), handling, option::of(1..u32::MAX)).prop_map(
        |(qos, (no_local, retain_as_published), retain_handling, id)| SubscribeOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            id,
        },
    )
}

fn positions() -> impl Strategy<Value = Vec<(ShardId, Position)>> {
    vec(any::<(u32, u64)>().prop_map(|(shard, at)| (ShardId(shard), Position(at))), 0..3)
}

fn close_reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{ConnectionLost, GatewayLost, Orderly, OrderlyWithWill, Server};
    prop_oneof![Just(Orderly), Just(OrderlyWithWill), Just(ConnectionLost), Just(Server), Just(GatewayLost)]
}

fn command() -> impl Strategy<Value = Command> {
    let owner = prop_oneof![
        (sid(), epoch()).prop_map(|(sid, epoch)| Owner::Session { sid, epoch }),
        incarnation().prop_map(Owner::Gateway)
    ];
    let interest = (any::<bool>(), tenant(), a_filter(), owner).prop_map(|(add, namespace, filter, owner)| Interest {
        add,
        namespace,
        filter,
        owner,
    });
    let will = (message(), duration()).prop_map(|(message, delay)| Will { message: Box::new(message), delay });
    let open = (tenant(), client(), any::<bool>(), duration(), incarnation(), any::<u64>(), option::of(will)).prop_map(
        |(namespace, client, clean_start, expiry, owner, attempt, will)| {
            Command::SessionOpen(SessionOpen { namespace, client, clean_start, expiry, owner, attempt, will })
        },
    );
    let close = (sid(), epoch(), close_reason(), option::of(duration()))
        .prop_map(|(sid, epoch, reason, expiry)| Command::SessionClose { sid, epoch, reason, expiry });
    let abandon = (tenant(), client(), incarnation(), any::<u64>())
        .prop_map(|(namespace, client, owner, attempt)| Command::SessionAbandon { namespace, client, owner, attempt });
    let subscribe =
        (sid(), epoch(), a_filter(), options(), positions()).prop_map(|(sid, epoch, filter, options, from)| {
            Command::Subscribe(Subscribe { sid, epoch, filter, options, from })
        });
    let unsubscribe =
        (sid(), epoch(), a_filter()).prop_map(|(sid, epoch, filter)| Command::Unsubscribe { sid, epoch, filter });
    let lane = (sid(), epoch(), option::of(any::<u64>()), vec(flight(), 0..3))
        .prop_map(|(sid, epoch, cursor, flights)| LaneProgress { sid, epoch, cursor: cursor.map(Position), flights });
    let gateway = (incarnation(), any::<bool>()).prop_map(|(incarnation, joined)| {
        let event = if joined { GatewayEvent::Joined } else { GatewayEvent::Lost };
        Command::Gateway { incarnation, event }
    });
    prop_oneof![
        message().prop_map(Command::Publish),
        interest.prop_map(Command::Interest),
        open,
        close,
        abandon,
        subscribe,
        unsubscribe,
        vec(lane, 0..3).prop_map(Command::Progress),
        gateway,
        (tenant(), name(), any::<u16>()).prop_map(|(namespace, name, queues)| Command::TopicPut {
            namespace,
            name,
            queues
        }),
        (tenant(), name()).prop_map(|(namespace, name)| Command::TopicDrop { namespace, name }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let rejected =
        prop_oneof![Just(Rejected::Fenced), Just(Rejected::NotFound), Just(Rejected::Quota), Just(Rejected::Invalid)];
    let opened = (sid(), epoch(), any::<(bool, bool)>(), option::of(incarnation()), duration()).prop_map(
        |(sid, epoch, (present, persistent), old_owner, expiry)| {
            Reply::Opened(Opened { sid, epoch, present, persistent, old_owner, expiry })
        },
    );
    prop_oneof![
        any::<u64>().prop_map(|at| Reply::Published { position: Position(at) }),
        Just(Reply::Duplicate),
        any::<u64>().prop_map(|at| Reply::Interest { position: Position(at) }),
        opened,
        (any::<bool>(), positions()).prop_map(|(existed, from)| Reply::Subscribed { existed, from }),
        any::<bool>().prop_map(|existed| Reply::Unsubscribed { existed }),
        Just(Reply::Done),
        rejected.prop_map(Reply::Rejected),
    ]
}

fn entry_flags() -> impl Strategy<Value = EntryFlags> {
    (qos(), any::<(bool, bool, bool)>()).prop_map(|(qos, (retain, expires, referred))| EntryFlags {
        qos,
        retain,
        expires,
        referred,
    })
}

fn page() -> impl Strategy<Value = Page> {
    let entry = (any::<(u64, u32, u64)>(), any::<(u64, u64, bool, bool)>(), entry_flags()).prop_map(
        |((stamp, length, time), (offset, position, dense, moved), flags)| Entry {
            offset: Offset(if dense { offset } else { stamp }),
            stamp: Stamp(stamp),
            position: Position(if moved { position } else { stamp }),
            length,
            time: Millis(time),
            flags,
        },
    );
    (vec(entry, 0..6), any::<(u64, u64, bool)>()).prop_map(|(entries, (next, end, more))| Page {
        entries,
        next: Position(next),
        end: Position(end),
        more,
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let notice = (any::<(u64, u32, u64, bool)>(), entry_flags(), vec(queue(), 0..4));
    (vec(notice, 0..5), any::<(u32, u64, u64, bool)>()).prop_map(|(entries, (shard, from, to, collapsed))| {
        let (mut notices, mut queues) = (Vec::new(), Vec::new());
        for ((stamp, length, position, moved), flags, ids) in entries {
            let position = Position(if moved { position } else { stamp });
            let count = u16::try_from(ids.len()).unwrap();
            notices.push(Notice { stamp: Stamp(stamp), position, length, flags, queues: count });
            queues.extend(ids);
        }
        Frame { shard: ShardId(shard), from: Position(from), to: Position(to), collapsed, notices, queues }
    })
}

fn member() -> impl Strategy<Value = Member> {
    (incarnation(), name(), option::of(name())).prop_map(|(incarnation, name, address)| Member {
        incarnation,
        name,
        address,
    })
}

fn map_epoch() -> impl Strategy<Value = MapEpoch> {
    any::<(u64, u64)>().prop_map(|(term, change)| MapEpoch { term, change })
}

fn whereabout() -> impl Strategy<Value = Whereabout> {
    // Few gateways, so that the column of indices is of use.
    let gateway = (0..3u128).prop_map(Incarnation);
    (queue(), gateway, epoch()).prop_map(|(client, gateway, epoch)| Whereabout { client, gateway, epoch })
}

fn online() -> impl Strategy<Value = Online> {
    let peer = any::<(std::net::IpAddr, u16)>().prop_map(std::net::SocketAddr::from);
    (queue(), tenant(), client(), peer, any::<u64>(), option::of((sid(), epoch()))).prop_map(
        |(id, namespace, client, peer, since, session)| Online {
            id,
            namespace,
            client,
            peer,
            since: Millis(since),
            session,
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    let why = prop_oneof![Just(Kick::TakenOver), Just(Kick::Administrator), Just(Kick::Drain)];
    let entries = || (map_epoch(), vec(whereabout(), 0..5));
    let slots = any::<[u64; 16]>().prop_map(|words| SlotSet::from_words(&words).unwrap());
    prop_oneof![
        entries().prop_map(|(epoch, entries)| Ask::Enter { epoch, entries }),
        entries().prop_map(|(epoch, entries)| Ask::Leave { epoch, entries }),
        (map_epoch(), incarnation(), slots).prop_map(|(epoch, gateway, slots)| Ask::Forget { epoch, gateway, slots }),
        (map_epoch(), queue()).prop_map(|(epoch, client)| Ask::Find { epoch, client }),
        queue().prop_map(Ask::Where),
        (queue(), why, option::of(epoch()), duration()).prop_map(|(client, why, upto, wait)| Ask::Kick {
            client,
            why,
            upto,
            wait
        }),
        (option::of(queue()), any::<u32>()).prop_map(|(after, limit)| Ask::Page { after, limit }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let kicked = prop_oneof![Just(Kicked::Absent), Just(Kicked::Asked), Just(Kicked::Ended)];
    prop_oneof![
        Just(Answer::Done),
        map_epoch().prop_map(|epoch| Answer::Moved { epoch }),
        option::of(whereabout()).prop_map(Answer::Found),
        (map_epoch(), option::of(online())).prop_map(|(epoch, online)| Answer::Here { epoch, online }),
        kicked.prop_map(Answer::Kicked),
        vec(online(), 0..3).prop_map(Answer::Page),
        Just(Answer::Refused),
    ]
}

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
