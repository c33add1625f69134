//! The data types of §1.5 and a cursor over one packet's body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use causeway_model::{PacketId, Text};

use super::{Error, PacketType};

/// The most bytes of a string or of binary data: its length is two bytes.
pub const MAX_FIELD: usize = u16::MAX as usize;

/// The largest variable byte integer, four groups of seven bits (§1.5.5).
pub const MAX_VARINT: u32 = 0x0FFF_FFFF;

/// What a walk over raw bytes found wrong; the packet's type is added where it is known.
pub(crate) type Rule = &'static str;

pub(crate) const SHORT: Rule = "ends before its fields do (§2)";
pub(crate) const UTF8: Rule = "string is not UTF-8 (§1.5.4)";
pub(crate) const NUL: Rule = "string contains U+0000 (§1.5.4)";
pub(crate) const VARINT_LONG: Rule = "variable byte integer of more than four bytes (§1.5.5)";
pub(crate) const VARINT_PADDED: Rule = "variable byte integer longer than needed (§1.5.5)";
pub(crate) const PACKET_ID: Rule = "packet identifier 0 [MQTT-2.2.1-3]";
pub(crate) const TRAILING: Rule = "bytes after the last field (§2)";

/// Splits a variable byte integer off `bytes`. `None`: it goes on after their end.
///
/// Encodings longer than needed are refused ([MQTT-1.5.5-1], and the table of 3.1.1 §2.2.3).
pub(crate) fn split_varint(bytes: &[u8]) -> Result<Option<(u32, &[u8])>, Rule> {
    let mut value = 0;
    let mut rest = bytes;
    for shift in [0, 7, 14, 21] {
        let Some((&byte, after)) = rest.split_first() else { return Ok(None) };
        rest = after;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && shift > 0 {
                return Err(VARINT_PADDED);
            }
            return Ok(Some((value, rest)));
        }
    }
    Err(VARINT_LONG)
}

/// Bytes of a variable byte integer.
pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer; values over [`MAX_VARINT`] were refused before.
pub(crate) fn put_varint(out: &mut BytesMut, value: usize) {
    let mut rest = value;
    loop {
        let group = u8::try_from(rest & 0x7F).unwrap_or(0);
        rest >>= 7;
        if rest == 0 {
            return out.put_u8(group);
        }
        out.put_u8(group | 0x80);
    }
}

/// Checks what a string must not contain; that it is UTF-8 without surrogates its type says.
pub(crate) fn check_text(text: &str) -> Result<(), Rule> {
    if text.as_bytes().contains(&0) { Err(NUL) } else { Ok(()) }
}

/// A string that came as `bytes` (§1.5.4): well-formed UTF-8, hence no surrogates, and no U+0000. Control characters
/// and non-characters "should not" be there and are let pass; U+FEFF is kept.
pub(crate) fn text(bytes: Bytes) -> Result<Text, Rule> {
    let text = Text::try_from(bytes).map_err(|_| UTF8)?;
    check_text(&text)?;
    Ok(text)
}

/// Refuses a field that its two length bytes cannot describe.
pub(crate) fn check_field(packet: PacketType, field: &[u8]) -> Result<(), Error> {
    if field.len() > MAX_FIELD {
        return Err(Error::TooLong { packet, len: field.len(), max: MAX_FIELD });
    }
    Ok(())
}

/// Refuses a string that may not be written.
pub(crate) fn check_string(packet: PacketType, string: &str) -> Result<(), Error> {
    check_field(packet, string.as_bytes())?;
    check_text(string).map_err(|rule| Error::Malformed { packet, rule })
}

/// Bytes of a length-prefixed field.
pub(crate) const fn field_len(field: &[u8]) -> usize {
    field.len().saturating_add(2)
}

/// Writes a length-prefixed field that [`check_field`] has let pass.
pub(crate) fn put_field(out: &mut BytesMut, field: &[u8]) {
    debug_assert!(field.len() <= MAX_FIELD, "checked before anything is written");
    out.put_u16(u16::try_from(field.len()).unwrap_or(u16::MAX));
    out.put_slice(field);
}

/// A cursor over the body of one packet. Taking a field shares the packet's buffer; nothing is copied.
#[derive(Debug)]
pub(crate) struct Reader {
    rest: Bytes,
    packet: PacketType,
}

impl Reader {
    pub(crate) fn new(packet: PacketType, body: Bytes) -> Self {
        Self { rest: body, packet }
    }

    pub(crate) fn packet(&self) -> PacketType {
        self.packet
    }

    pub(crate) fn malformed(&self, rule: Rule) -> Error {
        Error::Malformed { packet: self.packet, rule }
    }

    pub(crate) fn protocol(&self, rule: Rule) -> Error {
        Error::Protocol { packet: self.packet, rule }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.rest.try_get_u8().map_err(|_| self.malformed(SHORT))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.rest.try_get_u16().map_err(|_| self.malformed(SHORT))
    }

    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Error> {
        PacketId::new(self.u16()?).ok_or_else(|| self.protocol(PACKET_ID))
    }

    pub(crate) fn varint(&mut self) -> Result<usize, Error> {
        let (value, rest) =
            split_varint(&self.rest).map_err(|rule| self.malformed(rule))?.ok_or_else(|| self.malformed(SHORT))?;
        let read = self.rest.len().saturating_sub(rest.len());
        self.rest.advance(read);
        usize::try_from(value).map_err(|_| self.malformed(VARINT_LONG))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes, Error> {
        if len > self.rest.len() {
            return Err(self.malformed(SHORT));
        }
        Ok(self.rest.split_to(len))
    }

    /// Binary data (§1.5.6).
    pub(crate) fn field(&mut self) -> Result<Bytes, Error> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string (§1.5.4).
    pub(crate) fn string(&mut self) -> Result<Text, Error> {
        let bytes = self.field()?;
        text(bytes).map_err(|rule| self.malformed(rule))
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed(TRAILING)) }
    }
}
