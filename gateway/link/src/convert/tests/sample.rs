//! Values of every shape that travels.

use super::*;

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()))
}

pub(super) fn sid() -> impl Strategy<Value = Sid> {
    any::<(u32, u64)>().prop_map(|(home, position)| Sid { home: ShardId(home), position: Position(position) })
}

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(|position| Epoch(Position(position)))
}

pub(super) fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u128>().prop_map(Incarnation)
}

pub(super) fn queue() -> impl Strategy<Value = QueueId> {
    any::<[u8; 16]>().prop_map(QueueId)
}

pub(super) fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

pub(super) fn name() -> impl Strategy<Value = Text> {
    "[a-zß$/]{1,12}".prop_map(Text::from)
}

pub(super) fn tenant() -> impl Strategy<Value = Namespace> {
    "[a-z]{0,4}".prop_map(|name| Namespace::new(name.into()).unwrap())
}

pub(super) fn client() -> impl Strategy<Value = ClientId> {
    ".{0,12}".prop_map(|name| ClientId(name.into()))
}

pub(super) fn a_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![name(), Just("#".into()), Just("a/+/b".into())].prop_map(|name| Filter::new(name).unwrap())
}

pub(super) fn properties() -> impl Strategy<Value = Properties> {
    vec((".{0,4}", ".{0,4}"), 0..3).prop_map(|pairs| {
        let mut builder = PropertiesBuilder::default();
        for (key, value) in pairs {
            builder.push(&Property::User(key.into(), value.into())).unwrap();
        }
        builder.finish()
    })
}

pub(super) fn message() -> impl Strategy<Value = Message> {
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

pub(super) fn flight() -> impl Strategy<Value = InFlight> {
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

pub(super) fn options() -> impl Strategy<Value = SubscribeOptions> {
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

pub(super) fn positions() -> impl Strategy<Value = Vec<(ShardId, Position)>> {
    vec(any::<(u32, u64)>().prop_map(|(shard, at)| (ShardId(shard), Position(at))), 0..3)
}

pub(super) fn close_reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{ConnectionLost, GatewayLost, Orderly, OrderlyWithWill, Server};
    prop_oneof![Just(Orderly), Just(OrderlyWithWill), Just(ConnectionLost), Just(Server), Just(GatewayLost)]
}

pub(super) fn command() -> impl Strategy<Value = Command> {
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

pub(super) fn reply() -> impl Strategy<Value = Reply> {
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

pub(super) fn entry_flags() -> impl Strategy<Value = EntryFlags> {
    (qos(), any::<(bool, bool, bool)>()).prop_map(|(qos, (retain, expires, referred))| EntryFlags {
        qos,
        retain,
        expires,
        referred,
    })
}

pub(super) fn page() -> impl Strategy<Value = Page> {
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

pub(super) fn frame() -> impl Strategy<Value = Frame> {
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

pub(super) fn member() -> impl Strategy<Value = Member> {
    (incarnation(), name(), option::of(name())).prop_map(|(incarnation, name, address)| Member {
        incarnation,
        name,
        address,
    })
}

pub(super) fn map_epoch() -> impl Strategy<Value = MapEpoch> {
    any::<(u64, u64)>().prop_map(|(term, change)| MapEpoch { term, change })
}

pub(super) fn whereabout() -> impl Strategy<Value = Whereabout> {
    // Few gateways, so that the column of indices is of use.
    let gateway = (0..3u128).prop_map(Incarnation);
    (queue(), gateway, epoch()).prop_map(|(client, gateway, epoch)| Whereabout { client, gateway, epoch })
}

pub(super) fn online() -> impl Strategy<Value = Online> {
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

pub(super) fn ask() -> impl Strategy<Value = Ask> {
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

pub(super) fn answer() -> impl Strategy<Value = Answer> {
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
