//! PUBLISH (§3.3) and its acknowledgements (§3.4 to §3.7).

use Reason::{
    MalformedPacket as Malformed, ProtocolError as Protocol, TopicAliasInvalid as Alias, TopicNameInvalid as Topic,
};
use causeway_mqtt::codec::{Ack, Error, Packet, PacketId, Properties, Publish, Qos, Reason, Sender, Version};

use super::connect::ILL_FORMED;
use super::{accept, accept_bytes, packet, refuse, refuse_bytes};

#[test]
fn publish_with_wrong_flags_or_packet_id_is_refused() {
    let table = [
        ("34", "cs", "36 <a> 0001", Malformed, "MQTT-3.3.1-4"),
        ("34", "cs", "37 <a> 0001", Malformed, "MQTT-3.3.1-4"),
        ("34", "cs", "3e <a> 0001", Malformed, "MQTT-3.3.1-4"),
        ("5", "cs", "36 <a> 0001 []", Malformed, "MQTT-3.3.1-4"),
        ("5", "cs", "3f <a> 0001 []", Malformed, "MQTT-3.3.1-4"),
        ("4", "cs", "38 <a>", Malformed, "MQTT-3.3.1-2"),
        ("4", "cs", "39 <a>", Malformed, "MQTT-3.3.1-2"),
        ("5", "cs", "38 <a> []", Malformed, "MQTT-3.3.1-2"),
        ("34", "cs", "32 <a> 0000", Protocol, "MQTT-2.2.1-3"),
        ("34", "cs", "34 <a> 0000", Protocol, "MQTT-2.2.1-3"),
        ("5", "cs", "32 <a> 0000 []", Protocol, "MQTT-2.2.1-3"),
        ("5", "cs", "3c <a> 0000 []", Protocol, "MQTT-2.2.1-3"),
        ("34", "cs", "32 <a>", Malformed, "ends before"),
        ("34", "cs", "32 <a> 00", Malformed, "ends before"),
        ("5", "cs", "32 <a> 00", Malformed, "ends before"),
        ("5", "cs", "32 <a> 0001", Malformed, "ends before"),
        ("5", "cs", "30 <a>", Malformed, "ends before"),
        ("345", "cs", "30", Malformed, "ends before"),
        ("345", "cs", "30 00", Malformed, "ends before"),
        ("345", "cs", "30 0002 'a'", Malformed, "ends before"),
        ("345", "cs", "30 ffff 'a'", Malformed, "ends before"),
    ];
    assert_eq!(refuse(&table), 72);
}

#[test]
fn publish_to_a_name_that_is_none_is_refused() {
    let table = [
        ("34", "cs", "30 <> 'x'", Topic, "MQTT-4.7.3-1"),
        ("34", "cs", "30 <#> 'x'", Topic, "MQTT-3.3.2-2"),
        ("34", "cs", "30 <+> 'x'", Topic, "MQTT-3.3.2-2"),
        ("34", "cs", "30 <a/#> 'x'", Topic, "MQTT-3.3.2-2"),
        ("34", "cs", "32 <a/+/b> 0001 'x'", Topic, "MQTT-3.3.2-2"),
        ("34", "cs", "30 <a#b> 'x'", Topic, "MQTT-3.3.2-2"),
        ("5", "cs", "30 <a/#> [] 'x'", Topic, "MQTT-3.3.2-2"),
        ("5", "cs", "30 <a+> [] 'x'", Topic, "MQTT-3.3.2-2"),
        ("5", "cs", "30 <#> [23 0001] 'x'", Topic, "MQTT-3.3.2-2"),
        ("5", "cs", "30 <> [] 'x'", Protocol, "neither topic"),
        ("5", "cs", "30 <> [26 <k> <v>] 'x'", Protocol, "neither topic"),
        ("5", "cs", "30 <a> [23 0000] 'x'", Alias, "topic alias 0"),
        ("5", "cs", "30 <> [23 0000] 'x'", Alias, "topic alias 0"),
        ("5", "cs", "30 <a> [08 <>] 'x'", Topic, "MQTT-4.7.3-1"),
        ("5", "cs", "30 <a> [08 <r/#>] 'x'", Topic, "MQTT-3.3.2-14"),
        ("5", "cs", "30 <a> [08 <+>] 'x'", Topic, "MQTT-3.3.2-14"),
        ("5", "c", "30 <a> [0b 01] 'x'", Protocol, "MQTT-3.3.4-6"),
        ("5", "s", "30 <a> [0b 00] 'x'", Protocol, "may not be 0"),
        ("5", "s", "30 <a> [0b 8100] 'x'", Malformed, "longer than needed"),
        ("5", "s", "30 <a> [0b 8080808001] 'x'", Malformed, "more than four"),
        ("5", "cs", "30 <a> [01 02] 'x'", Protocol, "0 or 1"),
    ];
    assert_eq!(refuse(&table), 6 * 4 + 11 * 2 + 4);
    for (string, why) in ILL_FORMED {
        for version in Version::ALL {
            let properties = if version.is_v5() { "[]" } else { "" };
            let bytes = packet(&format!("30 {string} {properties} 'x'"));
            refuse_bytes(version, Sender::Client, &bytes, Malformed, why);
        }
    }
}

#[test]
fn what_the_specification_allows_in_publish_is_accepted() {
    let accepted = [
        ("34", "cs", "30 <a>"),
        ("3", "cs", "38 <a>"),
        ("34", "cs", "31 <a> 'x'"),
        ("34", "cs", "32 <a> ffff"),
        ("34", "cs", "3d <a> 0001 'x'"),
        ("34", "cs", "30 < > 'x'"),
        ("34", "cs", "30 </> 'x'"),
        ("34", "cs", "30 <//a//> 'x'"),
        ("34", "cs", "30 <$SYS/x> 'x'"),
        ("34", "cs", "30 <$share/g/t> 'x'"),
        ("34", "cs", "30 0003 efbbbf 'x'"),
        ("34", "cs", "30 0001 01 'x'"),
        ("34", "cs", "30 <a> 00ff00"),
        ("5", "cs", "30 <a> []"),
        ("5", "cs", "3b <a> 0001 [] 'x'"),
        ("5", "cs", "30 <> [23 0001] 'x'"),
        ("5", "cs", "30 <a> [23 ffff] 'x'"),
        ("5", "cs", "30 <a> [02 00000000] 'x'"),
        ("5", "cs", "30 <a> [01 01] ff"),
        ("5", "cs", "30 <a> [26 <k> <v> 01 00 26 <k> <v> 03 <> 09 <> 08 <r>] 'x'"),
        ("5", "s", "30 <a> [0b 01 0b ffffff7f 0b 01] 'x'"),
    ];
    assert_eq!(accept(&accepted), 2 + 12 * 4 + 7 * 2 + 1);
}

#[test]
fn a_publish_says_what_its_fields_are() {
    let bytes = packet("3b <a/b> 1234 [02 0000000a 26 <k> <v>] 'body'");
    let expected = Publish {
        dup: true,
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: "a/b".into(),
        pid: PacketId::new(0x1234),
        properties: Properties::EMPTY,
        payload: "body".into(),
    };
    let Packet::Publish(found) = accept_bytes(Version::V5, Sender::Client, &bytes) else { panic!("a PUBLISH") };
    assert_eq!(found.properties.message_expiry_interval(), Some(10));
    assert_eq!(found.properties.user_property(), Some(("k".into(), "v".into())));
    assert_eq!(Publish { properties: Properties::EMPTY, ..found }, expected);
}

#[test]
fn publishes_that_may_not_be_are_not_encoded() {
    let base = Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "a".into(),
        pid: Some(PacketId::MIN),
        properties: Properties::EMPTY,
        payload: "x".into(),
    };
    let encode = |version, publish: &Publish| {
        let mut out = bytes::BytesMut::new();
        let done = Packet::Publish(publish.clone()).encode(version, &mut out);
        assert!(done.is_ok() || out.is_empty());
        done
    };
    for version in Version::ALL {
        let refused = |publish: &Publish| encode(version, publish).unwrap_err();
        assert!(encode(version, &base).is_ok());
        assert!(matches!(refused(&Publish { pid: None, ..base.clone() }), Error::Protocol { .. }));
        assert!(matches!(refused(&Publish { qos: Qos::AtMostOnce, ..base.clone() }), Error::Protocol { .. }));
        let dup = Publish { qos: Qos::AtMostOnce, pid: None, dup: true, ..base.clone() };
        assert!(matches!(refused(&dup), Error::Malformed { .. }));
        for topic in ["a/+", "#", "a\0"] {
            refused(&Publish { topic: topic.into(), ..base.clone() });
        }
        refused(&Publish { topic: "".into(), ..base.clone() });
        let long = |len| Publish { topic: "t".repeat(len).into(), ..base.clone() };
        assert!(encode(version, &long(65_535)).is_ok());
        assert!(matches!(refused(&long(65_536)), Error::TooLong { .. }), "never cut");
    }
}

#[test]
fn acknowledgement_tables() {
    let mut refused = 0;
    let mut accepted = 0;
    for first in ["40", "50", "62", "70"] {
        let bad = [
            ("345", "", Malformed, "ends before"),
            ("345", "00", Malformed, "ends before"),
            ("345", "0000", Protocol, "MQTT-2.2.1-3"),
            ("34", "0001 00", Malformed, "after the last"),
            ("34", "0001 00 00", Malformed, "after the last"),
            ("5", "0001 00 01", Malformed, "ends before"),
            ("5", "0001 00 [] 00", Malformed, "after the last"),
            ("5", "0001 00 [] []", Malformed, "after the last"),
            ("5", "0001 00 [1f <a> 1f <a>]", Protocol, "twice"),
            ("5", "0001 00 [0b 01]", Malformed, "no place"),
            ("5", "0001 00 [1f 0003 'ab']", Malformed, "ends before"),
            ("5", "0001 00 8000", Malformed, "longer than needed"),
        ];
        for (digits, body, reason, why) in bad {
            let notation = format!("{first} {body}");
            for version in super::versions(digits) {
                for sender in [Sender::Client, Sender::Server] {
                    refuse_bytes(version, sender, &packet(&notation), reason, why);
                    refused += 1;
                }
            }
        }
        let good = [
            ("345", "0001"),
            ("345", "ffff"),
            ("5", "0001 00"),
            ("5", "0001 00 []"),
            ("5", "0001 00 [1f <why> 26 <k> <v> 26 <k> <v>]"),
        ];
        for (digits, body) in good {
            for version in super::versions(digits) {
                for sender in [Sender::Client, Sender::Server] {
                    accept_bytes(version, sender, &packet(&format!("{first} {body}")));
                    accepted += 1;
                }
            }
        }
    }
    assert_eq!((refused, accepted), (4 * 2 * (9 + 4 + 7), 4 * 2 * (6 + 3)));
}

#[test]
fn acknowledgements_are_as_short_as_they_can_be() {
    let pid = PacketId::new(1).unwrap();
    let bytes = |ack| {
        let mut out = bytes::BytesMut::new();
        Packet::PubAck(ack).encode(Version::V5, &mut out).unwrap();
        out.to_vec()
    };
    assert_eq!(bytes(Ack::success(pid)), packet("40 0001"));
    assert_eq!(bytes(Ack::new(pid, Reason::NoMatchingSubscribers)), packet("40 0001 10"));
    let error = Packet::PubAck(Ack::new(pid, Reason::QuotaExceeded)).encode(Version::V311, &mut bytes::BytesMut::new());
    assert!(matches!(error, Err(Error::NotInVersion { .. })), "3.1.1 cannot refuse a message");
}
