//! Packets that the specification says must be refused or accepted, written down one by one.
//!
//! ```text
//! 10            hex bytes; the first is the first byte of the packet
//! <MQTT>        a string or binary field with its two length bytes
//! [ … ]         a block of properties with its length
//! 'abc'         bare ASCII
//! !             at the start: the remaining length is in the bytes that follow
//! ```
//!
//! The remaining length is filled in. [`raw`] takes the bytes as they are.

mod connect;
mod fixed;
mod property;
mod publish;
mod reason;
mod subscribe;

use bytes::BytesMut;
use causeway_mqtt::codec::{Decoder, Error, Packet, Reason, Sender, Version};

use crate::sample;

/// A packet in the notation above.
pub(crate) fn packet(notation: &str) -> Vec<u8> {
    if let Some(whole) = notation.strip_prefix('!') {
        return raw(whole);
    }
    let body = raw(notation);
    let mut packet = vec![body[0]];
    packet.extend(varint(body.len() - 1));
    packet.extend(&body[1..]);
    packet
}

/// Bytes in the notation above, without a remaining length.
pub(super) fn raw(notation: &str) -> Vec<u8> {
    let mut chars = notation.chars().peekable();
    let mut stack = vec![Vec::new()];
    while let Some(char) = chars.next() {
        let mut until = |end| chars.by_ref().take_while(|c| *c != end).collect::<String>().into_bytes();
        let found = match char {
            ' ' | '\n' => continue,
            '\'' => until('\''),
            '<' => {
                let field = until('>');
                [u16::try_from(field.len()).unwrap().to_be_bytes().to_vec(), field].concat()
            }
            '[' => {
                stack.push(Vec::new());
                continue;
            }
            ']' => {
                let block = stack.pop().unwrap();
                [varint(block.len()), block].concat()
            }
            digit => {
                let low = chars.next().unwrap();
                vec![u8::from_str_radix(&format!("{digit}{low}"), 16).unwrap()]
            }
        };
        stack.last_mut().unwrap().extend(found);
    }
    assert_eq!(stack.len(), 1, "'[' without ']': {notation}");
    stack.remove(0)
}

pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let group = u8::try_from(value % 128).unwrap();
        value /= 128;
        if value == 0 {
            bytes.push(group);
            return bytes;
        }
        bytes.push(group | 0x80);
    }
}

/// One packet and why it is refused: versions by their level's digit, `c` or `s` who sends it, part of the rule.
pub(super) type Refused = (&'static str, &'static str, &'static str, Reason, &'static str);

/// One packet that is accepted: versions, sender, notation.
pub(crate) type Accepted = (&'static str, &'static str, &'static str);

pub(crate) fn versions(digits: &str) -> impl Iterator<Item = Version> + '_ {
    Version::ALL.into_iter().filter(move |version| digits.contains(&version.level().to_string()))
}

pub(crate) fn senders(letters: &str) -> impl Iterator<Item = Sender> + '_ {
    [('c', Sender::Client), ('s', Sender::Server)].into_iter().filter(|(c, _)| letters.contains(*c)).map(|(_, s)| s)
}

/// A decoder for the packet: a server's first one for CONNECT, one past CONNECT for the others.
fn decoder(version: Version, sender: Sender, bytes: &[u8]) -> Decoder {
    if sender == Sender::Client && bytes.first().is_some_and(|byte| byte >> 4 == 1) {
        return Decoder::server(causeway_mqtt::codec::Limits::packet(1 << 29));
    }
    sample::decoder(version, sender)
}

/// Decodes the bytes at once and byte by byte, and demands the same of both.
pub(super) fn decode(version: Version, sender: Sender, bytes: &[u8]) -> Result<Option<Packet>, Error> {
    let whole = decoder(version, sender, bytes).decode(&mut BytesMut::from(bytes));
    let mut slow = decoder(version, sender, bytes);
    let mut buffer = BytesMut::new();
    let mut last = Ok(None);
    for (at, &byte) in bytes.iter().enumerate() {
        buffer.extend_from_slice(&[byte]);
        last = slow.decode(&mut buffer);
        match &last {
            Ok(None) => {}
            Ok(Some(_)) => assert_eq!(at + 1, bytes.len(), "a packet before its end: {bytes:02x?}"),
            Err(_) => break,
        }
    }
    assert_eq!(whole, last, "{bytes:02x?} at once and byte by byte");
    whole
}

pub(super) fn refuse_bytes(version: Version, sender: Sender, bytes: &[u8], reason: Reason, why: &str) {
    let at = || format!("{version} from {sender:?}: {bytes:02x?}");
    match decode(version, sender, bytes) {
        Err(error) => {
            assert_eq!(error.reason(), reason, "{}: {error}", at());
            assert!(error.to_string().contains(why), "{}: {error}, expected {why}", at());
        }
        Ok(packet) => panic!("{}: accepted as {packet:?}, expected {why}", at()),
    }
}

/// Checks a table; gives how many (packet, version, sender) it has.
pub(super) fn refuse(table: &[Refused]) -> usize {
    let mut checked = 0;
    for &(digits, letters, notation, reason, why) in table {
        for version in versions(digits) {
            for sender in senders(letters) {
                refuse_bytes(version, sender, &packet(notation), reason, why);
                checked += 1;
            }
        }
    }
    checked
}

pub(super) fn accept_bytes(version: Version, sender: Sender, bytes: &[u8]) -> Packet {
    let packet = match decode(version, sender, bytes) {
        Ok(Some(packet)) => packet,
        other => panic!("{version} from {sender:?}: {bytes:02x?}: {other:?}"),
    };
    // A CONNECT has a version of its own.
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut again = BytesMut::new();
    packet.encode(version, &mut again).unwrap();
    assert_eq!(decode(version, sender, &again), Ok(Some(packet.clone())), "{bytes:02x?} written again");
    packet
}

/// Checks a table; gives how many (packet, version, sender) it has.
pub(super) fn accept(table: &[Accepted]) -> usize {
    let mut checked = 0;
    for &(digits, letters, notation) in table {
        for version in versions(digits) {
            for sender in senders(letters) {
                accept_bytes(version, sender, &packet(notation));
                checked += 1;
            }
        }
    }
    checked
}

#[test]
fn the_notation_says_what_it_means() {
    assert_eq!(packet("10 <MQTT> 04 'ab' [ 21 0001 ]"), b"\x10\x0d\x00\x04MQTT\x04ab\x03\x21\x00\x01");
    assert_eq!(raw("[]"), [0]);
}
