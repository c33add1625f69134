//! SUBSCRIBE (§3.8): filters and how to deliver what they match.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{PacketId, Qos, RetainHandling, Text};

use super::{Body, check_no_properties};
use crate::codec::{
    Error, Holder, PacketType, Properties, Version,
    primitive::{self, Reader, Rule},
    topic,
};

const NO_FILTER: Rule = "no topic filter [MQTT-3.8.3-2]";
const RESERVED: Rule = "reserved subscription options [MQTT-3.8.3-5]";
const QOS_3: Rule = "maximum QoS 3 (§3.8.3.1)";
const RETAIN_3: Rule = "retain handling 3 (§3.8.3.1)";
const NO_LOCAL_SHARED: Rule = "no local on a shared subscription [MQTT-3.8.3-4]";
const OPTIONS: Rule = "subscription options other than QoS exist in 5.0 only";

/// The options byte of one subscription (§3.8.3.1). In 3.x only the QoS exists; the others are at their default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// The highest QoS that is wanted.
    pub qos: Qos,
    /// Not to be delivered to the client that published it.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent when the subscription is made.
    pub retain_handling: RetainHandling,
}

impl FilterOptions {
    /// A QoS and nothing else.
    pub const fn at(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    fn from_byte(byte: u8, version: Version) -> Result<Self, Error> {
        let packet = PacketType::Subscribe;
        let reserved = match version {
            Version::V31 => 0, // "not used … reserved for future use" (3.1 §3.8): ignored
            Version::V311 => 0b1111_1100,
            Version::V5 => 0b1100_0000,
        };
        if byte & reserved != 0 {
            return Err(Error::Malformed { packet, rule: RESERVED });
        }
        let Some(qos) = Qos::from_number(byte & 0b11) else {
            return Err(Error::Protocol { packet, rule: QOS_3 });
        };
        if !version.is_v5() {
            return Ok(Self::at(qos));
        }
        let retain_handling = match (byte >> 4) & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::Skip,
            _ => return Err(Error::Protocol { packet, rule: RETAIN_3 }),
        };
        Ok(Self { qos, no_local: byte & 0b0100 != 0, retain_as_published: byte & 0b1000 != 0, retain_handling })
    }

    fn to_byte(self) -> u8 {
        let retain_handling = match self.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 0b01_0000,
            RetainHandling::Skip => 0b10_0000,
        };
        self.qos.number() | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3 | retain_handling
    }
}

/// Filters to subscribe to. The list stays encoded: a packet full of short filters costs no more memory than its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The packet id that SUBACK answers.
    pub pid: PacketId,
    /// 5.0: subscription identifier, user properties.
    pub properties: Properties,
    filters: Bytes,
}

impl Subscribe {
    /// A subscription to `filters`, to be sent in `version`. At least one is needed.
    pub fn new<'a>(
        pid: PacketId,
        properties: Properties,
        filters: impl IntoIterator<Item = (&'a str, FilterOptions)>,
    ) -> Result<Self, Error> {
        let mut block = BytesMut::new();
        for (filter, options) in filters {
            primitive::check_string(PacketType::Subscribe, filter)?;
            primitive::put_field(&mut block, filter.as_bytes());
            block.put_u8(options.to_byte());
        }
        Ok(Self { pid, properties, filters: block.freeze() })
    }

    /// The filters in their order, each with its options; SUBACK has a reason for each. They share the packet's memory.
    pub fn filters(&self) -> impl Iterator<Item = (Text, FilterOptions)> + use<> {
        let mut reader = Reader::new(PacketType::Subscribe, self.filters.clone());
        // The list was checked when the packet was made, so the walk ends where the list does.
        std::iter::from_fn(move || if reader.is_empty() { None } else { read(&mut reader, Version::V5).ok() })
    }

    /// Bytes that it keeps in memory, nearly.
    pub fn bytes(&self) -> usize {
        self.filters.len().saturating_add(self.properties.wire_len())
    }

    pub(super) fn parse(reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let pid = reader.packet_id()?;
        let properties = if version.is_v5() { Properties::read(reader, Holder::Subscribe)? } else { Properties::EMPTY };
        let filters = reader.rest();
        if version == Version::V31 {
            return Self { pid, properties, filters: without_reserved(&filters)? }.checked(version);
        }
        Self { pid, properties, filters }.checked(version)
    }

    fn checked(self, version: Version) -> Result<Self, Error> {
        self.check_filters(version)?;
        Ok(self)
    }

    fn check_filters(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::Subscribe;
        if self.filters.is_empty() {
            return Err(Error::Protocol { packet, rule: NO_FILTER });
        }
        let mut reader = Reader::new(packet, self.filters.clone());
        while !reader.is_empty() {
            let (filter, options) = read(&mut reader, version)?;
            topic::check_filter(packet, version, &filter)?;
            if options.no_local && topic::split_shared(&filter).is_some() {
                return Err(Error::Protocol { packet, rule: NO_LOCAL_SHARED });
            }
        }
        Ok(())
    }
}

fn read(reader: &mut Reader, version: Version) -> Result<(Text, FilterOptions), Error> {
    let filter = reader.string()?;
    let options = FilterOptions::from_byte(reader.u8()?, version)?;
    Ok((filter, options))
}

/// 3.1 lets the reserved bits of the options be anything: clears them, so that the list reads the same in any version.
fn without_reserved(filters: &Bytes) -> Result<Bytes, Error> {
    let mut reader = Reader::new(PacketType::Subscribe, filters.clone());
    let mut clean = BytesMut::with_capacity(filters.len());
    while !reader.is_empty() {
        let (filter, options) = read(&mut reader, Version::V31)?;
        primitive::put_field(&mut clean, filter.as_bytes());
        clean.put_u8(options.to_byte());
    }
    Ok(clean.freeze())
}

impl Body for Subscribe {
    fn packet(&self) -> PacketType {
        PacketType::Subscribe
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        if version.is_v5() {
            self.properties.check(Holder::Subscribe)?;
        } else {
            check_no_properties(PacketType::Subscribe, version, &self.properties)?;
            if self.filters().any(|(_, options)| options != FilterOptions::at(options.qos)) {
                return Err(Error::NotInVersion { packet: PacketType::Subscribe, version, rule: OPTIONS });
            }
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
