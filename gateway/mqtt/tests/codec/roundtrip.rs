//! What is encoded is decoded as the same packet, for every packet type, version and sender.

use bytes::BytesMut;
use causeway_mqtt::codec::{
    Holder, Packet, PacketType, Parts, Properties, Property, PropertyId, Publish, Qos, Sender, SharedPublish, Version,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::sample;

fn check(version: Version, sender: Sender, packet: &Packet) -> Result<(), TestCaseError> {
    let mut bytes = BytesMut::from(&b"before"[..]);
    packet.encode(version, &mut bytes).unwrap();
    let bytes = bytes.split_off(6);
    prop_assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    let decoded = sample::decode(version, sender, &bytes);
    prop_assert_eq!(decoded, Ok(Some(packet.clone())), "{} from {:?}: {:02x?}", version, sender, &bytes[..]);
    Ok(())
}

#[test]
fn every_packet_of_every_version_survives_encoding_and_decoding() {
    let mut kinds = 0;
    for version in Version::ALL {
        for sender in [Sender::Client, Sender::Server] {
            for kind in PacketType::ALL {
                let Some(packets) = sample::packet(version, sender, kind) else { continue };
                kinds += 1;
                let mut runner = TestRunner::new(ProptestConfig::with_cases(256));
                runner.run(&packets, |packet| check(version, sender, &packet)).unwrap();
            }
        }
    }
    // 3.x: 10 types from a client and 9 from a server; 5.0: AUTH from both, DISCONNECT from the server too.
    assert_eq!(kinds, 2 * (10 + 9) + 11 + 11);
}

proptest! {
    /// Packets that break rules must not get out: whatever the encoder lets pass, the decoder takes.
    #[test]
    fn what_is_encoded_for_the_wrong_version_or_from_wrong_parts_is_refused_or_decodes(
        (_, packet) in sample::any_packet(Version::V5),
        other in prop::sample::select(Version::ALL.to_vec()),
    ) {
        let mut bytes = BytesMut::new();
        match packet.encode(other, &mut bytes) {
            Ok(()) => {
                let either = [Sender::Client, Sender::Server]
                    .into_iter()
                    .find_map(|sender| sample::decode(other, sender, &bytes).ok().flatten());
                // 3.1 has no session-present flag.
                let expected = match (other, packet) {
                    (Version::V31, Packet::ConnAck(mut ack)) => {
                        ack.session_present = false;
                        Packet::ConnAck(ack)
                    }
                    (_, packet) => packet,
                };
                prop_assert_eq!(either, Some(expected));
            }
            Err(_) => prop_assert!(bytes.is_empty(), "nothing is written of a packet that is refused"),
        }
    }

    /// A block that was checked for one packet is checked again when it is written in another.
    #[test]
    fn properties_of_one_packet_do_not_get_into_another(
        block in sample::properties(Holder::ConnAck, &[]),
        pid in sample::pid(),
    ) {
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: "a".into(),
            pid: Some(pid),
            properties: block.clone(),
            payload: "x".into(),
        });
        let fits = block.iter().all(|property| Holder::Publish.takes(property.id()));
        prop_assert_eq!(publish.encode(Version::V5, &mut BytesMut::new()).is_ok(), fits);
    }

    #[test]
    fn a_shared_publish_is_byte_for_byte_what_encoding_it_alone_gives(
        packet in sample::packet(Version::V5, Sender::Server, PacketType::Publish).unwrap(),
        version in prop::sample::select(Version::ALL.to_vec()),
        pid in sample::pid(),
    ) {
        let Packet::Publish(mut publish) = packet else { unreachable!() };
        if version != Version::V5 {
            publish.properties = Properties::EMPTY;
            if publish.topic.is_empty() {
                publish.topic = "t".into();
            }
        }
        let pid = publish.pid.map(|_| pid);
        let shared = SharedPublish::new(version, &publish).unwrap();
        let whole = |parts: Parts| parts.slices().concat();
        publish.pid = pid;
        for dup in [false, publish.qos != Qos::AtMostOnce] {
            let shared = if dup { shared.again() } else { shared.clone() };
            publish.dup = dup;
            let mut alone = BytesMut::new();
            Packet::Publish(publish.clone()).encode(version, &mut alone).unwrap();
            let parts = shared.parts(pid).unwrap();
            let mut put = BytesMut::new();
            parts.put(&mut put);
            prop_assert_eq!(&put, &alone);
            prop_assert_eq!(shared.len(), alone.len());
            prop_assert_eq!(whole(parts), alone.to_vec());
        }
        let wrong = if pid.is_some() { None } else { Some(causeway_mqtt::codec::PacketId::MIN) };
        prop_assert!(shared.parts(wrong).is_err());
    }

    #[test]
    fn forwarding_keeps_what_describes_the_message_in_order_and_replaces_what_is_the_hops(
        block in sample::properties(Holder::Publish, &[]),
        expiry in prop::option::of(any::<u32>()),
        ids in prop::collection::vec(1..=268_435_455_u32, 0..4),
    ) {
        let forwarded = block.forwarded(expiry, &ids).unwrap();
        let hop = |p: &Property| {
            matches!(
                p.id(),
                PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier | PropertyId::MessageExpiryInterval
            )
        };
        let rest = |block: &Properties| block.iter().filter(|p| !hop(p)).collect::<Vec<_>>();
        prop_assert_eq!(rest(&forwarded), rest(&block));
        prop_assert_eq!(forwarded.message_expiry_interval(), expiry);
        prop_assert_eq!(forwarded.subscription_identifiers().collect::<Vec<_>>(), ids);
        prop_assert_eq!(forwarded.topic_alias(), None);
    }

    #[test]
    fn getters_give_what_the_block_was_built_from(block in sample::properties(Holder::ConnAck, &[])) {
        let first = |id| block.iter().find(|property| property.id() == id);
        prop_assert_eq!(
            block.session_expiry_interval().map(Property::SessionExpiryInterval),
            first(PropertyId::SessionExpiryInterval)
        );
        prop_assert_eq!(block.maximum_qos().map(Property::MaximumQos), first(PropertyId::MaximumQos));
        prop_assert_eq!(block.reason_string().map(Property::ReasonString), first(PropertyId::ReasonString));
        prop_assert_eq!(
            block.authentication_data().map(Property::AuthenticationData),
            first(PropertyId::AuthenticationData)
        );
        let users = block.user_properties().map(Property::UserProperty).collect::<Vec<_>>();
        let listed = block.iter().filter(|p| p.id() == PropertyId::UserProperty).collect::<Vec<_>>();
        prop_assert_eq!(users, listed);
        for &id in PropertyId::ALL {
            prop_assert_eq!(block.contains(id), first(id).is_some());
        }
        let rebuilt = Properties::new(Holder::ConnAck, block.iter()).unwrap();
        prop_assert_eq!(rebuilt, block);
    }
}
