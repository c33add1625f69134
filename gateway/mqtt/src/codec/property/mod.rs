//! Properties (5.0 §2.2.2): a checked block of bytes that stays encoded.
//!
//! ```text
//! block = property*            (without the length that precedes it on the wire)
//! ```
//!
//! Most properties are never looked at: a PUBLISH forwards them. So a block is validated once, where it is received
//! or built, and shared from then on; whoever wants a value walks the block. A set of the identifiers that occur
//! lets a question for an absent property be answered without a walk.
//!
//! Refused: a property that is unknown or has no place in the packet, twice what may be there once, values that
//! the specification excludes, and a block that does not end with its last property.

mod holder;
mod raw;
mod table;

use bytes::{Bytes, BytesMut};
use causeway_model::Text;

pub use holder::Holder;
pub use table::{Property, PropertyId};

use super::{
    Error,
    primitive::{self, MAX_VARINT, Reader, Rule},
};

const MISPLACED: Rule = "property has no place in this packet (§2.2.2.2)";
const TWICE: Rule = "property occurs twice (§2.2.2, §3)";
const DATA_WITHOUT_METHOD: Rule = "authentication data without a method (§3.1.2.11.10)";

/// A validated block of properties. Equal blocks have equal bytes: order counts, as it does on the wire.
///
/// A block remembers for which packet it was checked only in so far as that decides what it holds: encoding it in
/// another packet checks it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    block: Bytes,
    present: u64,
}

impl Properties {
    /// No properties: all that 3.x has.
    pub const EMPTY: Self = Self { block: Bytes::new(), present: 0 };

    /// Encodes `list` for `holder`, in its order.
    pub fn new(holder: Holder, list: impl IntoIterator<Item = Property>) -> Result<Self, Error> {
        let mut block = BytesMut::new();
        for property in list {
            property.write(holder.packet(), &mut block)?;
        }
        Self::from_block(holder, block.freeze())
    }

    /// Checks an encoded block (without its length) that is to stand in `holder`.
    pub fn from_block(holder: Holder, block: Bytes) -> Result<Self, Error> {
        let present = check_block(holder, &block)?;
        Ok(Self { block, present })
    }

    /// The encoded block without its length: what a forwarder passes on verbatim.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// No properties.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Whether the property occurs.
    pub fn contains(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// All properties in their order. Strings and data share the block.
    pub fn iter(&self) -> impl Iterator<Item = Property> + '_ {
        self.raw().filter_map(|(id, value)| Property::from_raw(id, value, &self.block))
    }

    /// All user properties in their order.
    pub fn user_properties(&self) -> impl Iterator<Item = (Text, Text)> + '_ {
        self.iter().filter_map(|property| if let Property::UserProperty(pair) = property { Some(pair) } else { None })
    }

    /// All subscription identifiers in their order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + '_ {
        self.raw().filter_map(|(_, value)| if let raw::Raw::Varint(number) = value { Some(number) } else { None })
    }

    fn first(&self, id: PropertyId) -> Option<raw::Raw<'_>> {
        if !self.contains(id) {
            return None;
        }
        self.raw().find_map(|(found, value)| (found == id).then_some(value))
    }

    fn raw(&self) -> impl Iterator<Item = (PropertyId, raw::Raw<'_>)> {
        let mut rest = &*self.block;
        // A block is checked when it is made, so the walk ends at its end and nowhere else.
        std::iter::from_fn(move || if rest.is_empty() { None } else { raw::split(&mut rest).ok() })
    }

    /// Reads length and block.
    pub(crate) fn read(reader: &mut Reader, holder: Holder) -> Result<Self, Error> {
        let len = reader.varint()?;
        if len == 0 {
            return Ok(Self::EMPTY);
        }
        let block = reader.take(len)?;
        Self::from_block(holder, block)
    }

    /// Refuses a block that was built for another packet.
    pub(crate) fn check(&self, holder: Holder) -> Result<(), Error> {
        if self.block.is_empty() {
            return Ok(());
        }
        if self.block.len() > MAX_VARINT as usize {
            return Err(Error::TooLong { packet: holder.packet(), len: self.block.len(), max: MAX_VARINT as usize });
        }
        check_block(holder, &self.block).map(|_| ())
    }

    /// Bytes of length and block.
    pub(crate) fn wire_len(&self) -> usize {
        primitive::varint_len(self.block.len()).saturating_add(self.block.len())
    }

    /// Writes length and block.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        primitive::put_varint(out, self.block.len());
        out.extend_from_slice(&self.block);
    }
}

/// Walks the whole block; gives the set of identifiers in it.
fn check_block(holder: Holder, block: &[u8]) -> Result<u64, Error> {
    let packet = holder.packet();
    let mut present = 0;
    let mut rest = block;
    while !rest.is_empty() {
        let (id, value) = raw::split(&mut rest).map_err(|rule| Error::Malformed { packet, rule })?;
        if !holder.takes(id) {
            return Err(Error::Malformed { packet, rule: MISPLACED });
        }
        if present & id.bit() != 0 && !id.repeats(holder) {
            return Err(Error::Protocol { packet, rule: TWICE });
        }
        raw::check(holder, id, value)?;
        present |= id.bit();
    }
    let data = PropertyId::AuthenticationData.bit();
    let method = PropertyId::AuthenticationMethod.bit();
    let asked = matches!(holder, Holder::Connect | Holder::Auth);
    if asked && present & data != 0 && present & method == 0 {
        return Err(Error::Protocol { packet, rule: DATA_WITHOUT_METHOD });
    }
    Ok(present)
}
