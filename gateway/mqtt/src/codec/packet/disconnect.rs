//! DISCONNECT (§3.14): the last packet. In 3.x a client's alone, and empty.

use bytes::{BufMut, BytesMut};

use super::{Body, HAS_REASON, check_no_properties, check_reason, read_reason};
use crate::codec::{
    Error, Holder, PacketType, Properties, PropertyId, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const EXPIRY_OF_SERVER: Rule = "session expiry interval from a server [MQTT-3.14.2-2]";

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// In 3.x always [`Reason::Success`], normal disconnection.
    pub reason: Reason,
    /// 5.0 only.
    pub properties: Properties,
}

impl Disconnect {
    /// Normal disconnection: the will is dropped.
    pub const NORMAL: Self = Self::new(Reason::Success);

    /// A disconnection without properties.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, properties: Properties::EMPTY }
    }

    pub(super) fn parse(reader: &mut Reader, version: Version, sender: Sender) -> Result<Self, Error> {
        let mut disconnect = Self::NORMAL;
        if !version.is_v5() {
            return Ok(disconnect);
        }
        if reader.is_empty() {
            // Normal disconnection is the client's (§3.14.2.1), in the short form too.
            if !disconnect.reason.fits(PacketType::Disconnect, sender) {
                return Err(reader.protocol(super::REASON_MISPLACED));
            }
            return Ok(disconnect);
        }
        disconnect.reason = read_reason(reader, sender)?;
        // "If the Remaining Length is less than 2, a value of 0 is used" (§3.14.2.2.1).
        if !reader.is_empty() {
            disconnect.properties = Properties::read(reader, Holder::Disconnect)?;
        }
        if sender == Sender::Server && disconnect.properties.contains(PropertyId::SessionExpiryInterval) {
            return Err(reader.protocol(EXPIRY_OF_SERVER));
        }
        Ok(disconnect)
    }
}

impl Body for Disconnect {
    fn packet(&self) -> PacketType {
        PacketType::Disconnect
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        if version.is_v5() {
            check_reason(PacketType::Disconnect, self.reason)?;
            return self.properties.check(Holder::Disconnect);
        }
        if self.reason != Reason::Success {
            return Err(Error::NotInVersion { packet: PacketType::Disconnect, version, rule: HAS_REASON });
        }
        check_no_properties(PacketType::Disconnect, version, &self.properties)
    }

    fn len(&self, _version: Version) -> usize {
        match (self.reason, self.properties.is_empty()) {
            (Reason::Success, true) => 0,
            (_, true) => 1,
            (_, false) => self.properties.wire_len().saturating_add(1),
        }
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        let len = self.len(version);
        if len > 0 {
            out.put_u8(self.reason.code());
        }
        if len > 1 {
            self.properties.write(out);
        }
    }
}
