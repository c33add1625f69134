//! Application properties in a protocol-neutral, encoded form.
//!
//! A message is written once and read by many, most of which forward its properties without looking. So they stay one
//! block of bytes, checked when it is made, walked when somebody asks.
//!
//! ```text
//! entry = tag u8 ‖ field (user: two fields) ;  field = length u32 big-endian ‖ bytes
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Text;

/// One property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// An application's own pair; keys may repeat and order is kept.
    User(Text, Text),
    /// MIME type or another description of the body.
    ContentType(Text),
    /// Topic for the answer (MQTT Response Topic, AMQP reply-to).
    ReplyTo(Text),
    /// Opaque id that an answer carries back.
    Correlation(Bytes),
    /// The body is UTF-8 text (MQTT Payload Format Indicator = 1).
    Utf8,
}

const USER: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const REPLY_TO: u8 = 3;
const CORRELATION: u8 = 4;
const UTF8: u8 = 5;

/// A block of properties that is known to be well formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Bytes);

/// A block that is not a sequence of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("properties malformed at byte {at}")]
pub struct PropertyError {
    /// Where in the block the first bad entry starts.
    pub at: usize,
}

impl Properties {
    /// Checks a block that was stored or sent.
    pub fn from_encoded(block: Bytes) -> Result<Self, PropertyError> {
        let total = block.len();
        let mut rest = block.clone();
        while !rest.is_empty() {
            let at = total - rest.len();
            next(&mut rest).ok_or(PropertyError { at })?;
        }
        Ok(Self(block))
    }

    /// The encoded block.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// No properties at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = Property> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || next(&mut rest))
    }
}

/// Builds a block.
#[derive(Debug, Default)]
pub struct PropertiesBuilder(BytesMut);

impl PropertiesBuilder {
    /// Appends one property.
    ///
    /// # Errors
    /// A field longer than `u32::MAX`; `at` is the length so far.
    pub fn push(&mut self, property: &Property) -> Result<(), PropertyError> {
        let at = self.0.len();
        match property {
            Property::User(key, value) => {
                self.0.put_u8(USER);
                self.field(key.as_bytes(), at)?;
                self.field(value.as_bytes(), at)
            }
            Property::ContentType(text) => self.tagged(CONTENT_TYPE, text.as_bytes(), at),
            Property::ReplyTo(text) => self.tagged(REPLY_TO, text.as_bytes(), at),
            Property::Correlation(data) => self.tagged(CORRELATION, data, at),
            Property::Utf8 => {
                self.0.put_u8(UTF8);
                Ok(())
            }
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8], at: usize) -> Result<(), PropertyError> {
        self.0.put_u8(tag);
        self.field(bytes, at)
    }

    fn field(&mut self, bytes: &[u8], at: usize) -> Result<(), PropertyError> {
        self.0.put_u32(u32::try_from(bytes.len()).map_err(|_| PropertyError { at })?);
        self.0.put_slice(bytes);
        Ok(())
    }

    /// The finished block.
    pub fn finish(self) -> Properties {
        Properties(self.0.freeze())
    }
}

fn next(rest: &mut Bytes) -> Option<Property> {
    let tag = rest.try_get_u8().ok()?;
    Some(match tag {
        USER => Property::User(text(rest)?, text(rest)?),
        CONTENT_TYPE => Property::ContentType(text(rest)?),
        REPLY_TO => Property::ReplyTo(text(rest)?),
        CORRELATION => Property::Correlation(field(rest)?),
        UTF8 => Property::Utf8,
        _ => return None,
    })
}

fn field(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn text(rest: &mut Bytes) -> Option<Text> {
    Text::try_from(field(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property() -> impl Strategy<Value = Property> {
        prop_oneof![
            (".*", ".*").prop_map(|(k, v)| Property::User(k.into(), v.into())),
            ".*".prop_map(|t| Property::ContentType(t.into())),
            ".*".prop_map(|t| Property::ReplyTo(t.into())),
            proptest::collection::vec(any::<u8>(), 0..50).prop_map(|d| Property::Correlation(d.into())),
            Just(Property::Utf8),
        ]
    }

    proptest! {
        #[test]
        fn a_block_gives_back_what_was_pushed(list in proptest::collection::vec(property(), 0..8)) {
            let mut builder = PropertiesBuilder::default();
            for p in &list {
                builder.push(p).unwrap();
            }
            let again = Properties::from_encoded(builder.finish().encoded().clone()).unwrap();
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), list);
        }

        #[test]
        fn any_bytes_are_refused_or_walked_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(block) = Properties::from_encoded(bytes.into()) {
                let mut again = PropertiesBuilder::default();
                for p in block.iter() {
                    again.push(&p).unwrap();
                }
                prop_assert_eq!(again.finish(), block);
            }
        }
    }
}
