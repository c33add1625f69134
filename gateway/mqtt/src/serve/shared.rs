//! Properties encoded once for all subscribers of a message that one worker thread serves.
//!
//! Fixed header, topic and packet id are a few dozen bytes and are written for each subscriber; a payload is copied where
//! that is cheaper than a slice of its own. Properties are what costs: they are translated, written and checked. A
//! few recent blocks are kept a thread, found by the message's address. A weak reference holds the address, not the
//! message, so that nothing of the log is kept alive.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use causeway_model::Message;
use smallvec::SmallVec;

use crate::codec::{Error, Properties};
use crate::session::Delivery;

/// Blocks that a thread keeps; more than one, since messages of one batch go out interleaved.
const SLOTS: usize = 64;

struct Block {
    message: Weak<Message>,
    expiry: Option<u32>,
    ids: SmallVec<[u32; 2]>,
    properties: Properties,
}

impl Block {
    fn is_for(&self, delivery: &Delivery) -> bool {
        self.message.as_ptr() == Arc::as_ptr(&delivery.message)
            && self.expiry == delivery.expiry
            && self.ids == delivery.ids
    }
}

thread_local! {
    static BLOCKS: RefCell<[Option<Block>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

/// The properties of a delivery in 5.0.
pub(super) fn properties(delivery: &Delivery) -> Result<Properties, Error> {
    if delivery.message.properties.is_empty() && delivery.expiry.is_none() && delivery.ids.is_empty() {
        return Ok(Properties::EMPTY);
    }
    // Allocations are at least 16 bytes apart, a message some hundred.
    let slot = (Arc::as_ptr(&delivery.message).addr() >> 6) % SLOTS;
    BLOCKS.with_borrow_mut(|blocks| {
        let Some(place) = blocks.get_mut(slot) else { return delivery.properties() };
        if let Some(block) = place.as_ref().filter(|block| block.is_for(delivery)) {
            return Ok(block.properties.clone());
        }
        let properties = delivery.properties()?;
        *place = Some(Block {
            message: Arc::downgrade(&delivery.message),
            expiry: delivery.expiry,
            ids: delivery.ids.clone(),
            properties: properties.clone(),
        });
        Ok(properties)
    })
}

#[cfg(test)]
mod tests {
    use causeway_model::{ClientId, Millis, Namespace, PropertiesBuilder, Property, Publisher, Qos, Topic};

    use super::*;

    fn delivery(text: &str, ids: &[u32], expiry: Option<u32>) -> Delivery {
        let mut builder = PropertiesBuilder::default();
        builder.push(&Property::User("k".into(), text.to_owned().into())).unwrap();
        let message = Arc::new(Message {
            namespace: Namespace::default(),
            topic: Topic::new("a".into()).unwrap(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry: None,
            born: Millis(0),
            publisher: Publisher { client: ClientId("c".into()), session: None, pid: None },
            properties: builder.finish(),
            body: "b".into(),
        });
        let (qos, ids) = (Qos::AtMostOnce, SmallVec::from_slice(ids));
        Delivery { message, qos, retain: false, dup: false, pid: None, ids, expiry }
    }

    #[test]
    fn subscribers_with_the_same_identifiers_and_expiry_share_one_block_and_others_have_their_own() {
        let first = delivery("x", &[1], Some(9));
        let again = Delivery { pid: None, ..first.clone() };
        let block = properties(&first).unwrap();
        assert_eq!(block.block().as_ptr(), properties(&again).unwrap().block().as_ptr());
        for other in [
            Delivery { ids: SmallVec::from_slice(&[2]), ..first.clone() },
            Delivery { expiry: Some(8), ..first.clone() },
            delivery("y", &[1], Some(9)),
        ] {
            assert_eq!(properties(&other).unwrap(), other.properties().unwrap());
            assert_ne!(properties(&other).unwrap(), block);
        }
    }

    #[test]
    fn a_message_is_let_go_and_its_block_is_for_no_other() {
        for round in 0..1000 {
            let delivery = delivery(&round.to_string(), &[], None);
            assert_eq!(properties(&delivery).unwrap(), delivery.properties().unwrap());
            assert_eq!(Arc::strong_count(&delivery.message), 1);
        }
    }
}
