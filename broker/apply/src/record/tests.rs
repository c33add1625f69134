use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_model::{
    ClientId, Epoch, HashKey, Incarnation, Lineage, Millis, Namespace, PacketId, Position, Property, Publisher, Qos,
    RetainHandling, ShardId, Sid, Stamp, SubscribeOptions,
};
use proptest::prelude::*;

use super::*;
use crate::sample::{Random, encode, filter, gateway, interest, message};

fn sid(position: u64) -> Sid {
    Sid { home: ShardId(0x0102), position: Position(position) }
}

const EPOCH: Epoch = Epoch(Position(0x21));

/// One record of every kind that is built, with its bytes in hexadecimal.
fn golden() -> Vec<(Record, &'static str)> {
    [golden_data(), golden_interest(), golden_sessions(), golden_cluster()].concat()
}

fn golden_data() -> Vec<(Record, &'static str)> {
    let mut properties = causeway_model::PropertiesBuilder::default();
    properties.push(&Property::Utf8).unwrap();
    let full = causeway_model::Message {
        namespace: Namespace::new("ns".into()).unwrap(),
        retain: true,
        qos: Qos::ExactlyOnce,
        expiry: Some(Duration::from_secs(2)),
        publisher: Publisher {
            client: ClientId("p".into()),
            session: Some((sid(0x11), EPOCH)),
            pid: PacketId::new(0x0809),
        },
        properties: properties.finish(),
        ..message("a/b")
    };
    vec![
        (
            Record::Message(Box::new(Message { message: message("a/b"), server_queue: None })),
            "01010101 0000000000000001 00 03612f62 0170 00 626f6479",
        ),
        (
            Record::Message(Box::new(Message { message: full, server_queue: Some(5) })),
            "0101017e 0000000000000001 d00f 0005 000001020000000000000011 0000000000000021 0809 \
             026e73 03612f62 0170 0105 626f6479",
        ),
        (Record::Trim(Trim { first: Position(0x1234) }), "04010100 0000000000001234"),
    ]
}

fn golden_interest() -> Vec<(Record, &'static str)> {
    let options = SubscribeOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Skip,
        id: Some(300),
    };
    let from = vec![(ShardId(2), Position(0x80))];
    vec![
        (
            interest(true, "a/+", Owner::Session { sid: sid(0x11), epoch: Epoch(Position(0x22)) }),
            "10010100 01 01 000001020000000000000011 0000000000000022 00 03612f2b",
        ),
        (interest(false, "+", gateway(7)), "10010100 00 02 00000000000000000000000000000007 00 012b"),
        (
            Record::Subscribe(Subscribe { sid: sid(0x11), epoch: EPOCH, filter: filter("a/#"), options, from }),
            "14010100 000001020000000000000011 0000000000000021 6d ac02 01 02 8001 03612f23",
        ),
        (
            Record::Unsubscribe(Unsubscribe { sid: sid(0x11), epoch: EPOCH, filter: filter("a") }),
            "15010100 000001020000000000000011 0000000000000021 0161",
        ),
    ]
}

fn golden_sessions() -> Vec<(Record, &'static str)> {
    let (sid, epoch) = (sid(0x11), EPOCH);
    let open = SessionOpen {
        namespace: Namespace::default(),
        client: ClientId("c".into()),
        clean_start: true,
        expiry: Duration::from_secs(1),
        owner: Incarnation(7),
        attempt: 300,
        will: Some(Will { delay: Duration::from_millis(5), message: Bytes::from_static(b"w") }),
    };
    let expiry = Some(Duration::from_millis(3));
    let (filters, flights) = (vec![filter("a")], vec![(true, Stamp(0x31))]);
    let flight = InFlight {
        stamp: Stamp(0x31),
        position: Position(0x30),
        qos: Qos::AtLeastOnce,
        pid: PacketId::new(9),
        state: FlightState::Received,
    };
    let lane = LaneProgress { sid, epoch, cursor: Some(Position(0x30)), flights: vec![flight] };
    vec![
        (Record::SessionOpen(open), "11010100 01 e807 00000000000000000000000000000007 ac02 00 0163 01 05 0177"),
        (
            Record::SessionClose(SessionClose { sid, epoch, reason: CloseReason::ConnectionLost, expiry }),
            "12010100 000001020000000000000011 0000000000000021 03 01 03",
        ),
        (
            Record::SessionAbandon(SessionAbandon {
                namespace: Namespace::default(),
                client: ClientId("c".into()),
                owner: Incarnation(7),
                attempt: 300,
            }),
            "1a010100 00000000000000000000000000000007 ac02 00 0163",
        ),
        (
            Record::SessionExpire(SessionExpire { sid, epoch, filters, flights, last: true }),
            "13010100 000001020000000000000011 0000000000000021 01 01 0161 01 01 0000000000000031",
        ),
        (
            Record::Progress(vec![lane]),
            "18010100 01 000001020000000000000011 0000000000000021 01 0000000000000030 01 \
             0000000000000031 0000000000000030 29 0009",
        ),
    ]
}

fn golden_cluster() -> Vec<(Record, &'static str)> {
    let init = ClusterInit {
        lineage: Lineage(3),
        key: HashKey([5; 16]),
        level: 1,
        shard: ShardId(0),
        shards: 2,
        limits: Limits { session_filters: 4, active_filters: 6, matches: 8 },
    };
    let gateway = |event| Record::Gateway(Gateway { incarnation: Incarnation(7), event });
    let namespace = Namespace::default();
    vec![
        (
            Record::TopicPut(TopicPut { namespace: namespace.clone(), name: "orders".into(), queues: 8 }),
            "20010100 0008 00 066f7264657273",
        ),
        (Record::TopicDrop(TopicDrop { namespace, name: "o".into() }), "21010100 00 016f"),
        (
            Record::ClusterInit(init),
            "40010100 00000000000000000000000000000003 05050505050505050505050505050505 01 00000000 00000002 \
             00000004 00000006 00000008",
        ),
        (gateway(GatewayEvent::Lost), "41010100 00000000000000000000000000000007 02"),
        (gateway(GatewayEvent::Forgotten), "41010100 00000000000000000000000000000007 04"),
        (Record::FeatureLevel(FeatureLevel { level: 9 }), "46010900"),
        (Record::Check(Check { position: Position(1), digest: 2 }), "47010100 0000000000000001 0000000000000002"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn every_kind_that_is_built_has_frozen_bytes() {
    for (record, expected) in golden() {
        let expected: String = expected.split_whitespace().collect();
        assert_eq!(hex(&encode(&record)), expected, "{record:?}");
    }
    let covered: std::collections::BTreeSet<_> = golden().iter().map(|(record, _)| record.kind()).collect();
    let built: Vec<_> = Kind::ALL.iter().copied().filter(|kind| kind.is_built()).collect();
    assert_eq!(covered.into_iter().collect::<Vec<_>>(), built);
}

#[test]
fn numbers_of_kinds_are_frozen_the_reserved_ones_too() {
    let numbers: Vec<_> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
    let frozen: Vec<u8> = (1..=4).chain(16..=26).chain(32..=44).chain(64..=71).collect();
    assert_eq!(numbers, frozen);
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(*kind as u8), Some(*kind));
    }
}

#[test]
fn reserved_and_unknown_kinds_versions_and_levels_are_unsupported() {
    let good = encode(&Record::Trim(Trim { first: Position(1) }));
    for (at, byte) in [(0, 2), (0, 99), (0, 0), (1, 0), (1, 2), (2, SUPPORTED_LEVEL + 1)] {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        let error = Record::decode(&bytes.into()).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "byte {at} = {byte}: {error}");
    }
    assert_eq!(Record::decode(&Bytes::from_static(&[1, 1, 1])), Err(DecodeError::Headless));
}

#[test]
fn the_level_of_a_cluster_is_the_one_its_header_asks_for() {
    let mut bytes = encode(&golden_cluster()[2].0).to_vec();
    bytes[HEADER_LEN + 32] += 1;
    let error = Record::decode(&bytes.into()).unwrap_err();
    assert_eq!(error, DecodeError::Malformed { kind: Kind::ClusterInit, field: "level" });
}

#[test]
fn a_decoded_message_shares_the_memory_of_its_record() {
    let mut large = message("some/topic");
    large.body = vec![b'x'; 4096].into();
    let mut buf = BytesMut::new();
    encode_message(&large, None, &mut buf);
    let payload = buf.freeze();
    let back = decode_message(&payload).unwrap();
    assert_eq!(back, large);
    let memory = payload.as_ptr_range();
    for slice in [&back.body[..], back.topic.as_str().as_bytes(), back.publisher.client.0.as_bytes()] {
        assert!(memory.contains(&slice.as_ptr()), "copied: {slice:?}");
    }
}

/// Fields and slices of every record must end where the record ends.
#[test]
fn every_record_cut_short_or_continued_is_refused() {
    for (record, _) in golden() {
        let whole = encode(&record);
        let fixed_end = !matches!(record, Record::Message(_));
        for cut in 0..whole.len() {
            let decoded = Record::decode(&whole.slice(..cut));
            // A message's body is whatever is left, so a cut inside of it leaves a message.
            assert!(decoded.is_err() || (!fixed_end && cut >= whole.len() - 4), "{record:?} cut at {cut}");
        }
        if fixed_end {
            let longer = [&whole[..], b"x"].concat();
            assert!(Record::decode(&longer.into()).is_err(), "{record:?} with a byte too many");
        }
    }
}

#[test]
fn a_record_that_breaks_a_rule_of_names_says_which() {
    let mut bytes =
        encode(&Record::Unsubscribe(Unsubscribe { sid: sid(1), epoch: Epoch::default(), filter: filter("a") }))
            .to_vec();
    *bytes.last_mut().unwrap() = 0;
    let error = Record::decode(&bytes.into()).unwrap_err();
    assert_eq!(error.to_string(), "Unsubscribe: filter: contains U+0000");
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was(seed: u64) {
        let mut random = Random::new(seed);
        for _ in 0..50 {
            let record = random.record(Position(1000));
            let payload = encode(&record);
            prop_assert_eq!(Record::decode(&payload), Ok(record.clone()));
            if let Record::Message(whole) = record {
                let head = MessageHead::read(&payload).unwrap();
                let message = &whole.message;
                prop_assert_eq!(
                    (head.qos, head.retain, head.expires, head.born, head.server_queue),
                    (message.qos, message.retain, message.expiry.is_some(), message.born, whole.server_queue)
                );
                prop_assert_eq!((head.namespace, head.topic), (message.namespace.as_str(), message.topic.as_str()));
                prop_assert_eq!((head.session, head.pid), (message.publisher.session, message.publisher.pid));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(
        kind in proptest::sample::select(Kind::ALL),
        bits: u8,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let payload = Bytes::from([&[kind as u8, 1, 1, bits][..], &body].concat());
        if let Ok(record) = Record::decode(&payload) {
            prop_assert_eq!(Record::decode(&encode(&record)), Ok(record));
        }
        let _ = MessageHead::read(&payload);
        let _ = Record::decode(&body.into());
    }

    #[test]
    fn a_damaged_record_is_a_record_or_an_error(seed: u64) {
        let mut random = Random::new(seed);
        for _ in 0..50 {
            let payload = random.payload(Position(1000));
            if let Ok(record) = Record::decode(&payload) {
                prop_assert_eq!(Record::decode(&encode(&record)), Ok(record));
            }
        }
    }

    #[test]
    fn times_survive_at_their_resolution(born: u64, seconds in 0..u64::from(u32::MAX)) {
        let mut timed = message("t");
        timed.born = Millis(born);
        timed.expiry = Some(Duration::from_secs(seconds));
        let payload = encode(&Record::Message(Box::new(Message { message: timed.clone(), server_queue: None })));
        prop_assert_eq!(decode_message(&payload).unwrap(), timed);
    }
}
