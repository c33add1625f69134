//! One delivery of a 256-byte message, from the shared message to bytes in a buffer.

use std::sync::Arc;

use bytes::BytesMut;
use causeway_model::{
    ClientId, Message, Millis, Namespace, PacketId, PropertiesBuilder, Property, Publisher, Qos, Topic,
};
use causeway_mqtt::codec::{Packet, Version};
use causeway_mqtt::session::Delivery;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn delivery(properties: usize) -> Delivery {
    let mut builder = PropertiesBuilder::default();
    for number in 0..properties {
        let word = Property::User(format!("key-{number}").into(), "some value".into());
        if builder.push(&word).is_err() {
            return delivery(0);
        }
    }
    let Ok(topic) = Topic::new("plant/7/line/3/temperature".into()) else { return delivery(0) };
    let message = Arc::new(Message {
        namespace: Namespace::default(),
        topic,
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(0),
        publisher: Publisher { client: ClientId("p".into()), session: None, pid: None },
        properties: builder.finish(),
        body: vec![7; 256].into(),
    });
    let (qos, pid) = (Qos::AtLeastOnce, PacketId::new(7));
    Delivery { message, qos, retain: false, dup: false, pid, ids: smallvec::SmallVec::new(), expiry: None }
}

/// Everything for each subscriber.
#[divan::bench(args = [0, 1, 5])]
fn whole(bencher: Bencher<'_, '_>, properties: usize) {
    let delivery = delivery(properties);
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        let publish = black_box(&delivery).publish(Version::V5);
        publish.and_then(|publish| Packet::Publish(publish).encode(Version::V5, &mut out))
    });
}

/// With properties that another subscriber's delivery has encoded.
#[divan::bench(args = [0, 1, 5])]
fn with_shared_properties(bencher: Bencher<'_, '_>, properties: usize) {
    let delivery = delivery(properties);
    let Ok(shared) = delivery.properties() else { return };
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.bench_local(|| {
        out.clear();
        let publish = black_box(&delivery).publish_with(shared.clone());
        Packet::Publish(publish).encode(Version::V5, &mut out)
    });
}
