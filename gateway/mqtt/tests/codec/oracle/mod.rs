//! What three other codecs say about the same bytes: `rmqtt-codec`, `mqtt-protocol-core` and, for 3.1.1, `mqttbytes`.
//!
//! A packet goes through another codec and comes back; what comes back must be the packet. Over damaged packets the
//! codecs must agree whether they are packets at all. Where they do not, [`fault`] says which statement of the
//! specification the other one does not keep, with a packet that shows it. A disagreement that is not listed there fails.

mod fault;
mod peer;

use causeway_mqtt::codec::{Packet, Properties, Property, Sender, Version};

use crate::mutate::{self, Mutator};
use crate::sample;
use fault::{Difference, is_known};
use peer::Oracle;

/// A packet with its properties taken out and put in an order of their own, without those that say the default.
fn normal(packet: &Packet) -> (Packet, Vec<Property>) {
    let mut packet = packet.clone();
    let mut all = Vec::new();
    let mut take = |properties: &mut Properties| all.extend(std::mem::take(properties).iter());
    match &mut packet {
        Packet::Connect(connect) => {
            take(&mut connect.properties);
            if let Some(will) = &mut connect.will {
                take(&mut will.properties);
            }
        }
        Packet::ConnAck(packet) => take(&mut packet.properties),
        Packet::Publish(packet) => take(&mut packet.properties),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            take(&mut ack.properties);
        }
        Packet::Subscribe(packet) => take(&mut packet.properties),
        Packet::SubAck(packet) => take(&mut packet.properties),
        Packet::Unsubscribe(packet) => take(&mut packet.properties),
        Packet::UnsubAck(packet) => take(&mut packet.properties),
        Packet::Disconnect(packet) => take(&mut packet.properties),
        Packet::Auth(packet) => take(&mut packet.properties),
        Packet::PingReq | Packet::PingResp => {}
    }
    all.sort_by_key(Property::id);
    all.retain(|property| !is_default(property));
    (packet, all)
}

fn is_default(property: &Property) -> bool {
    [
        Property::PayloadFormatIndicator(false),
        Property::SessionExpiryInterval(0),
        Property::RequestProblemInformation(true),
        Property::RequestResponseInformation(false),
        Property::TopicAliasMaximum(0),
        Property::ReceiveMaximum(65_535),
        Property::RetainAvailable(true),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifierAvailable(true),
        Property::SharedSubscriptionAvailable(true),
    ]
    .contains(property)
}

/// Compares over one packet; nothing if both refuse it or both take it for the same. The version is that of the packet: a
/// CONNECT says its own.
fn compare(oracle: Oracle, version: Version, sender: Sender, bytes: &[u8]) -> Option<(Version, Difference)> {
    let (ours, version) = sample::decode_with_version(version, sender, bytes);
    if !oracle.knows(version) || ours == Ok(None) {
        return None;
    }
    let theirs = oracle.journey(version, bytes);
    let difference = match (ours, theirs) {
        (Err(error), Ok(_)) => Some(Difference::Lenient(error)),
        (Ok(Some(packet)), Err(why)) => Some(Difference::Strict(packet, why)),
        (Ok(Some(packet)), Ok(again)) => {
            let other = sample::decode(version, sender, &again);
            let same = matches!(&other, Ok(Some(other)) if normal(other) == normal(&packet));
            (!same).then_some(Difference::Changed(packet, other))
        }
        (Ok(None), _) | (Err(_), Err(_)) => None,
    };
    Some((version, difference?))
}

fn demand_agreement(version: Version, sender: Sender, bytes: &[u8], seed: u64) {
    for oracle in Oracle::ALL {
        if let Some((version, difference)) = compare(oracle, version, sender, bytes) {
            let known = is_known(oracle, version, &difference);
            assert!(known, "seed {seed}: {oracle:?} on {version} from {sender:?} {bytes:02x?} {difference}");
        }
    }
}

#[test]
fn valid_packets_mean_the_same_to_other_codecs() {
    let mut mutator = Mutator::new(mutate::seed());
    for _ in 0..mutate::packets(50_000) {
        let (version, sender, bytes) = mutator.valid();
        demand_agreement(version, sender, &bytes, mutator.seed);
    }
}

#[test]
fn damaged_packets_are_accepted_by_all_codecs_or_by_none_but_for_listed_faults() {
    let mut mutator = Mutator::new(mutate::seed());
    for _ in 0..mutate::packets(200_000) {
        let (version, sender, bytes) = mutator.mutated();
        demand_agreement(version, sender, &bytes, mutator.seed);
    }
}
