//! The fixed header (§2.1), who may send what, and limits.

use bytes::BytesMut;
use causeway_mqtt::codec::{Decoder, Error, FixedHeader, Limits, PacketType, Reason, Sender, Version};

use super::{accept_bytes, packet, raw, refuse, refuse_bytes};

#[test]
fn remaining_length_is_at_most_four_bytes_and_no_longer_than_needed() {
    let refused = [
        ("30 80 80 80 80 01", "more than four"),
        ("30 ff ff ff ff 7f", "more than four"),
        ("30 80 80 80 80", "more than four"),
        ("c0 80 00", "longer than needed"),
        ("e0 80 00", "longer than needed"),
        ("30 80 80 00", "longer than needed"),
        ("30 80 80 80 00", "longer than needed"),
        ("30 ff 00", "longer than needed"),
        ("82 85 80 80 00 00 01 00", "longer than needed"),
        ("40 82 00 00 01", "longer than needed"),
    ];
    for version in Version::ALL {
        for (bytes, why) in refused {
            refuse_bytes(version, Sender::Client, &raw(bytes), Reason::MalformedPacket, why);
        }
    }
    for (bytes, remaining, len) in [
        ("30 00", 0, 2),
        ("30 7f", 127, 2),
        ("30 80 01", 128, 3),
        ("30 ff 7f", 16_383, 3),
        ("30 80 80 01", 16_384, 4),
        ("30 ff ff 7f", 2_097_151, 4),
        ("30 80 80 80 01", 2_097_152, 5),
        ("30 ff ff ff 7f", 268_435_455, 5),
    ] {
        let header = FixedHeader::peek(&raw(bytes)).unwrap().unwrap();
        assert_eq!((header.remaining, header.len), (remaining, len), "{bytes}");
        assert_eq!(header.packet_len(), remaining + len);
    }
    for bytes in ["", "30", "30 80", "30 80 80", "30 ff ff ff"] {
        assert_eq!(FixedHeader::peek(&raw(bytes)), Ok(None), "{bytes}");
    }
}

#[test]
fn reserved_packet_types_are_refused() {
    for version in Version::ALL {
        for first in 0..=0x0F {
            refuse_bytes(version, Sender::Client, &[first, 0], Reason::MalformedPacket, "type 0");
        }
    }
    for version in [Version::V31, Version::V311] {
        for sender in [Sender::Client, Sender::Server] {
            refuse_bytes(version, sender, &raw("f0 00"), Reason::MalformedPacket, "type 15");
        }
    }
}

/// A body with which each type is valid in the given version.
fn body(kind: PacketType, version: Version) -> &'static str {
    let v5 = version.is_v5();
    match kind {
        PacketType::Connect => match version {
            Version::V31 => "<MQIsdp> 03 02 003c <id>",
            Version::V311 => "<MQTT> 04 02 003c <id>",
            Version::V5 => "<MQTT> 05 02 003c [] <id>",
        },
        PacketType::ConnAck if v5 => "00 00 []",
        PacketType::ConnAck => "00 00",
        PacketType::Publish if v5 => "<a> [] 'xy'",
        PacketType::Publish => "<a> 'xy'",
        PacketType::Subscribe if v5 => "0001 [] <a> 00",
        PacketType::Subscribe => "0001 <a> 00",
        PacketType::SubAck | PacketType::UnsubAck if v5 => "0001 [] 00",
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp | PacketType::UnsubAck => {
            "0001"
        }
        PacketType::SubAck => "0001 00",
        PacketType::Unsubscribe if v5 => "0001 [] <a>",
        PacketType::Unsubscribe => "0001 <a>",
        PacketType::Disconnect if v5 => "81",
        PacketType::PingReq | PacketType::PingResp | PacketType::Disconnect => "",
        PacketType::Auth => "18 [15 <m>]",
    }
}

fn bytes_of(kind: PacketType, flags: u8, version: Version) -> Vec<u8> {
    packet(&format!("{:02x} {}", (kind.number() << 4) | flags, body(kind, version)))
}

/// §2.1.2 and the chapters of §3: `true` where the sender may send the type in the version.
fn may_send(kind: PacketType, sender: Sender, version: Version) -> bool {
    let client = "CONNECT SUBSCRIBE UNSUBSCRIBE PINGREQ PUBLISH PUBACK PUBREC PUBREL PUBCOMP DISCONNECT";
    let server = "CONNACK SUBACK UNSUBACK PINGRESP PUBLISH PUBACK PUBREC PUBREL PUBCOMP";
    let both_v5 = "AUTH DISCONNECT";
    let list = if sender == Sender::Client { client } else { server };
    let named = |list: &str| list.split(' ').any(|name| name == kind.name());
    named(list) || (version == Version::V5 && named(both_v5))
}

#[test]
fn each_type_comes_from_the_right_end_and_with_the_right_flags() {
    let mut checked = 0;
    for version in Version::ALL {
        for sender in [Sender::Client, Sender::Server] {
            for kind in PacketType::ALL {
                for flags in 0..16 {
                    let bytes = bytes_of(kind, flags, version);
                    checked += 1;
                    if kind == PacketType::Auth && !version.is_v5() {
                        refuse_bytes(version, sender, &bytes, Reason::MalformedPacket, "type 15");
                    } else if !may_send(kind, sender, version) {
                        refuse_bytes(version, sender, &bytes, Reason::ProtocolError, "may not send");
                    } else if kind == PacketType::Publish {
                        // Its flags have a table of their own.
                    } else if flags_known(kind, flags, version) {
                        accept_bytes(version, sender, &bytes);
                    } else {
                        refuse_bytes(version, sender, &bytes, Reason::MalformedPacket, "MQTT-2.1.3-1");
                    }
                }
            }
        }
    }
    assert_eq!(checked, 3 * 2 * 15 * 16);
}

/// Table 2-2; in 3.1 DUP is used on what may be resent and the other flags are "not used".
fn flags_known(kind: PacketType, flags: u8, version: Version) -> bool {
    let two = matches!(kind, PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe);
    match (version, two) {
        (Version::V31, true) => flags & 0b0110 == 2,
        (Version::V31, false) => true,
        (_, true) => flags == 2,
        (_, false) => flags == 0,
    }
}

#[test]
fn a_client_begins_with_connect_and_sends_it_once() {
    for version in Version::ALL {
        for kind in PacketType::ALL {
            if kind == PacketType::Connect {
                continue;
            }
            let bytes = bytes_of(kind, kind.flags(), version);
            let fresh = || Decoder::server(Limits::packet(100));
            let error = fresh().decode(&mut BytesMut::from(&bytes[..])).unwrap_err();
            assert!(error.to_string().contains("MQTT-3.1.0-1"), "{error}");
            // The first byte is enough to tell.
            assert!(fresh().decode(&mut BytesMut::from(&bytes[..1])).is_err());
        }
        let connect = bytes_of(PacketType::Connect, 0, version);
        let mut decoder = Decoder::server(Limits::packet(100));
        let mut twice = BytesMut::from(&[&connect[..], &connect[..]].concat()[..]);
        assert!(decoder.decode(&mut twice).unwrap().is_some());
        assert_eq!(decoder.version(), Some(version));
        let error = decoder.decode(&mut twice).unwrap_err();
        assert_eq!(error.reason(), Reason::ProtocolError);
        assert!(error.to_string().contains("MQTT-3.1.0-2"), "{error}");
    }
    for foreign in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x", b"*1\r\n$4\r\nPING\r\n"] {
        let mut decoder = Decoder::server(Limits::packet(100));
        assert!(decoder.decode(&mut BytesMut::from(foreign)).is_err(), "{foreign:?}");
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_at_its_fixed_header() {
    let limits = Limits { packet: 1_000, connect: 100 };
    let size_of = |bytes: &[u8], decoder: &mut Decoder| decoder.decode(&mut BytesMut::from(bytes)).unwrap_err();
    // CONNECT: 98 bytes after a header of two are let in, 99 are not.
    let mut decoder = Decoder::server(limits);
    assert_eq!(decoder.decode(&mut BytesMut::from(&[0x10, 98][..])), Ok(None));
    let error = size_of(&[0x10, 99], &mut decoder);
    assert_eq!(error, Error::TooLarge { packet: PacketType::Connect, size: 101, max: 100 });
    assert_eq!(error.reason(), Reason::PacketTooLarge);
    // Later packets have the other limit, which counts the fixed header too (§3.1.2.11.4).
    let mut decoder = Decoder::client(Version::V5, limits);
    assert_eq!(decoder.decode(&mut BytesMut::from(&raw("30 e5 07")[..])), Ok(None));
    let error = size_of(&raw("30 e6 07"), &mut decoder);
    assert_eq!(error, Error::TooLarge { packet: PacketType::Publish, size: 1_001, max: 1_000 });
    let error = size_of(&raw("30 ff ff ff 7f"), &mut decoder);
    assert_eq!(error, Error::TooLarge { packet: PacketType::Publish, size: 268_435_460, max: 1_000 });
}

#[test]
fn nothing_is_reserved_for_bytes_that_have_not_come() {
    let mut decoder = Decoder::client(Version::V5, Limits::packet(1 << 29));
    let mut buffer = BytesMut::from(&raw("30 ff ff ff 7f 00")[..]);
    let before = buffer.capacity();
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(buffer.capacity(), before);
    assert_eq!(buffer.len(), 6, "an incomplete packet stays where it is");
}

#[test]
fn packets_without_a_body_have_none() {
    use Reason::MalformedPacket as Malformed;
    let checked = refuse(&[
        ("345", "c", "c0 00", Malformed, "after the last field"),
        ("345", "c", "c0 0000", Malformed, "after the last field"),
        ("345", "s", "d0 00", Malformed, "after the last field"),
        ("34", "c", "e0 00", Malformed, "after the last field"),
        ("34", "c", "e0 0400", Malformed, "after the last field"),
    ]);
    assert_eq!(checked, 13);
}
