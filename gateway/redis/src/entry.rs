//! Keys and values, as gateways of one cluster agree on them. Frozen: gateways of two versions share them.

use causeway_compute::port::Whereabout;
use causeway_model::{Epoch, Incarnation, Lineage, Position, QueueId};

pub(crate) fn key(lineage: Lineage, client: QueueId) -> String {
    format!("causeway:{:032x}:{client}", lineage.0)
}

pub(crate) fn value(entry: &Whereabout) -> [u8; 24] {
    let mut value = [0; 24];
    let (epoch, gateway) = value.split_at_mut(8);
    epoch.copy_from_slice(&entry.epoch.0.0.to_be_bytes());
    gateway.copy_from_slice(&entry.gateway.0.to_be_bytes());
    value
}

/// `None`: it is no value of ours.
pub(crate) fn parse(client: QueueId, value: &[u8]) -> Option<Whereabout> {
    let (epoch, gateway) = value.split_first_chunk::<8>()?;
    let gateway = Incarnation(u128::from_be_bytes(gateway.try_into().ok()?));
    Some(Whereabout { client, gateway, epoch: Epoch(Position(u64::from_be_bytes(*epoch))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_frozen() {
        let client = QueueId([0xab; 16]);
        assert_eq!(
            key(Lineage(0x12), client),
            "causeway:00000000000000000000000000000012:abababababababababababababababab"
        );
        let entry = Whereabout { client, gateway: Incarnation(0x0102), epoch: Epoch(Position(0x0a0b)) };
        let bytes = value(&entry);
        assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 0x0a, 0x0b]);
        assert_eq!(bytes[22..], [1, 2]);
        assert_eq!(parse(client, &bytes), Some(entry));
        for wrong in [&bytes[..23], &[bytes.as_slice(), &[0]].concat(), b""] {
            assert_eq!(parse(client, wrong), None);
        }
    }
}
