//! Properties (§2.2.2): each in each place, twice, cut short, and with values that it may not have.

use causeway_mqtt::codec::{Holder, Properties, Property, PropertyId, Reason, Sender, Version};

use super::{accept_bytes, packet, raw, refuse_bytes};

/// Table 2-4 written a second time: identifier, a valid value, the places (letters of [`PLACES`]).
const TABLE: [(&str, &str, &str); 27] = [
    ("01", "01", "WP"),
    ("02", "00000001", "WP"),
    ("03", "<t>", "WP"),
    ("08", "<r>", "WP"),
    ("09", "<d>", "WP"),
    ("0b", "80 01", "PS"),
    ("11", "00000001", "CKD"),
    ("12", "<id>", "K"),
    ("13", "0001", "K"),
    ("15", "<m>", "CKA"),
    ("16", "<d>", "CKA"),
    ("17", "01", "C"),
    ("18", "00000001", "W"),
    ("19", "01", "C"),
    ("1a", "<r>", "K"),
    ("1c", "<s>", "KD"),
    ("1f", "<why>", "K1234BVDA"),
    ("21", "0001", "CK"),
    ("22", "0001", "CK"),
    ("23", "0001", "P"),
    ("24", "01", "K"),
    ("25", "01", "K"),
    ("26", "<k> <v>", "CWKP1234SBUVDA"),
    ("27", "00000001", "CK"),
    ("28", "01", "K"),
    ("29", "01", "K"),
    ("2a", "01", "K"),
];

/// A letter, the holder, its sender, and a packet with `*` for the block's content. AUTH and CONNECT have the method that
/// authentication data need.
const PLACES: [(char, Holder, char, &str); 14] = [
    ('C', Holder::Connect, 'c', "10 <MQTT> 05 02 003c [*] <id>"),
    ('W', Holder::Will, 'c', "10 <MQTT> 05 06 003c [] <id> [*] <w> <m>"),
    ('K', Holder::ConnAck, 's', "20 00 00 [*]"),
    ('P', Holder::Publish, 's', "30 <a> [*] 'x'"),
    ('1', Holder::PubAck, 'c', "40 0001 00 [*]"),
    ('2', Holder::PubRec, 'c', "50 0001 00 [*]"),
    ('3', Holder::PubRel, 'c', "62 0001 00 [*]"),
    ('4', Holder::PubComp, 'c', "70 0001 00 [*]"),
    ('S', Holder::Subscribe, 'c', "82 0001 [*] <a> 00"),
    ('B', Holder::SubAck, 's', "90 0001 [*] 00"),
    ('U', Holder::Unsubscribe, 'c', "a2 0001 [*] <a>"),
    ('V', Holder::UnsubAck, 's', "b0 0001 [*] 00"),
    ('D', Holder::Disconnect, 'c', "e0 00 [*]"),
    ('A', Holder::Auth, 'c', "f0 18 [*]"),
];

fn sender(letter: char) -> Sender {
    if letter == 'c' { Sender::Client } else { Sender::Server }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// What must stand beside a property for the packet to be valid.
fn beside(letter: char, id: &str) -> &'static str {
    match (letter, id) {
        ('A', "15") => "",
        ('A', _) | ('C', "16") => "15 <m>",
        _ => "",
    }
}

#[test]
fn each_property_stands_where_table_2_4_puts_it_and_nowhere_else() {
    let (mut placed, mut misplaced) = (0, 0);
    for (id, value, places) in TABLE {
        for (letter, holder, from, notation) in PLACES {
            let block = format!("{} {id} {value}", beside(letter, id));
            let bytes = packet(&notation.replace('*', &block));
            let number = u8::from_str_radix(id, 16).unwrap();
            let takes = holder.takes(PropertyId::from_number(number).unwrap());
            assert_eq!(takes, places.contains(letter), "{id} in {holder:?}");
            if takes {
                accept_bytes(Version::V5, sender(from), &bytes);
                placed += 1;
            } else {
                refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "no place");
                misplaced += 1;
            }
        }
    }
    assert_eq!((placed, misplaced), (64, 27 * 14 - 64));
}

#[test]
fn unknown_identifiers_are_refused_everywhere() {
    for (letter, _, from, notation) in PLACES {
        for number in 0..=u8::MAX {
            if PropertyId::from_number(number).is_some() {
                continue;
            }
            let block = format!("{} {number:02x} 00000000", beside(letter, ""));
            let bytes = packet(&notation.replace('*', &block));
            refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "unknown property");
        }
        // A known identifier written in two bytes is no known identifier.
        let block = format!("{} a6 00 <k> <v>", beside(letter, ""));
        let bytes = packet(&notation.replace('*', &block));
        refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "unknown property");
    }
}

#[test]
fn a_property_occurs_once_unless_it_is_one_of_two() {
    let mut checked = 0;
    for (id, value, places) in TABLE {
        for (letter, _, from, notation) in PLACES.into_iter().filter(|(letter, ..)| places.contains(*letter)) {
            let block = format!("{0} {id} {value} {id} {value}", beside(letter, id));
            let bytes = packet(&notation.replace('*', &block));
            if id == "26" || (id == "0b" && letter == 'P') {
                accept_bytes(Version::V5, sender(from), &bytes);
            } else {
                refuse_bytes(Version::V5, sender(from), &bytes, Reason::ProtocolError, "twice");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 64);
}

#[test]
fn a_property_cut_short_is_refused_even_if_the_packet_goes_on() {
    let mut checked = 0;
    for (id, value, places) in TABLE {
        for (letter, _, from, notation) in PLACES.into_iter().filter(|(letter, ..)| places.contains(*letter)) {
            let whole = raw(&format!("{id} {value}"));
            for len in 1..whole.len() {
                let cut = hex(&whole[..len]);
                let block = format!("{} {cut}", beside(letter, id));
                let bytes = packet(&notation.replace('*', &block));
                refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "ends before");
                checked += 1;
            }
        }
    }
    assert!(checked > 200, "{checked}");
}

#[test]
fn values_that_the_specification_excludes_are_refused() {
    let bytes_of_bool = ["01", "17", "19", "24", "25", "28", "29", "2a"];
    let mut checked = 0;
    for (letter, holder, from, notation) in PLACES {
        let mut refuse = |id: &str, value: String, reason, why| {
            let number = u8::from_str_radix(id, 16).unwrap();
            if holder.takes(PropertyId::from_number(number).unwrap()) {
                let block = format!("{} {id} {value}", beside(letter, id));
                refuse_bytes(Version::V5, sender(from), &packet(&notation.replace('*', &block)), reason, why);
                checked += 1;
            }
        };
        for id in bytes_of_bool {
            for value in [2, 3, 0x7F, 0x80, 0xFF] {
                refuse(id, format!("{value:02x}"), Reason::ProtocolError, "0 or 1");
            }
        }
        refuse("21", "0000".into(), Reason::ProtocolError, "may not be 0");
        refuse("27", "00000000".into(), Reason::ProtocolError, "may not be 0");
        refuse("0b", "00".into(), Reason::ProtocolError, "may not be 0");
        refuse("23", "0000".into(), Reason::TopicAliasInvalid, "alias 0");
        for topic in ["<#>", "<+>", "<r/#>"] {
            refuse("08", topic.into(), Reason::TopicNameInvalid, "MQTT-3.3.2-14");
        }
        refuse("08", "<>".into(), Reason::TopicNameInvalid, "MQTT-4.7.3-1");
        for id in ["03", "08", "12", "15", "1a", "1c", "1f"] {
            for (string, why) in super::connect::ILL_FORMED {
                refuse(id, string.into(), Reason::MalformedPacket, why);
            }
        }
        for (string, why) in super::connect::ILL_FORMED {
            refuse("26", format!("{string} <v>"), Reason::MalformedPacket, why);
            refuse("26", format!("<k> {string}"), Reason::MalformedPacket, why);
        }
    }
    assert!(checked > 900, "{checked}");
}

#[test]
fn a_block_ends_where_its_length_says() {
    for (letter, _, from, notation) in PLACES {
        // One byte more or less than the property has, which moves the fields after the block.
        for (len, body) in [(7, "26 <k> <v>"), (8, "26 <k> <v>")] {
            if notation.ends_with("[*]") {
                let method = if letter == 'A' { "15 <m>" } else { "" };
                let extra = if letter == 'A' { 4 } else { 0 };
                let len = if len == 7 { len + extra - 1 } else { len + extra };
                let bytes = packet(&notation.replace("[*]", &format!("{len:02x} {method} {body}")));
                refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "ends before");
            }
        }
        let bytes = packet(&notation.replace("[*]", "80 00"));
        refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "longer than needed");
        let bytes = packet(&notation.replace("[*]", "ff ff ff ff 7f"));
        refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "more than four");
        let bytes = packet(&notation.replace("[*]", "ff ff ff 7f"));
        refuse_bytes(Version::V5, sender(from), &bytes, Reason::MalformedPacket, "ends before");
    }
}

#[test]
fn a_block_is_built_only_from_what_may_stand_in_it() {
    let new = |holder, list: &[Property]| Properties::new(holder, list.to_vec()).map(|_| ()).map_err(|e| e.reason());
    assert_eq!(new(Holder::Publish, &[Property::TopicAlias(0)]), Err(Reason::TopicAliasInvalid));
    assert_eq!(new(Holder::Connect, &[Property::ReceiveMaximum(0)]), Err(Reason::ProtocolError));
    assert_eq!(new(Holder::Connect, &[Property::TopicAlias(1)]), Err(Reason::MalformedPacket));
    assert_eq!(new(Holder::ConnAck, &[Property::MaximumQos(2)]), Err(Reason::ProtocolError));
    assert_eq!(new(Holder::ConnAck, &[Property::ReasonString("a\0".into())]), Err(Reason::MalformedPacket));
    let long = || "v".repeat(65_536);
    assert_eq!(new(Holder::ConnAck, &[Property::user("k", long())]), Err(Reason::ImplementationSpecificError));
    assert_eq!(
        new(Holder::Publish, &[Property::CorrelationData(long().into())]),
        Err(Reason::ImplementationSpecificError)
    );
    assert_eq!(
        new(Holder::Publish, &[Property::SubscriptionIdentifier(268_435_456)]),
        Err(Reason::ImplementationSpecificError)
    );
    assert_eq!(new(Holder::Publish, &[Property::SubscriptionIdentifier(268_435_455)]), Ok(()));
    assert_eq!(new(Holder::Connect, &[]), Ok(()));
}
