//! UNSUBSCRIBE (§3.10): filters to give up.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{PacketId, Text};

use super::{Body, check_no_properties};
use crate::codec::{
    Error, Holder, PacketType, Properties, Version,
    primitive::{self, Reader, Rule},
    topic,
};

const NO_FILTER: Rule = "no topic filter [MQTT-3.10.3-2]";

/// Filters to give up. The list stays encoded, as in [`super::Subscribe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The packet id that UNSUBACK answers.
    pub pid: PacketId,
    /// 5.0: user properties.
    pub properties: Properties,
    filters: Bytes,
}

impl Unsubscribe {
    /// Gives up `filters`; at least one is needed.
    pub fn new<'a>(
        pid: PacketId,
        properties: Properties,
        filters: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let mut block = BytesMut::new();
        for filter in filters {
            primitive::check_string(PacketType::Unsubscribe, filter)?;
            primitive::put_field(&mut block, filter.as_bytes());
        }
        Ok(Self { pid, properties, filters: block.freeze() })
    }

    /// The filters in their order. They share the packet's memory.
    pub fn filters(&self) -> impl Iterator<Item = Text> + use<> {
        let mut reader = Reader::new(PacketType::Unsubscribe, self.filters.clone());
        // The list was checked when the packet was made, so the walk ends where the list does.
        std::iter::from_fn(move || if reader.is_empty() { None } else { reader.string().ok() })
    }

    /// Bytes that it keeps in memory, nearly.
    pub fn bytes(&self) -> usize {
        self.filters.len().saturating_add(self.properties.wire_len())
    }

    pub(super) fn parse(reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let pid = reader.packet_id()?;
        let properties =
            if version.is_v5() { Properties::read(reader, Holder::Unsubscribe)? } else { Properties::EMPTY };
        let unsubscribe = Self { pid, properties, filters: reader.rest() };
        unsubscribe.check_filters(version)?;
        Ok(unsubscribe)
    }

    fn check_filters(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::Unsubscribe;
        if self.filters.is_empty() {
            return Err(Error::Protocol { packet, rule: NO_FILTER });
        }
        let mut reader = Reader::new(packet, self.filters.clone());
        while !reader.is_empty() {
            topic::check_filter(packet, version, &reader.string()?)?;
        }
        Ok(())
    }
}

impl Body for Unsubscribe {
    fn packet(&self) -> PacketType {
        PacketType::Unsubscribe
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        if version.is_v5() {
            self.properties.check(Holder::Unsubscribe)?;
        } else {
            check_no_properties(PacketType::Unsubscribe, version, &self.properties)?;
        }
        self.check_filters(version)
    }

    fn len(&self, version: Version) -> usize {
        let properties = if version.is_v5() { self.properties.wire_len() } else { 0 };
        properties.saturating_add(self.filters.len()).saturating_add(2)
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.pid.get());
        if version.is_v5() {
            self.properties.write(out);
        }
        out.extend_from_slice(&self.filters);
    }
}
