//! CONNECT (§3.1), CONNACK (§3.2), DISCONNECT (§3.14), AUTH (§3.15).

use Reason::{
    ClientIdentifierNotValid as Id, MalformedPacket as Malformed, ProtocolError as Protocol, TopicNameInvalid as Topic,
    UnsupportedProtocolVersion as Level,
};
use causeway_mqtt::codec::{Connect, Decoder, Error, Limits, Packet, Reason, Sender, Version};

use super::{accept, accept_bytes, packet, raw, refuse, refuse_bytes};

#[test]
fn connect_for_a_protocol_or_level_that_is_not_ours_is_refused() {
    let mut table = vec![
        ("5", "c", "10 <MQTt> 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <mqtt> 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <MQT> 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <MQTTT> 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <> 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <MQIsdp2> 03 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <MQISDP> 03 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 0004 ff515454 04 02 003c <id>", Level, "protocol name"),
        ("5", "c", "10 <MQIsdp> 04 02 003c <id>", Level, "level 0x04"),
        ("5", "c", "10 <MQIsdp> 05 02 003c [] <id>", Level, "level 0x05"),
        ("5", "c", "10 <MQTT> 03 02 003c <id>", Level, "level 0x03"),
        ("5", "c", "10 <MQTT> 00 02 003c <id>", Level, "level 0x00"),
        ("5", "c", "10 <MQTT> 06 02 003c [] <id>", Level, "level 0x06"),
        ("5", "c", "10 <MQTT> 83 02 003c <id>", Level, "level 0x83"),
        ("5", "c", "10 <MQTT> 84 02 003c <id>", Level, "level 0x84"),
        ("5", "c", "10 <MQTT> ff 02 003c <id>", Level, "level 0xff"),
    ];
    table.extend([("5", "c", "10", Malformed, "ends before"), ("5", "c", "10 00", Malformed, "ends before")]);
    table.extend([
        ("5", "c", "10 0004 'MQT'", Malformed, "ends before"),
        ("5", "c", "10 <MQTT>", Malformed, "ends before"),
    ]);
    assert_eq!(refuse(&table), table.len());
}

#[test]
fn the_answer_to_a_level_that_is_not_ours_is_in_the_nearest_version() {
    let answer = |notation| {
        let mut decoder = Decoder::server(Limits::packet(100));
        let error = decoder.decode(&mut packet(notation).as_slice().into()).unwrap_err();
        (decoder.version(), error.answered_before_v5())
    };
    assert_eq!(answer("10 <MQTT> 03 02 003c <id>"), (Some(Version::V311), true));
    assert_eq!(answer("10 <MQTT> 84 02 003c <id>"), (Some(Version::V311), true), "a bridge falls back on code 1");
    assert_eq!(answer("10 <MQTT> 06 02 003c [] <id>"), (Some(Version::V5), true));
    assert_eq!(answer("10 <MQTt> 04 02 003c <id>"), (None, false));
    // Malformed after the level: 5.0 may say so in a CONNACK, 3.x may not.
    assert_eq!(answer("10 <MQTT> 05 03 003c [] <id>"), (Some(Version::V5), false));
    assert_eq!(answer("10 <MQTT> 04 03 003c <id>"), (Some(Version::V311), false));
    assert_eq!(answer("10 <MQTT> 04 00 003c <>"), (Some(Version::V311), true));
}

#[test]
fn connect_with_wrong_flags_is_refused() {
    let table = [
        ("5", "c", "10 <MQTT> 04 03 003c <id>", Malformed, "MQTT-3.1.2-3"),
        ("5", "c", "10 <MQTT> 05 03 003c [] <id>", Malformed, "MQTT-3.1.2-3"),
        ("5", "c", "10 <MQTT> 04 0a 003c <id>", Malformed, "MQTT-3.1.2-11"),
        ("5", "c", "10 <MQTT> 05 0a 003c [] <id>", Malformed, "MQTT-3.1.2-11"),
        ("5", "c", "10 <MQTT> 04 12 003c <id>", Malformed, "MQTT-3.1.2-11"),
        ("5", "c", "10 <MQTT> 05 12 003c [] <id>", Malformed, "MQTT-3.1.2-11"),
        ("5", "c", "10 <MQTT> 04 1a 003c <id>", Malformed, "MQTT-3.1.2-11"),
        ("5", "c", "10 <MQTT> 04 22 003c <id>", Malformed, "MQTT-3.1.2-13"),
        ("5", "c", "10 <MQTT> 05 22 003c [] <id>", Malformed, "MQTT-3.1.2-13"),
        ("5", "c", "10 <MQTT> 04 1e 003c <id> <w> <m>", Malformed, "MQTT-3.1.2-12"),
        ("5", "c", "10 <MQTT> 05 1e 003c [] <id> [] <w> <m>", Malformed, "MQTT-3.1.2-12"),
        ("5", "c", "10 <MQIsdp> 03 1e 003c <id> <w> <m>", Malformed, "MQTT-3.1.2-12"),
        ("5", "c", "10 <MQTT> 04 42 003c <id> <pw>", Malformed, "MQTT-3.1.2-22"),
        ("5", "c", "10 <MQIsdp> 03 42 003c <id> <pw>", Malformed, "MQTT-3.1.2-22"),
    ];
    assert_eq!(refuse(&table), table.len());
}

#[test]
fn connect_whose_payload_is_not_what_its_flags_say_is_refused() {
    let table = [
        ("5", "c", "10 <MQTT> 04", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02 00", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02 003c", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02 003c 00", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 'id'", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 02 003c <id> 00", Malformed, "after the last"),
        ("5", "c", "10 <MQTT> 04 02 003c <id> <user>", Malformed, "after the last"),
        ("5", "c", "10 <MQTT> 04 82 003c <id>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 c2 003c <id> <user>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 c2 003c <id> <user> 0003 'pw'", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 82 003c <id> <user> <pw>", Malformed, "after the last"),
        ("5", "c", "10 <MQTT> 04 06 003c <id>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> <w>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> <> <m>", Topic, "MQTT-4.7.3-1"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> <w/#> <m>", Topic, "MQTT-3.3.2-2"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> <+/w> <m>", Topic, "MQTT-3.3.2-2"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> 0002 7700 <m>", Malformed, "U+0000"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> 0001 ff <m>", Malformed, "UTF-8"),
        ("5", "c", "10 <MQTT> 05 02 003c", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 02 003c []", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 02 003c [] <id> 00", Malformed, "after the last"),
        ("5", "c", "10 <MQTT> 05 82 003c [] <id>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 42 003c [] <id>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> []", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> [] <w>", Malformed, "ends before"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> [] <> <m>", Topic, "MQTT-4.7.3-1"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> [] <#> <m>", Topic, "MQTT-3.3.2-2"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> [] <a+b> <m>", Topic, "MQTT-3.3.2-2"),
        ("5", "c", "10 <MQTT> 05 02 003c [16 <data>] <id>", Protocol, "without a method"),
        ("5", "c", "10 <MQTT> 05 02 003c 01 <id>", Malformed, ""),
        ("5", "c", "10 <MQTT> 05 02 003c ff <id>", Malformed, ""),
        ("5", "c", "10 <MQTT> 05 02 003c 8000 <id>", Malformed, "longer than needed"),
    ];
    assert_eq!(refuse(&table), table.len());
}

#[test]
fn client_identifiers_that_a_3x_server_rejects_are_told_apart_from_malformed_packets() {
    let table = [
        ("5", "c", "10 <MQTT> 04 00 003c <>", Id, "MQTT-3.1.3-8"),
        ("5", "c", "10 <MQIsdp> 03 02 003c <>", Id, "1 to 23"),
        ("5", "c", "10 <MQIsdp> 03 02 003c <123456789012345678901234>", Id, "1 to 23"),
    ];
    assert_eq!(refuse(&table), table.len());
}

/// Ill-formed strings (§1.5.4): as client id, user name, will topic, and as a topic elsewhere.
pub(super) const ILL_FORMED: [(&str, &str); 19] = [
    ("0001 00", "U+0000"),
    ("0003 610062", "U+0000"),
    ("0001 80", "UTF-8"),
    ("0001 bf", "UTF-8"),
    ("0001 c3", "UTF-8"),
    ("0001 ff", "UTF-8"),
    ("0001 fe", "UTF-8"),
    ("0002 c328", "UTF-8"),
    ("0002 c080", "UTF-8"),
    ("0002 c0af", "UTF-8"),
    ("0002 c1bf", "UTF-8"),
    ("0002 e282", "UTF-8"),
    ("0003 e08080", "UTF-8"),
    ("0003 eda080", "UTF-8"),       // U+D800
    ("0003 edbfbf", "UTF-8"),       // U+DFFF
    ("0006 eda0bdedb880", "UTF-8"), // a surrogate pair as CESU-8 writes it
    ("0004 f0808080", "UTF-8"),
    ("0004 f4908080", "UTF-8"), // above U+10FFFF
    ("0005 f888808080", "UTF-8"),
];

#[test]
fn ill_formed_strings_are_refused_wherever_they_stand() {
    for (string, why) in ILL_FORMED {
        for notation in [
            format!("10 <MQTT> 04 02 003c {string}"),
            format!("10 <MQIsdp> 03 02 003c {string}"),
            format!("10 <MQTT> 05 02 003c [] {string}"),
            format!("10 <MQTT> 04 82 003c <id> {string}"),
            format!("10 <MQTT> 05 82 003c [] <id> {string}"),
            format!("10 <MQTT> 04 06 003c <id> {string} <m>"),
            format!("10 <MQTT> 05 06 003c [] <id> [] {string} <m>"),
            format!("10 <MQTT> 05 02 003c [15 {string}] <id>"),
            format!("10 <MQTT> 05 02 003c [26 {string} <v>] <id>"),
            format!("10 <MQTT> 05 02 003c [26 <k> {string}] <id>"),
            format!("10 <MQTT> 05 06 003c [] <id> [03 {string}] <w> <m>"),
        ] {
            refuse_bytes(Version::V5, Sender::Client, &packet(&notation), Malformed, why);
        }
    }
}

#[test]
fn what_the_specification_allows_in_connect_is_accepted() {
    let table = [
        // 3.1.1
        ("5", "c", "10 <MQTT> 04 02 0000 <>"),
        ("5", "c", "10 <MQTT> 04 00 ffff <id>"),
        ("5", "c", "10 <MQTT> 04 02 003c <a client id of more than twenty-three characters>"),
        ("5", "c", "10 <MQTT> 04 82 003c <id> <>"),
        ("5", "c", "10 <MQTT> 04 c2 003c <id> <user> <>"),
        ("5", "c", "10 <MQTT> 04 c2 003c <id> <user> 0003 ff00fe"),
        ("5", "c", "10 <MQTT> 04 06 003c <id> <w> <>"),
        ("5", "c", "10 <MQTT> 04 0e 003c <id> <w> 0002 00ff"),
        ("5", "c", "10 <MQTT> 04 f6 003c <id> <w/x> <m> <user> <pw>"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 efbbbf"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 efbfbf"),
        ("5", "c", "10 <MQTT> 04 02 003c 0004 f48fbfbf"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 ed9fbf"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 ee8080"),
        ("5", "c", "10 <MQTT> 04 02 003c 0003 017f1f"),
        // 3.1
        ("5", "c", "10 <MQIsdp> 03 02 003c <i>"),
        ("5", "c", "10 <MQIsdp> 03 02 003c <12345678901234567890123>"),
        ("5", "c", "10 <MQIsdp> 03 03 003c <id>"),
        ("5", "c", "10 <MQIsdp> 03 3a 003c <id>"),
        ("5", "c", "1f <MQIsdp> 03 02 003c <id>"),
        ("5", "c", "10 <MQIsdp> 03 82 003c <id>"),
        ("5", "c", "10 <MQIsdp> 03 c2 003c <id>"),
        ("5", "c", "10 <MQIsdp> 03 c2 003c <id> <user>"),
        ("5", "c", "10 <MQIsdp> 03 c6 003c <id> <w> <m> <user> <pw>"),
        // 5.0
        ("5", "c", "10 <MQTT> 05 00 003c [] <>"),
        ("5", "c", "10 <MQTT> 05 02 003c [] <>"),
        ("5", "c", "10 <MQTT> 05 42 003c [] <id> <pw>"),
        ("5", "c", "10 <MQTT> 05 c2 003c [] <id> <> <>"),
        ("5", "c", "10 <MQTT> 05 02 003c [11 00000000] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [11 ffffffff] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [21 0001] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [27 00000001] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [22 0000] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [19 00 17 01] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [15 <m>] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [16 <d> 15 <m>] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [15 <> 16 <>] <id>"),
        ("5", "c", "10 <MQTT> 05 02 003c [26 <k> <v> 26 <k> <v> 26 <> <>] <id>"),
        ("5", "c", "10 <MQTT> 05 06 003c [] <id> [18 00000000 02 00000000 01 00] <w> <>"),
        ("5", "c", "10 <MQTT> 05 36 003c [] <id> [01 01 03 <t> 08 <r> 09 <c> 26 <k> <v>] <w> <m>"),
    ];
    assert_eq!(accept(&table), table.len());
}

#[test]
fn connack_tables() {
    let mut table = vec![
        ("34", "s", "20", Malformed, "ends before"),
        ("34", "s", "20 00", Malformed, "ends before"),
        ("34", "s", "20 00 00 00", Malformed, "after the last"),
        ("4", "s", "20 01 01", Protocol, "MQTT-3.2.2-6"),
        ("4", "s", "20 01 05", Protocol, "MQTT-3.2.2-6"),
        ("5", "s", "20 01 87 []", Protocol, "MQTT-3.2.2-6"),
        ("4", "s", "20 02 00", Malformed, "MQTT-3.2.2-1"),
        ("4", "s", "20 80 00", Malformed, "MQTT-3.2.2-1"),
        ("5", "s", "20 02 00 []", Malformed, "MQTT-3.2.2-1"),
        ("5", "s", "20 fe 00 []", Malformed, "MQTT-3.2.2-1"),
        ("5", "s", "20 00 00", Malformed, "ends before"),
        ("5", "s", "20 00 00 [] 00", Malformed, "after the last"),
        ("5", "s", "20 00 00 01", Malformed, "ends before"),
        ("5", "s", "20 00 00 [21 0000]", Protocol, "may not be 0"),
        ("5", "s", "20 00 00 [27 00000000]", Protocol, "may not be 0"),
        ("5", "s", "20 00 00 [24 02]", Protocol, "0 or 1"),
    ];
    table.extend(
        ["20 00 06", "20 00 07", "20 00 7f", "20 00 80", "20 00 ff"].map(|p| ("34", "s", p, Malformed, "reserved")),
    );
    assert_eq!(refuse(&table), 16 + 3 + 5 * 2);
    let accepted = [
        ("34", "s", "20 00 00"),
        ("3", "s", "20 ff 00"),
        ("4", "s", "20 01 00"),
        ("34", "s", "20 00 01"),
        ("34", "s", "20 00 02"),
        ("34", "s", "20 00 03"),
        ("34", "s", "20 00 04"),
        ("34", "s", "20 00 05"),
        ("5", "s", "20 01 00 []"),
        ("5", "s", "20 00 00 [16 <d>]"),
        ("5", "s", "20 00 00 [12 <id> 13 0000 1a <r> 1c <s> 1f <w> 24 01 25 00 28 00 29 01 2a 00 22 ffff]"),
    ];
    assert_eq!(accept(&accepted), 17);
}

#[test]
fn disconnect_and_auth_tables() {
    let table = [
        ("5", "s", "e0", Protocol, "no place"),
        ("5", "s", "e0 00", Protocol, "no place"),
        ("5", "s", "e0 04", Protocol, "no place"),
        ("5", "c", "e0 8b", Protocol, "no place"),
        ("5", "cs", "e0 01", Protocol, "no place"),
        ("5", "cs", "e0 03", Malformed, "unknown reason"),
        ("5", "cs", "e0 ff", Malformed, "unknown reason"),
        ("5", "c", "e0 00 [] 00", Malformed, "after the last"),
        ("5", "c", "e0 00 01", Malformed, "ends before"),
        ("5", "s", "e0 81 [11 00000000]", Protocol, "MQTT-3.14.2-2"),
        ("5", "c", "f0", Protocol, "no place"),
        ("5", "c", "f0 00 [15 <m>]", Protocol, "no place"),
        ("5", "s", "f0 19 [15 <m>]", Protocol, "no place"),
        ("5", "cs", "f0 18", Malformed, "ends before"),
        ("5", "cs", "f0 18 []", Protocol, "method"),
        ("5", "cs", "f0 18 [16 <d>]", Protocol, "method"),
        ("5", "s", "f0 00 [1f <why>]", Protocol, "method"),
        ("5", "s", "f0 00", Malformed, "ends before"),
        ("5", "cs", "f0 18 [15 <m> 15 <m>]", Protocol, "twice"),
        ("5", "cs", "f0 18 [15 <m>] 00", Malformed, "after the last"),
        ("5", "cs", "f0 02 [15 <m>]", Protocol, "no place"),
        ("5", "cs", "f0 05 [15 <m>]", Malformed, "unknown reason"),
    ];
    assert_eq!(refuse(&table), table.len() + 10);
    let accepted = [
        ("34", "c", "e0"),
        ("5", "c", "e0"),
        ("5", "c", "e0 00"),
        ("5", "c", "e0 04"),
        ("5", "c", "e0 00 []"),
        ("5", "c", "e0 00 [11 ffffffff]"),
        ("5", "cs", "e0 81 [1f <why> 26 <k> <v>]"),
        ("5", "s", "e0 9d [1c <other:1883>]"),
        ("5", "s", "f0"),
        ("5", "s", "f0 00 []"),
        ("5", "s", "f0 00 [15 <m>]"),
        ("5", "c", "f0 19 [15 <m>]"),
        ("5", "cs", "f0 18 [15 <m> 16 <d> 1f <why> 26 <k> <v>]"),
    ];
    assert_eq!(accept(&accepted), 16);
}

#[test]
fn an_encoder_refuses_what_a_decoder_would() {
    let encode =
        |version, connect: Connect| Packet::Connect(Box::new(connect)).encode(version, &mut bytes::BytesMut::new());
    let base = |version| Connect::new(version, "id");
    for version in Version::ALL {
        for other in Version::ALL {
            assert_eq!(encode(other, base(version)).is_ok(), version == other);
        }
    }
    assert!(matches!(encode(Version::V31, Connect::new(Version::V31, "")), Err(Error::ClientId { .. })));
    let empty = Connect { clean_start: false, ..Connect::new(Version::V311, "") };
    assert!(matches!(encode(Version::V311, empty.clone()), Err(Error::ClientId { .. })));
    assert!(encode(Version::V5, Connect { version: Version::V5, ..empty }).is_ok());
    let password = |version| Connect { password: Some("pw".into()), ..base(version) };
    assert!(matches!(encode(Version::V311, password(Version::V311)), Err(Error::NotInVersion { .. })));
    assert!(encode(Version::V5, password(Version::V5)).is_ok());
    let long = |len| Connect { user_name: Some("u".repeat(len).into()), ..base(Version::V5) };
    assert!(encode(Version::V5, long(65_535)).is_ok());
    assert!(matches!(encode(Version::V5, long(65_536)), Err(Error::TooLong { len: 65_536, max: 65_535, .. })));
    let nul = Connect { user_name: Some("a\0b".into()), ..base(Version::V5) };
    assert!(matches!(encode(Version::V5, nul), Err(Error::Malformed { .. })));
}

#[test]
fn a_connect_says_what_its_fields_are() {
    let bytes = packet("10 <MQTT> 05 f6 000a [11 00000005] <me> [18 00000007] <w/t> <gone> <user> <pw>");
    let Packet::Connect(connect) = accept_bytes(Version::V5, Sender::Client, &bytes) else { panic!("a CONNECT") };
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive), (Version::V5, true, 10));
    assert_eq!(connect.properties.session_expiry_interval(), Some(5));
    assert_eq!(&*connect.client_id, "me");
    let will = connect.will.unwrap();
    assert_eq!((will.qos.number(), will.retain, &*will.topic), (2, true, "w/t"));
    assert_eq!(will.properties.will_delay_interval(), Some(7));
    assert_eq!(will.payload, raw("'gone'"));
    assert_eq!(connect.user_name.as_deref(), Some("user"));
    assert_eq!(connect.password, Some("pw".into()));
}
