//! Valid packets of every type and version, as proptest strategies.

use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{
    Ack, Auth, ConnAck, Connect, Decoder, Disconnect, Error, FilterOptions, Holder, Limits, Packet, PacketId,
    PacketType, Properties, Property, PropertyId, Publish, Qos, Reason, RetainHandling, Sender, SubAck, Subscribe,
    Text, UnsubAck, Unsubscribe, Version, Will,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Any valid packet, with who sends it.
pub(crate) fn any_packet(version: Version) -> impl Strategy<Value = (Sender, Packet)> {
    let both = [Sender::Client, Sender::Server];
    let mut all = Vec::new();
    for sender in both {
        for kind in PacketType::ALL {
            if let Some(packets) = packet(version, sender, kind) {
                all.push(packets.prop_map(move |packet| (sender, packet)).boxed());
            }
        }
    }
    proptest::strategy::Union::new(all)
}

/// Valid packets of one type from one sender; none where the version or the sender has no such packet.
pub(crate) fn packet(version: Version, sender: Sender, kind: PacketType) -> Option<BoxedStrategy<Packet>> {
    let client = sender == Sender::Client;
    let v5 = version.is_v5();
    Some(match kind {
        PacketType::Connect if client => connect(version).prop_map(|p| Packet::Connect(Box::new(p))).boxed(),
        PacketType::ConnAck if !client => connack(version).prop_map(Packet::ConnAck).boxed(),
        PacketType::Publish => publish(version, sender).prop_map(Packet::Publish).boxed(),
        PacketType::PubAck => ack(version, Holder::PubAck).prop_map(Packet::PubAck).boxed(),
        PacketType::PubRec => ack(version, Holder::PubRec).prop_map(Packet::PubRec).boxed(),
        PacketType::PubRel => ack(version, Holder::PubRel).prop_map(Packet::PubRel).boxed(),
        PacketType::PubComp => ack(version, Holder::PubComp).prop_map(Packet::PubComp).boxed(),
        PacketType::Subscribe if client => subscribe(version).prop_map(Packet::Subscribe).boxed(),
        PacketType::SubAck if !client => suback(version).prop_map(Packet::SubAck).boxed(),
        PacketType::Unsubscribe if client => unsubscribe(version).prop_map(Packet::Unsubscribe).boxed(),
        PacketType::UnsubAck if !client => unsuback(version).prop_map(Packet::UnsubAck).boxed(),
        PacketType::PingReq if client => Just(Packet::PingReq).boxed(),
        PacketType::PingResp if !client => Just(Packet::PingResp).boxed(),
        PacketType::Disconnect if v5 || client => disconnect(version, sender).prop_map(Packet::Disconnect).boxed(),
        PacketType::Auth if v5 => auth(sender).prop_map(Packet::Auth).boxed(),
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::Subscribe
        | PacketType::SubAck
        | PacketType::Unsubscribe
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect
        | PacketType::Auth => return None,
    })
}

pub(crate) fn pid() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|pid| PacketId::new(pid).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

/// Strings of one to four bytes a character, controls and non-characters included, U+0000 excluded.
fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => "[a-z0-9/ ]{0,12}",
        2 => "[^\\x00]{0,12}",
        1 => Just("\u{FEFF}\u{FFFF}\u{10FFFF}\u{1}\u{7F}".to_owned()),
    ]
    .prop_map(Text::from)
}

fn name() -> impl Strategy<Value = Text> {
    prop_oneof![4 => "[a-z0-9$]{1,6}(/[a-z0-9]{0,6}){0,4}", 2 => "[^\\x00+#]{1,16}"].prop_map(Text::from)
}

fn filter(version: Version) -> impl Strategy<Value = Text> {
    let plain = (vec(prop_oneof!["\\+", "[a-z0-9]{0,4}", "[^\\x00+#/]{0,4}"], 0..5), any::<bool>()).prop_map(
        |(mut levels, rest)| {
            if rest || levels.iter().all(String::is_empty) {
                levels.push("#".to_owned());
            }
            levels.join("/")
        },
    );
    let shared = version.is_v5();
    ("[a-z]{1,4}", plain, 0..4_u8).prop_map(move |(share, plain, kind)| {
        let filter = if shared && kind == 0 { format!("$share/{share}/{plain}") } else { plain };
        // Chance may begin a filter with "$share/", which it then has to be.
        Text::from(if filter.starts_with("$share/") && kind != 0 { format!("x{filter}") } else { filter })
    })
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![8 => 0..300_usize, 1 => 16_300..16_500_usize]
        .prop_flat_map(|len| any::<u8>().prop_map(move |byte| Bytes::from(vec![byte; len])))
}

fn value(id: PropertyId) -> BoxedStrategy<Property> {
    let four = || prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()];
    let two = || prop_oneof![Just(1), Just(u16::MAX), 1..u16::MAX];
    match id {
        PropertyId::PayloadFormatIndicator => any::<bool>().prop_map(Property::PayloadFormatIndicator).boxed(),
        PropertyId::MessageExpiryInterval => four().prop_map(Property::MessageExpiryInterval).boxed(),
        PropertyId::ContentType => text().prop_map(Property::ContentType).boxed(),
        PropertyId::ResponseTopic => name().prop_map(Property::ResponseTopic).boxed(),
        PropertyId::CorrelationData => data().prop_map(Property::CorrelationData).boxed(),
        PropertyId::SubscriptionIdentifier => {
            prop_oneof![Just(127), Just(128), Just(16_383), Just(16_384), Just(2_097_152), 1..=268_435_455_u32]
                .prop_map(Property::SubscriptionIdentifier)
                .boxed()
        }
        PropertyId::SessionExpiryInterval => four().prop_map(Property::SessionExpiryInterval).boxed(),
        PropertyId::AssignedClientIdentifier => text().prop_map(Property::AssignedClientIdentifier).boxed(),
        PropertyId::ServerKeepAlive => any::<u16>().prop_map(Property::ServerKeepAlive).boxed(),
        PropertyId::AuthenticationMethod => text().prop_map(Property::AuthenticationMethod).boxed(),
        PropertyId::AuthenticationData => data().prop_map(Property::AuthenticationData).boxed(),
        PropertyId::RequestProblemInformation => any::<bool>().prop_map(Property::RequestProblemInformation).boxed(),
        PropertyId::WillDelayInterval => four().prop_map(Property::WillDelayInterval).boxed(),
        PropertyId::RequestResponseInformation => any::<bool>().prop_map(Property::RequestResponseInformation).boxed(),
        PropertyId::ResponseInformation => text().prop_map(Property::ResponseInformation).boxed(),
        PropertyId::ServerReference => text().prop_map(Property::ServerReference).boxed(),
        PropertyId::ReasonString => text().prop_map(Property::ReasonString).boxed(),
        PropertyId::ReceiveMaximum => two().prop_map(Property::ReceiveMaximum).boxed(),
        PropertyId::TopicAliasMaximum => any::<u16>().prop_map(Property::TopicAliasMaximum).boxed(),
        PropertyId::TopicAlias => two().prop_map(Property::TopicAlias).boxed(),
        PropertyId::MaximumQos => (0..2_u8).prop_map(Property::MaximumQos).boxed(),
        PropertyId::RetainAvailable => any::<bool>().prop_map(Property::RetainAvailable).boxed(),
        PropertyId::UserProperty => (text(), text()).prop_map(Property::UserProperty).boxed(),
        PropertyId::MaximumPacketSize => (1..=u32::MAX).prop_map(Property::MaximumPacketSize).boxed(),
        PropertyId::WildcardSubscriptionAvailable => {
            any::<bool>().prop_map(Property::WildcardSubscriptionAvailable).boxed()
        }
        PropertyId::SubscriptionIdentifierAvailable => {
            any::<bool>().prop_map(Property::SubscriptionIdentifierAvailable).boxed()
        }
        PropertyId::SharedSubscriptionAvailable => {
            any::<bool>().prop_map(Property::SharedSubscriptionAvailable).boxed()
        }
    }
}

/// Any valid block for `holder`, but for the identifiers in `never`.
pub(crate) fn properties(holder: Holder, never: &'static [PropertyId]) -> impl Strategy<Value = Properties> {
    let mut ids = Vec::new();
    for &id in PropertyId::ALL {
        if holder.takes(id) && !never.contains(&id) {
            ids.push(id);
            let many = id == PropertyId::SubscriptionIdentifier && holder == Holder::Publish;
            if many || id == PropertyId::UserProperty {
                ids.extend([id, id]);
            }
        }
    }
    let most = ids.len();
    prop_oneof![1 => Just(Vec::new()).boxed(), 3 => subsequence(ids, 0..=most).prop_shuffle().boxed()]
        .prop_flat_map(|ids| ids.into_iter().map(value).collect::<Vec<_>>())
        .prop_map(move |mut list| {
            let has = |list: &[Property], id| list.iter().any(|p| p.id() == id);
            let needs_method = has(&list, PropertyId::AuthenticationData) && holder != Holder::ConnAck;
            if needs_method && !has(&list, PropertyId::AuthenticationMethod) {
                list.push(Property::AuthenticationMethod("SCRAM-SHA-256".into()));
            }
            Properties::new(holder, list).unwrap()
        })
}

fn properties_of(version: Version, holder: Holder, never: &'static [PropertyId]) -> BoxedStrategy<Properties> {
    if version.is_v5() { properties(holder, never).boxed() } else { Just(Properties::EMPTY).boxed() }
}

fn connect(version: Version) -> impl Strategy<Value = Connect> {
    let id = if version == Version::V31 { "[A-Za-z0-9é]{1,23}" } else { "[^\\x00]{0,30}" };
    let will = (qos(), any::<bool>(), name(), data(), properties_of(version, Holder::Will, &[]))
        .prop_map(|(qos, retain, topic, payload, properties)| Will { qos, retain, topic, payload, properties });
    let names = (proptest::option::of(text()), proptest::option::of(data()));
    (id, any::<bool>(), any::<u16>(), properties_of(version, Holder::Connect, &[]), proptest::option::of(will), names)
        .prop_map(move |(id, clean_start, keep_alive, properties, will, (user_name, password))| Connect {
            version,
            clean_start: clean_start || (version == Version::V311 && id.is_empty()),
            keep_alive,
            properties,
            client_id: id.into(),
            will,
            password: password.filter(|_| version.is_v5() || user_name.is_some()),
            user_name,
        })
}

fn reasons(version: Version, kind: PacketType, sender: Sender) -> Vec<Reason> {
    let all = Reason::ALL.iter().copied().filter(|reason| reason.fits(kind, sender));
    if kind == PacketType::ConnAck {
        all.filter(|r| r.for_connack(version) == *r).collect()
    } else if kind == PacketType::SubAck {
        all.filter(|r| r.for_suback(version) == *r).collect()
    } else {
        all.filter(|r| version.is_v5() || *r == Reason::Success).collect()
    }
}

fn connack(version: Version) -> impl Strategy<Value = ConnAck> {
    let reasons = reasons(version, PacketType::ConnAck, Sender::Server);
    (any::<bool>(), prop_oneof![Just(Reason::Success), select(reasons)], properties_of(version, Holder::ConnAck, &[]))
        .prop_map(move |(present, reason, properties)| ConnAck {
            session_present: present && reason == Reason::Success && version != Version::V31,
            reason,
            properties,
        })
}

fn publish(version: Version, sender: Sender) -> impl Strategy<Value = Publish> {
    let never: &[PropertyId] = if sender == Sender::Client { &[PropertyId::SubscriptionIdentifier] } else { &[] };
    let properties = properties_of(version, Holder::Publish, never);
    (any::<(bool, bool, bool)>(), qos(), name(), pid(), properties, payload()).prop_map(
        |((dup, retain, by_alias), qos, topic, pid, properties, payload)| Publish {
            dup: dup && qos != Qos::AtMostOnce,
            qos,
            retain,
            topic: if by_alias && properties.contains(PropertyId::TopicAlias) { Text::new() } else { topic },
            pid: (qos != Qos::AtMostOnce).then_some(pid),
            properties,
            payload,
        },
    )
}

fn ack(version: Version, holder: Holder) -> impl Strategy<Value = Ack> {
    let reasons = reasons(version, holder.packet(), Sender::Server);
    (pid(), prop_oneof![Just(Reason::Success), select(reasons)], properties_of(version, holder, &[]))
        .prop_map(|(pid, reason, properties)| Ack { pid, reason, properties })
}

fn options(version: Version) -> impl Strategy<Value = FilterOptions> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::Skip]);
    (qos(), any::<(bool, bool)>(), handling).prop_map(move |(qos, (no_local, retain_as_published), retain_handling)| {
        if version.is_v5() {
            FilterOptions { qos, no_local, retain_as_published, retain_handling }
        } else {
            FilterOptions::at(qos)
        }
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe> {
    let list = vec((filter(version), options(version)), 1..6);
    (pid(), properties_of(version, Holder::Subscribe, &[]), list).prop_map(|(pid, properties, list)| {
        let list = list.iter().map(|(filter, options)| {
            let no_local = options.no_local && !filter.starts_with("$share/");
            (&**filter, FilterOptions { no_local, ..*options })
        });
        Subscribe::new(pid, properties, list).unwrap()
    })
}

fn suback(version: Version) -> impl Strategy<Value = SubAck> {
    let reasons = vec(select(reasons(version, PacketType::SubAck, Sender::Server)), 1..8);
    (pid(), reasons, properties_of(version, Holder::SubAck, &[])).prop_map(|(pid, reasons, properties)| SubAck {
        pid,
        reasons,
        properties,
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe> {
    (pid(), properties_of(version, Holder::Unsubscribe, &[]), vec(filter(version), 1..6)).prop_map(
        |(pid, properties, list)| Unsubscribe::new(pid, properties, list.iter().map(|filter| &**filter)).unwrap(),
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = UnsubAck> {
    let reasons = vec(select(reasons(Version::V5, PacketType::UnsubAck, Sender::Server)), 1..8);
    (pid(), reasons, properties_of(version, Holder::UnsubAck, &[])).prop_map(move |(pid, reasons, properties)| {
        UnsubAck { pid, reasons: if version.is_v5() { reasons } else { Vec::new() }, properties }
    })
}

fn disconnect(version: Version, sender: Sender) -> impl Strategy<Value = Disconnect> {
    let never: &[PropertyId] = if sender == Sender::Server { &[PropertyId::SessionExpiryInterval] } else { &[] };
    let reasons = reasons(version, PacketType::Disconnect, sender);
    (select(reasons), properties_of(version, Holder::Disconnect, never))
        .prop_map(|(reason, properties)| Disconnect { reason, properties })
}

fn auth(sender: Sender) -> impl Strategy<Value = Auth> {
    let reasons = reasons(Version::V5, PacketType::Auth, sender);
    let rest = properties(Holder::Auth, &[PropertyId::AuthenticationMethod, PropertyId::AuthenticationData]);
    (select(reasons), text(), proptest::option::of(data()), rest, any::<bool>()).prop_map(
        |(reason, method, data, rest, nothing)| {
            if nothing && reason == Reason::Success {
                return Auth { reason, properties: Properties::EMPTY };
            }
            let mut list = vec![Property::AuthenticationMethod(method)];
            list.extend(data.map(Property::AuthenticationData));
            list.extend(rest.iter());
            Auth { reason, properties: Properties::new(Holder::Auth, list).unwrap() }
        },
    )
}

/// A decoder that has this version and reads what `sender` sends, and, for a server's, the CONNECT that set it up.
pub(crate) fn decoder(version: Version, sender: Sender) -> Decoder {
    let limits = Limits::packet(1 << 29);
    if sender == Sender::Server {
        return Decoder::client(version, limits);
    }
    let mut decoder = Decoder::server(limits);
    let mut bytes = BytesMut::new();
    Packet::Connect(Box::new(Connect::new(version, "setup"))).encode(version, &mut bytes).unwrap();
    assert!(decoder.decode(&mut bytes).unwrap().is_some());
    decoder
}

/// Decodes one packet as the first of its connection if it is a CONNECT, and as a later one if it is not.
pub(crate) fn decode(version: Version, sender: Sender, bytes: &[u8]) -> Result<Option<Packet>, Error> {
    decode_with_version(version, sender, bytes).0
}

/// [`decode`], and the version that the packet is in: a CONNECT says its own.
pub(crate) fn decode_with_version(
    version: Version,
    sender: Sender,
    bytes: &[u8],
) -> (Result<Option<Packet>, Error>, Version) {
    let first = bytes.first().is_some_and(|byte| byte >> 4 == 1) && sender == Sender::Client;
    let mut decoder = if first { Decoder::server(Limits::packet(1 << 29)) } else { decoder(version, sender) };
    let found = decoder.decode(&mut BytesMut::from(bytes));
    (found, decoder.version().unwrap_or(version))
}
