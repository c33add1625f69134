//! Any bytes, as the stream of a client or of a server, in any version: no panic, nothing accepted that cannot be written
//! and read again, nothing taken of an incomplete packet.
//!
//! The first byte chooses version and sender, the second how the stream is cut into reads.

#![no_main]

use bytes::BytesMut;
use causeway_mqtt::codec::{Connect, Decoder, Limits, Packet, Version};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits::packet(1 << 20);

fn decoder(choice: u8) -> Decoder {
    let version = Version::ALL[usize::from(choice >> 2) % 3];
    match choice & 3 {
        // A client that has not said anything yet.
        0 => Decoder::server(LIMITS),
        1 => Decoder::client(version, LIMITS),
        _ => {
            let mut decoder = Decoder::server(LIMITS);
            let mut connect = BytesMut::new();
            let packet = Packet::Connect(Box::new(Connect::new(version, "fuzz")));
            packet.encode(version, &mut connect).expect("a valid CONNECT");
            decoder.decode(&mut connect).expect("a valid CONNECT");
            decoder
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [choice, cut, stream @ ..] = bytes else { return };
    let mut decoder = decoder(*choice);
    let mut buffer = BytesMut::new();
    for read in stream.chunks(usize::from(*cut).max(1)) {
        buffer.extend_from_slice(read);
        loop {
            let before = buffer.len();
            match decoder.decode(&mut buffer) {
                Ok(Some(packet)) => {
                    let version = decoder.version().expect("known since the first packet");
                    let mut again = BytesMut::new();
                    packet.encode(version, &mut again).expect("what was accepted can be written");
                    assert!(again.len() <= before, "no packet grows");
                }
                Ok(None) => {
                    assert_eq!(buffer.len(), before);
                    break;
                }
                Err(_) => return,
            }
        }
    }
});
