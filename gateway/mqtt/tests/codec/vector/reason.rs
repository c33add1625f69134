//! Reason codes: each code in each packet from each end, against tables written from the specification a second time.

use causeway_mqtt::codec::{PacketType, Reason, Sender, Version};

use super::{accept_bytes, packet, refuse_bytes};

/// §3.2.2.2, §3.4.2.1 …: packet, first byte, body with `*` for the code, codes of a client, codes of a server.
const TABLES: [(PacketType, &str, &str, &str); 9] = [
    (PacketType::ConnAck, "20 00 * []", "", "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"),
    (PacketType::PubAck, "40 0001 *", PUBACK, PUBACK),
    (PacketType::PubRec, "50 0001 *", PUBACK, PUBACK),
    (PacketType::PubRel, "62 0001 *", "00 92", "00 92"),
    (PacketType::PubComp, "70 0001 *", "00 92", "00 92"),
    (PacketType::SubAck, "90 0001 [] *", "", "00 01 02 80 83 87 8f 91 97 9e a1 a2"),
    (PacketType::UnsubAck, "b0 0001 [] *", "", "00 11 80 83 87 8f 91"),
    (
        PacketType::Disconnect,
        "e0 *",
        "00 04 80 81 82 83 90 93 94 95 96 97 98 99",
        "80 81 82 83 87 89 8b 8c 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2",
    ),
    (PacketType::Auth, "f0 * [15 <m>]", "18 19", "00 18"),
];

const PUBACK: &str = "00 10 80 83 87 90 91 97 99";

#[test]
fn each_code_stands_where_the_specification_puts_it_and_nowhere_else() {
    let mut accepted = 0;
    let mut refused = 0;
    for (kind, notation, client, server) in TABLES {
        for (sender, codes) in [(Sender::Client, client), (Sender::Server, server)] {
            if codes.is_empty() {
                continue; // the other end may not send the packet at all
            }
            for code in 0..=u8::MAX {
                let hex = format!("{code:02x}");
                let bytes = packet(&notation.replace('*', &hex));
                if codes.split(' ').any(|known| known == hex) {
                    accept_bytes(Version::V5, sender, &bytes);
                    accepted += 1;
                } else {
                    let known = Reason::from_code(code).is_some();
                    let reason = if known { Reason::ProtocolError } else { Reason::MalformedPacket };
                    refuse_bytes(Version::V5, sender, &bytes, reason, kind.name());
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((accepted, refused), (22 + 36 + 8 + 12 + 7 + 14 + 28 + 4, 15 * 256 - 131));
}

#[test]
fn codes_are_those_of_table_2_6() {
    let codes = Reason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>();
    let expected = [0, 1, 2, 4, 0x10, 0x11, 0x18, 0x19].into_iter().chain(0x80..=0xA2).collect::<Vec<_>>();
    assert_eq!(codes, expected);
    for code in 0..=u8::MAX {
        assert_eq!(Reason::from_code(code).map(Reason::code), expected.contains(&code).then_some(code));
    }
}

#[test]
fn every_reason_has_a_form_that_each_version_can_say() {
    for version in Version::ALL {
        for &reason in Reason::ALL {
            let connack = reason.for_connack(version);
            assert_eq!(
                connack.is_failure(),
                reason != Reason::Success && version != Version::V5 || reason.is_failure()
            );
            assert!(version.is_v5() || connack.return_code().is_some());
            assert_eq!(connack.for_connack(version), connack);
            assert_eq!(reason.for_suback(version).for_suback(version), reason.for_suback(version));
        }
    }
    for code in 0..=5 {
        assert_eq!(Reason::from_return_code(code).and_then(Reason::return_code), Some(code));
    }
    assert_eq!(Reason::from_return_code(6), None);
}
