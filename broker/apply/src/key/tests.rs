use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::Family;

/// Every shape of key, with what goes into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shape {
    Applied,
    First,
    Cluster,
    Level,
    Map,
    Topic(String, String),
    GroupMeta(String, String),
    Acl(String),
    Gateway(u128),
    Departed(u128),
    Queue([u8; 16]),
    Entry([u8; 16], u64),
    MessageKey([u8; 16], u64),
    Filter(String, String, Result<(u32, u64), u128>),
    ClientName(String, String),
    ClientOwned(u128, (u32, u64)),
    ClientHead((u32, u64)),
    ClientWill((u32, u64)),
    Lane((u32, u64)),
    Flight((u32, u64), u64),
    Parked((u32, u64), u64),
    Subscription((u32, u64), String),
    Inbound((u32, u64), u16),
    Group(String, String, [u8; 16]),
    Timer(u64, u64, u8),
    Pin(u64, u8, Vec<u8>),
    Retained(String, String),
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name.into()).unwrap()
}

fn sid((home, position): (u32, u64)) -> Sid {
    Sid { home: causeway_model::ShardId(home), position: Position(position) }
}

impl Shape {
    fn key(&self) -> (Family, Vec<u8>) {
        match self.clone() {
            Self::Applied => (Family::Meta, APPLIED.to_vec()),
            Self::First => (Family::Meta, FIRST.to_vec()),
            Self::Cluster => (Family::Meta, CLUSTER.to_vec()),
            Self::Level => (Family::Meta, LEVEL.to_vec()),
            Self::Map => (Family::Meta, MAP.to_vec()),
            Self::Topic(n, t) => (Family::Meta, topic(&ns(&n), &t)),
            Self::GroupMeta(n, g) => (Family::Meta, group_meta(&ns(&n), &g)),
            Self::Acl(name) => (Family::Meta, acl(&name)),
            Self::Gateway(i) => (Family::Meta, gateway(Incarnation(i)).to_vec()),
            Self::Departed(i) => (Family::Meta, departed(Incarnation(i)).to_vec()),
            Self::Queue(q) => (Family::Queue, queue(QueueId(q)).to_vec()),
            Self::Entry(q, o) => (Family::Entry, entry(QueueId(q), Offset(o)).to_vec()),
            Self::MessageKey(h, p) => (Family::Key, message_key(h, Position(p)).to_vec()),
            Self::Filter(n, f, Ok(s)) => (Family::Filter, filter(&ns(&n), &f, Owner::Session(sid(s)))),
            Self::Filter(n, f, Err(g)) => (Family::Filter, filter(&ns(&n), &f, Owner::Gateway(Incarnation(g)))),
            Self::ClientName(n, c) => (Family::Client, client_name(&ns(&n), &c)),
            Self::ClientOwned(o, s) => (Family::Client, client_owned(Incarnation(o), sid(s)).to_vec()),
            Self::ClientHead(s) => (Family::Client, client_head(sid(s)).to_vec()),
            Self::ClientWill(s) => (Family::Client, client_will(sid(s)).to_vec()),
            Self::Lane(s) => (Family::Session, lane(sid(s)).to_vec()),
            Self::Flight(s, at) => (Family::Session, flight(sid(s), Stamp(at)).to_vec()),
            Self::Parked(s, at) => (Family::Session, parked(sid(s), Stamp(at)).to_vec()),
            Self::Subscription(s, f) => (Family::Session, subscription(sid(s), &f)),
            Self::Inbound(s, p) => (Family::Session, inbound(sid(s), PacketId::new(p).unwrap()).to_vec()),
            Self::Group(n, g, q) => (Family::Group, group(&ns(&n), &g, QueueId(q))),
            Self::Timer(due, s, kind) => (Family::Timer, timer(Millis(due), Stamp(s), kind).to_vec()),
            Self::Pin(p, kind, reference) => (Family::Pin, pin(Position(p), kind, &reference)),
            Self::Retained(n, t) => (Family::Retained, retained(&ns(&n), &t)),
        }
    }
}

/// Few values, so that keys come close to each other: integers whose bytes look like tags and text, short strings.
fn shape() -> impl Strategy<Value = Shape> {
    let number = || prop_oneof![0..4_u64, Just(u64::MAX), Just(0x0101_0101_0101_0101), Just(0x6161_6161_6161_6161)];
    let wide = || (number(), number()).prop_map(|(a, b)| u128::from(a) << 64 | u128::from(b));
    let id = || (number(), number()).prop_map(|(a, b)| (u128::from(a) << 64 | u128::from(b)).to_be_bytes());
    let small = || prop_oneof![0..4_u32, Just(u32::MAX), Just(0x0101_0101)];
    let sid = || (small(), number());
    let name = || "[\u{1}-\u{4}a]{0,3}";
    let text = || "[\u{1}-\u{4}a/+]{0,4}";
    let owner = || prop_oneof![sid().prop_map(Ok), wide().prop_map(Err)];
    let tag = || 0..4_u8;
    prop_oneof![
        proptest::sample::select(vec![Shape::Applied, Shape::First, Shape::Cluster, Shape::Level, Shape::Map]),
        (name(), text()).prop_map(|(a, b)| Shape::Topic(a, b)),
        (name(), text()).prop_map(|(a, b)| Shape::GroupMeta(a, b)),
        text().prop_map(Shape::Acl),
        wide().prop_map(Shape::Gateway),
        wide().prop_map(Shape::Departed),
        id().prop_map(Shape::Queue),
        (id(), number()).prop_map(|(a, b)| Shape::Entry(a, b)),
        (id(), number()).prop_map(|(a, b)| Shape::MessageKey(a, b)),
        (name(), text(), owner()).prop_map(|(a, b, c)| Shape::Filter(a, b, c)),
        (name(), text()).prop_map(|(a, b)| Shape::ClientName(a, b)),
        (wide(), sid()).prop_map(|(a, b)| Shape::ClientOwned(a, b)),
        sid().prop_map(Shape::ClientHead),
        sid().prop_map(Shape::ClientWill),
        sid().prop_map(Shape::Lane),
        (sid(), number()).prop_map(|(a, b)| Shape::Flight(a, b)),
        (sid(), number()).prop_map(|(a, b)| Shape::Parked(a, b)),
        (sid(), text()).prop_map(|(a, b)| Shape::Subscription(a, b)),
        (sid(), 1..4_u16).prop_map(|(a, b)| Shape::Inbound(a, b)),
        (name(), text(), id()).prop_map(|(a, b, c)| Shape::Group(a, b, c)),
        (number(), number(), tag()).prop_map(|(a, b, c)| Shape::Timer(a, b, c)),
        (number(), tag(), proptest::collection::vec(0..3_u8, 0..3)).prop_map(|(a, b, c)| Shape::Pin(a, b, c)),
        (name(), text()).prop_map(|(a, b)| Shape::Retained(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_two_shapes_share_a_key(shapes in proptest::collection::vec(shape(), 2..60)) {
        let mut owners: HashMap<(Family, Vec<u8>), Shape> = HashMap::new();
        for shape in shapes {
            if let Some(other) = owners.insert(shape.key(), shape.clone()) {
                prop_assert_eq!(other, shape);
            }
        }
    }

    #[test]
    fn keys_order_as_their_numbers_do(a: u64, b: u64) {
        let id = QueueId([1; 16]);
        prop_assert_eq!(a.cmp(&b), entry(id, Offset(a)).cmp(&entry(id, Offset(b))));
        prop_assert_eq!(a.cmp(&b), timer(Millis(a), Stamp(b), 1).cmp(&timer(Millis(b), Stamp(a), 1)).then(a.cmp(&b)));
    }

    #[test]
    fn beyond_is_above_every_key_with_the_prefix_and_below_every_other_greater_one(
        prefix in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 1..4),
        other in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..6),
    ) {
        let upper = beyond(&prefix);
        if upper.is_empty() {
            prop_assert!(prefix.iter().all(|byte| *byte == 255));
        } else {
            let inside = other >= prefix && other < upper;
            prop_assert_eq!(inside, other.starts_with(&prefix));
        }
    }

    #[test]
    fn a_filters_key_is_read_back(name in "[a-z]{0,3}", text in "[a-z]{1,3}(/\\+){0,2}", home: u32, at: u64, g: u128) {
        for owner in [Owner::Session(sid((home, at))), Owner::Gateway(Incarnation(g))] {
            let key = filter(&ns(&name), &text, owner);
            let (namespace, filter, back) = read_filter(&key).unwrap();
            prop_assert_eq!((namespace.as_str(), filter.as_str(), back), (name.as_str(), text.as_str(), owner));
        }
    }

    #[test]
    fn any_bytes_are_a_key_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        let _ = (read_filter(&bytes), read_topic(&bytes), read_gateway(&bytes));
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn every_shape_has_frozen_bytes() {
    let (id, s) = ([0xaa; 16], (1, 0x23));
    let aa = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let seven = "00000000000000000000000000000007";
    let sid = "000000010000000000000023";
    let text = |s: &str| s.to_owned();
    let golden = [
        (Shape::Applied, text("01")),
        (Shape::First, text("02")),
        (Shape::Cluster, text("03")),
        (Shape::Level, text("04")),
        (Shape::Map, text("05")),
        (Shape::Topic(text("n"), text("t")), text("066e0074")),
        (Shape::GroupMeta(text("n"), text("g")), text("076e0067")),
        (Shape::Acl(text("a")), text("0861")),
        (Shape::Gateway(7), format!("09{seven}")),
        (Shape::Departed(7), format!("0a{seven}")),
        (Shape::Queue(id), text(aa)),
        (Shape::Entry(id, 0x102), format!("{aa}0000000000000102")),
        (Shape::MessageKey(id, 0x102), format!("{aa}0000000000000102")),
        (Shape::Filter(text("n"), text("a/+"), Ok(s)), format!("6e00612f2b0001{sid}")),
        (Shape::Filter(text(""), text("+"), Err(7)), format!("002b0002{seven}")),
        (Shape::ClientName(text("n"), text("c")), text("016e0063")),
        (Shape::ClientOwned(7, s), format!("02{seven}{sid}")),
        (Shape::ClientHead(s), format!("03{sid}")),
        (Shape::ClientWill(s), format!("04{sid}")),
        (Shape::Lane(s), format!("{sid}01")),
        (Shape::Flight(s, 5), format!("{sid}020000000000000005")),
        (Shape::Parked(s, 5), format!("{sid}030000000000000005")),
        (Shape::Subscription(s, text("a/#")), format!("{sid}04612f23")),
        (Shape::Inbound(s, 0x0102), format!("{sid}050102")),
        (Shape::Group(text("n"), text("g"), id), format!("6e006700{aa}")),
        (Shape::Timer(1, 2, 3), text("0000000000000001000000000000000203")),
        (Shape::Pin(1, 2, vec![9]), text("00000000000000010209")),
        (Shape::Retained(text("n"), text("a/b")), text("6e00612f62")),
    ];
    for (shape, expected) in golden {
        assert_eq!(hex(&shape.key().1), expected, "{shape:?}");
    }
}
