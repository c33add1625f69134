//! Where the other codecs are known to be wrong, each statement with packets that show it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{Error, Packet, PacketType, Properties, Version};

use super::compare;
use super::peer::Oracle::{self, MqttBytes, ProtocolCore, Rmqtt};
use crate::vector::{Accepted, packet, senders, versions};

/// How we and another codec differ over some bytes.
pub(super) enum Difference {
    /// We refuse with this, it accepts.
    Lenient(Error),
    /// We accept this, it refuses with that.
    Strict(Packet, String),
    /// Both accept, but what it writes is not what came.
    Changed(Packet, Result<Option<Packet>, Error>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lenient(error) => write!(f, "accepts what we refuse: {error}"),
            Self::Strict(packet, why) => write!(f, "refuses ({why}) what we accept: {packet:?}"),
            Self::Changed(packet, other) => write!(f, "makes {other:?} of {packet:?}"),
        }
    }
}

/// Part of our rule, who does not keep it, and packets that show it for each of them.
type Fault = (&'static str, &'static [Oracle], &'static [Accepted]);

/// Statements that other codecs do not keep. Some are no faults but the division of labour: their parsers are not told
/// who sends, or what the flags are.
const LENIENT: &[Fault] = &[
    ("may not send", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "d0")]),
    ("MQTT-2.1.3-1", &[ProtocolCore, MqttBytes], &[("4", "c", "c1")]),
    ("no place in this packet (§3)", &[Rmqtt, ProtocolCore], &[("5", "c", "e0 8b")]),
    ("longer than needed", &[Rmqtt, MqttBytes], &[("4", "s", "!d0 80 00")]),
    ("longer than needed", &[ProtocolCore], &[("5", "c", "82 0001 80 00 <a> 00")]),
    ("U+0000", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "30 0001 00")]),
    ("after the last field", &[Rmqtt, MqttBytes], &[("4", "c", "c0 00")]),
    ("after the last field", &[ProtocolCore], &[("4", "c", "40 0001 00")]),
    ("MQTT-2.2.1-3", &[ProtocolCore, MqttBytes], &[("4", "s", "b0 0000")]),
    // Topics.
    ("MQTT-3.3.2-2", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "30 <a/#>")]),
    ("MQTT-3.3.2-14", &[Rmqtt, ProtocolCore], &[("5", "c", "30 <a> [08 <r/#>]")]),
    ("MQTT-4.7.3-1", &[Rmqtt], &[("4", "c", "10 <MQTT> 04 06 0000 <id> <> <m>")]),
    ("MQTT-4.7.3-1", &[ProtocolCore, MqttBytes], &[("4", "c", "30 <>")]),
    ("MQTT-4.7.1-1", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "82 0001 <a#> 00")]),
    ("MQTT-4.7.1-2", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "82 0001 <a+> 00")]),
    ("MQTT-4.8.2-1", &[Rmqtt], &[("5", "c", "82 0001 [] <$share/+/a> 00")]),
    ("shared subscription without a filter", &[Rmqtt], &[("5", "c", "82 0001 [] <$share/g> 00")]),
    ("neither topic name nor topic alias", &[Rmqtt, ProtocolCore], &[("5", "c", "30 <> []")]),
    // CONNECT and CONNACK.
    ("is not supported", &[Rmqtt], &[("4", "c", "10 <MQTT> 03 02 0000 <id>")]),
    ("MQTT-3.1.2-3", &[ProtocolCore, MqttBytes], &[("4", "c", "10 <MQTT> 04 03 0000 <id>")]),
    ("MQTT-3.1.2-11", &[Rmqtt], &[("5", "c", "10 <MQTT> 05 0a 0000 [] <id>")]),
    ("MQTT-3.1.2-11", &[ProtocolCore], &[("4", "c", "10 <MQTT> 04 0a 0000 <id>")]),
    ("MQTT-3.1.2-12", &[ProtocolCore], &[("4", "c", "10 <MQTT> 04 1e 0000 <id> <w> <m>")]),
    ("MQTT-3.1.2-22", &[Rmqtt, MqttBytes], &[("4", "c", "10 <MQTT> 04 42 0000 <id> <pw>")]),
    ("MQTT-3.1.3-8", &[ProtocolCore, MqttBytes], &[("4", "c", "10 <MQTT> 04 00 0000 <>")]),
    ("1 to 23", &[Rmqtt], &[("3", "c", "10 <MQIsdp> 03 02 0000 <123456789012345678901234>")]),
    ("without a method", &[Rmqtt, ProtocolCore], &[("5", "c", "10 <MQTT> 05 02 0000 [16 <d>] <id>")]),
    ("MQTT-3.2.2-1]", &[ProtocolCore, MqttBytes], &[("4", "s", "20 02 00")]),
    ("MQTT-3.2.2-6", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "s", "20 01 05")]),
    ("return code is reserved", &[Rmqtt], &[("4", "s", "20 00 06")]),
    ("property is 0 or 1", &[Rmqtt], &[("5", "s", "20 00 00 [24 02]")]),
    // PUBLISH, SUBSCRIBE and their kin.
    ("MQTT-3.3.1-2", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "38 <a>")]),
    ("MQTT-3.3.4-6", &[Rmqtt, ProtocolCore], &[("5", "c", "30 <a> [0b 01]")]),
    ("PUBLISH malformed: ends before", &[ProtocolCore], &[("5", "c", "30 <a>")]),
    ("MQTT-3.8.3-2", &[MqttBytes], &[("4", "c", "82 0001")]),
    ("MQTT-3.8.3-4", &[Rmqtt, ProtocolCore], &[("5", "c", "82 0001 [] <$share/g/a> 04")]),
    ("MQTT-3.8.3-5", &[Rmqtt, ProtocolCore, MqttBytes], &[("4", "c", "82 0001 <a> 04")]),
    ("MQTT-3.10.3-2", &[MqttBytes], &[("4", "c", "a2 0001")]),
    ("no reason code", &[Rmqtt], &[("5", "s", "90 0001 []")]),
    // DISCONNECT and AUTH.
    ("MQTT-3.14.2-2", &[Rmqtt, ProtocolCore], &[("5", "s", "e0 81 [11 00000000]")]),
    ("no authentication method", &[Rmqtt, ProtocolCore], &[("5", "s", "f0 00 [1f <why>]")]),
    ("AUTH malformed: ends before", &[Rmqtt, ProtocolCore], &[("5", "s", "f0 00")]),
];

/// Valid packets that another codec refuses or writes differently: who, what it gets wrong, an example, and whether a
/// packet is of that kind.
type Wrong = (Oracle, &'static str, Accepted, fn(Version, &Packet) -> bool);

const REFUSED: &[Wrong] = &[
    (Rmqtt, "message expiry interval 0", ("5", "c", "30 <a> [02 00000000]"), |_, packet| {
        let zero = |properties: &Properties| properties.message_expiry_interval() == Some(0);
        let will =
            matches!(packet, Packet::Connect(connect) if connect.will.as_ref().is_some_and(|w| zero(&w.properties)));
        will || matches!(packet, Packet::Publish(publish) if zero(&publish.properties))
    }),
    (
        Rmqtt,
        "5.0: no client identifier",
        ("5", "c", "10 <MQTT> 05 00 0000 [] <>"),
        |version, packet| matches!(packet, Packet::Connect(connect) if version.is_v5() && connect.client_id.is_empty()),
    ),
    (Rmqtt, "3.1: bits that are not used, strings announced but missing", ("3", "c", "c1"), |version, packet| {
        // Then it accepts the same packet without them.
        let mut plain = BytesMut::new();
        version == Version::V31 && packet.encode(version, &mut plain).is_ok() && Rmqtt.journey(version, &plain).is_ok()
    }),
    (
        ProtocolCore,
        "5.0: password without a user name",
        ("5", "c", "10 <MQTT> 05 42 0000 [] <id> <pw>"),
        |_, packet| matches!(packet, Packet::Connect(connect) if connect.user_name.is_none() && connect.password.is_some()),
    ),
    (
        ProtocolCore,
        "reason 0x8c in DISCONNECT (table 2-6)",
        ("5", "s", "e0 8c"),
        |_, packet| matches!(packet, Packet::Disconnect(disconnect) if disconnect.reason.code() == 0x8C),
    ),
    (
        MqttBytes,
        "binary password",
        ("4", "c", "10 <MQTT> 04 c2 0000 <id> <u> 0001 ff"),
        |_, packet| matches!(packet, Packet::Connect(connect) if connect.password.is_some()),
    ),
];

const CHANGED: &[Wrong] = &[
    (Rmqtt, "3.1 is written with level 4", ("3", "c", "10 <MQIsdp> 03 02 0000 <id>"), |version, packet| {
        version == Version::V31 && packet.packet_type() == PacketType::Connect
    }),
    (
        MqttBytes,
        "an empty user name or password is left out",
        ("4", "c", "10 <MQTT> 04 82 0000 <id> <>"),
        |_, packet| matches!(packet, Packet::Connect(connect) if connect.user_name.as_deref() == Some("") || connect.password == Some(Bytes::new())),
    ),
];

fn lenient(oracle: Oracle, error: &Error) -> bool {
    let text = error.to_string();
    LENIENT.iter().any(|(rule, oracles, _)| oracles.contains(&oracle) && text.contains(rule))
}

fn listed(list: &[Wrong], oracle: Oracle, version: Version, packet: &Packet) -> bool {
    list.iter().any(|(who, _, _, is)| *who == oracle && is(version, packet))
}

/// Whether the difference is on the lists.
pub(super) fn is_known(oracle: Oracle, version: Version, difference: &Difference) -> bool {
    match difference {
        Difference::Lenient(error) => lenient(oracle, error),
        Difference::Strict(packet, _) => listed(REFUSED, oracle, version, packet),
        Difference::Changed(packet, _) => listed(CHANGED, oracle, version, packet),
    }
}

fn differences(oracle: Oracle, (digits, letters, notation): Accepted) -> Vec<(Version, Difference)> {
    let bytes = packet(notation);
    let pairs = versions(digits).flat_map(|version| senders(letters).map(move |sender| (version, sender)));
    pairs.filter_map(|(version, sender)| compare(oracle, version, sender, &bytes)).collect()
}

#[test]
fn every_listed_fault_is_one() {
    for (rule, oracles, examples) in LENIENT {
        for &oracle in *oracles {
            let shown = examples.iter().flat_map(|&example| differences(oracle, example)).any(
                |(_, difference)| matches!(difference, Difference::Lenient(error) if error.to_string().contains(rule)),
            );
            assert!(shown, "{oracle:?} keeps {rule}: take it off the list");
        }
    }
    for &(oracle, what, example, is) in REFUSED {
        let shown = differences(oracle, example)
            .iter()
            .any(|(version, found)| matches!(found, Difference::Strict(packet, _) if is(*version, packet)));
        assert!(shown, "{oracle:?} accepts {what}: take it off the list");
    }
    for &(oracle, what, example, is) in CHANGED {
        let shown = differences(oracle, example)
            .iter()
            .any(|(version, found)| matches!(found, Difference::Changed(packet, _) if is(*version, packet)));
        assert!(shown, "{oracle:?} gets {what} right: take it off the list");
    }
}
