//! SUBSCRIBE (§3.8), SUBACK (§3.9), UNSUBSCRIBE (§3.10), UNSUBACK (§3.11), topic filters (§4.7, §4.8.2).

use Reason::{MalformedPacket as Malformed, ProtocolError as Protocol, TopicFilterInvalid as Filter};
use causeway_mqtt::codec::{
    Error, FilterOptions, Packet, PacketId, Properties, Qos, Reason, RetainHandling, Sender, SubAck, Subscribe,
    Unsubscribe, Version,
};

use super::connect::ILL_FORMED;
use super::{accept, accept_bytes, packet, refuse, refuse_bytes};

#[test]
fn subscribe_and_unsubscribe_that_are_incomplete_or_reserved_are_refused() {
    let table = [
        ("345", "c", "82", Malformed, "ends before"),
        ("345", "c", "82 00", Malformed, "ends before"),
        ("345", "c", "82 0000", Protocol, "MQTT-2.2.1-3"),
        ("34", "c", "82 0001", Protocol, "MQTT-3.8.3-2"),
        ("5", "c", "82 0001 []", Protocol, "MQTT-3.8.3-2"),
        ("5", "c", "82 0001", Malformed, "ends before"),
        ("34", "c", "82 0001 <a>", Malformed, "ends before"),
        ("5", "c", "82 0001 [] <a>", Malformed, "ends before"),
        ("34", "c", "82 0001 <a> 00 <b>", Malformed, "ends before"),
        ("34", "c", "82 0001 <a> 00 0002 'b'", Malformed, "ends before"),
        ("34", "c", "82 0001 <a> 00 00", Malformed, "ends before"),
        ("34", "c", "82 0001 <a> 03", Protocol, "QoS 3"),
        ("5", "c", "82 0001 [] <a> 03", Protocol, "QoS 3"),
        ("34", "c", "82 0001 <a> 00 <b> 03", Protocol, "QoS 3"),
        ("4", "c", "82 0001 <a> 04", Malformed, "MQTT-3.8.3-5"),
        ("4", "c", "82 0001 <a> 08", Malformed, "MQTT-3.8.3-5"),
        ("4", "c", "82 0001 <a> 10", Malformed, "MQTT-3.8.3-5"),
        ("4", "c", "82 0001 <a> 80", Malformed, "MQTT-3.8.3-5"),
        ("5", "c", "82 0001 [] <a> 40", Malformed, "MQTT-3.8.3-5"),
        ("5", "c", "82 0001 [] <a> 80", Malformed, "MQTT-3.8.3-5"),
        ("5", "c", "82 0001 [] <a> c0", Malformed, "MQTT-3.8.3-5"),
        ("5", "c", "82 0001 [] <a> 30", Protocol, "retain handling 3"),
        ("5", "c", "82 0001 [] <$share/g/a> 04", Protocol, "MQTT-3.8.3-4"),
        ("5", "c", "82 0001 [0b 00] <a> 00", Protocol, "may not be 0"),
        ("5", "c", "82 0001 [0b 01 0b 02] <a> 00", Protocol, "twice"),
        ("5", "c", "82 0001 [0b ffffffff7f] <a> 00", Malformed, "more than four"),
        ("5", "c", "82 0001 [1f <why>] <a> 00", Malformed, "no place"),
        ("345", "c", "a2", Malformed, "ends before"),
        ("345", "c", "a2 0000", Protocol, "MQTT-2.2.1-3"),
        ("34", "c", "a2 0001", Protocol, "MQTT-3.10.3-2"),
        ("5", "c", "a2 0001 []", Protocol, "MQTT-3.10.3-2"),
        ("34", "c", "a2 0001 <a> 00", Malformed, "ends before"),
        ("34", "c", "a2 0001 <a> 0002 'b'", Malformed, "ends before"),
        ("5", "c", "a2 0001 [0b 01] <a>", Malformed, "no place"),
        ("5", "c", "a2 0001 [1f <why>] <a>", Malformed, "no place"),
    ];
    assert_eq!(refuse(&table), 5 * 3 + 10 * 2 + 20);
}

const BAD: [(&str, &str); 12] = [
    ("<>", "MQTT-4.7.3-1"),
    ("<a#>", "MQTT-4.7.1-1"),
    ("<#a>", "MQTT-4.7.1-1"),
    ("<a/#/b>", "MQTT-4.7.1-1"),
    ("<#/>", "MQTT-4.7.1-1"),
    ("<##>", "MQTT-4.7.1-1"),
    ("<a/b#>", "MQTT-4.7.1-1"),
    ("<a+>", "MQTT-4.7.1-2"),
    ("<+a>", "MQTT-4.7.1-2"),
    ("<++>", "MQTT-4.7.1-2"),
    ("<a/+b/c>", "MQTT-4.7.1-2"),
    ("<+#>", "MQTT-4.7.1-1"),
];

const BAD_SHARED: [(&str, &str); 9] = [
    ("<$share/>", "MQTT-4.8.2-2"),
    ("<$share/g>", "MQTT-4.8.2-2"),
    ("<$share//a>", "MQTT-4.8.2-1"),
    ("<$share/+/a>", "MQTT-4.8.2-2"),
    ("<$share/#/a>", "MQTT-4.8.2-2"),
    ("<$share/a+/a>", "MQTT-4.8.2-2"),
    ("<$share/g/>", "MQTT-4.7.3-1"),
    ("<$share/g/a#>", "MQTT-4.7.1-1"),
    ("<$share/g/+a>", "MQTT-4.7.1-2"),
];

const GOOD: [&str; 18] = [
    "<a>",
    "<#>",
    "<+>",
    "</>",
    "<//>",
    "<+/+>",
    "</+>",
    "<+/>",
    "<a/#>",
    "<a/+/b/#>",
    "< >",
    "<$SYS/#>",
    "<$share>",
    "<$shared/#>",
    "<$share/g/a>",
    "<$share/g/#>",
    "<$share/g//>",
    "<$share/g/$SYS/+>",
];

#[test]
fn topic_filters_follow_their_grammar() {
    for version in Version::ALL {
        let properties = if version.is_v5() { "[]" } else { "" };
        let both = |filter: &str| {
            let subscribe = packet(&format!("82 0001 {properties} <ok> 00 {filter} 01"));
            let unsubscribe = packet(&format!("a2 0001 {properties} <ok> {filter}"));
            [subscribe, unsubscribe]
        };
        let refuse = |filter: &str, reason, why| {
            for bytes in both(filter) {
                refuse_bytes(version, Sender::Client, &bytes, reason, why);
            }
        };
        for (filter, why) in BAD {
            refuse(filter, Filter, why);
        }
        // Before 5.0 these are plain filters, right or wrong.
        for (filter, why) in BAD_SHARED.into_iter().filter(|_| version.is_v5()) {
            refuse(filter, Filter, why);
        }
        for (string, why) in ILL_FORMED {
            refuse(string, Malformed, why);
        }
        for filter in GOOD {
            for bytes in both(filter) {
                accept_bytes(version, Sender::Client, &bytes);
            }
        }
    }
}

#[test]
fn what_the_specification_allows_in_subscribe_is_accepted() {
    let accepted = [
        ("34", "c", "82 0001 <a> 00"),
        ("34", "c", "82 ffff <a> 01 <a> 02 <a> 00"),
        ("3", "c", "82 0001 <a> fd"),
        ("3", "c", "8a 0001 <a> 00"),
        ("3", "c", "aa 0001 <a>"),
        ("3", "c", "6a 0001"),
        ("5", "c", "82 0001 [] <a> 00"),
        ("5", "c", "82 0001 [0b 01] <a> 2e <#> 1c <$share/g/a> 2a"),
        ("5", "c", "82 0001 [0b ffffff7f 26 <k> <v> 26 <k> <v>] <a> 02"),
        ("34", "c", "a2 0001 <a> <a> <b/#>"),
        ("5", "c", "a2 0001 [26 <k> <v>] <a>"),
    ];
    assert_eq!(accept(&accepted), 14);
}

#[test]
fn suback_and_unsuback_tables() {
    let table = [
        ("34", "s", "90 0001", Protocol, "no reason"),
        ("5", "s", "90 0001 []", Protocol, "no reason"),
        ("5", "s", "90 0001", Malformed, "ends before"),
        ("345", "s", "90 0000", Protocol, "MQTT-2.2.1-3"),
        ("34", "s", "90 0001 03", Malformed, "unknown"),
        ("34", "s", "90 0001 00 81", Protocol, "no place"),
        ("34", "s", "90 0001 87", Malformed, "reserved"),
        ("5", "s", "90 0001 [] 03", Malformed, "unknown"),
        ("5", "s", "90 0001 [] 04", Protocol, "no place"),
        ("5", "s", "90 0001 [0b 01] 00", Malformed, "no place"),
        ("34", "s", "b0", Malformed, "ends before"),
        ("34", "s", "b0 0000", Protocol, "MQTT-2.2.1-3"),
        ("34", "s", "b0 0001 00", Malformed, "after the last"),
        ("5", "s", "b0 0001", Malformed, "ends before"),
        ("5", "s", "b0 0001 []", Protocol, "no reason"),
        ("5", "s", "b0 0001 [] 01", Protocol, "no place"),
        ("5", "s", "b0 0001 [] 80 ff", Malformed, "unknown"),
    ];
    assert_eq!(refuse(&table), 3 + 7 * 2 + 9);
    let accepted = [
        ("34", "s", "90 0001 00 01 02 80"),
        ("5", "s", "90 0001 [1f <why> 26 <k> <v>] 00 01 02 80 83 87 8f 91 97 9e a1 a2"),
        ("34", "s", "b0 0001"),
        ("5", "s", "b0 0001 [1f <why> 26 <k> <v>] 00 11 80 83 87 8f 91"),
    ];
    assert_eq!(accept(&accepted), 6);
}

#[test]
fn a_subscribe_says_what_its_fields_are() {
    let bytes = packet("82 0007 [0b 80 01] <a/+> 2e <$share/g/b> 19");
    let Packet::Subscribe(subscribe) = accept_bytes(Version::V5, Sender::Client, &bytes) else { panic!("SUBSCRIBE") };
    assert_eq!(subscribe.pid.get(), 7);
    assert_eq!(subscribe.properties.subscription_identifier(), Some(128));
    let first = FilterOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Skip,
    };
    let second = FilterOptions {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    };
    let filters = subscribe.filters().collect::<Vec<_>>();
    assert_eq!(filters, [("a/+".into(), first), ("$share/g/b".into(), second)]);
    // 3.1 ignores the reserved bits of the options, and they are gone afterwards.
    let bytes = packet("82 0007 <a> fd");
    let Packet::Subscribe(subscribe) = accept_bytes(Version::V31, Sender::Client, &bytes) else { panic!("SUBSCRIBE") };
    assert_eq!(subscribe.filters().collect::<Vec<_>>(), [("a".into(), FilterOptions::at(Qos::AtLeastOnce))]);
}

#[test]
fn an_encoder_refuses_what_a_decoder_would() {
    let pid = PacketId::MIN;
    let encode = |version, packet: Packet| packet.encode(version, &mut bytes::BytesMut::new());
    let subscribe =
        |filter: &str, options| Packet::Subscribe(Subscribe::new(pid, Properties::EMPTY, [(filter, options)]).unwrap());
    let plain = FilterOptions::at(Qos::AtMostOnce);
    for version in Version::ALL {
        assert!(encode(version, subscribe("a", plain)).is_ok());
        assert!(matches!(encode(version, subscribe("a#", plain)), Err(Error::TopicFilter { .. })));
        let none = Packet::Subscribe(Subscribe::new(pid, Properties::EMPTY, []).unwrap());
        assert!(matches!(encode(version, none), Err(Error::Protocol { .. })));
        let none = Packet::Unsubscribe(Unsubscribe::new(pid, Properties::EMPTY, []).unwrap());
        assert!(matches!(encode(version, none), Err(Error::Protocol { .. })));
        let none = SubAck { pid, reasons: Vec::new(), properties: Properties::EMPTY };
        assert!(matches!(encode(version, Packet::SubAck(none)), Err(Error::Protocol { .. })));
        let no_local = FilterOptions { no_local: true, ..plain };
        assert_eq!(encode(version, subscribe("a", no_local)).is_ok(), version.is_v5());
        assert!(encode(version, subscribe("$share/g/a", no_local)).is_err());
        let denied = SubAck { pid, reasons: vec![Reason::NotAuthorized], properties: Properties::EMPTY };
        assert_eq!(encode(version, Packet::SubAck(denied)).is_ok(), version.is_v5());
        let denied = vec![Reason::NotAuthorized.for_suback(version)];
        let denied = SubAck { pid, reasons: denied, properties: Properties::EMPTY };
        assert!(encode(version, Packet::SubAck(denied)).is_ok());
    }
    let long = "f".repeat(65_536);
    assert!(matches!(Subscribe::new(pid, Properties::EMPTY, [(&*long, plain)]), Err(Error::TooLong { .. })));
    assert!(matches!(Unsubscribe::new(pid, Properties::EMPTY, [&*long]), Err(Error::TooLong { .. })));
}
