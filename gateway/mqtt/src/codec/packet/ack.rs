//! PUBACK, PUBREC, PUBREL, PUBCOMP (§3.4 to §3.7): a packet id, and in 5.0 a reason.

use bytes::{BufMut, BytesMut};
use causeway_model::PacketId;

use super::{Body, HAS_REASON, check_no_properties, check_reason, read_reason};
use crate::codec::{Error, Holder, PacketType, Properties, Reason, Sender, Version, primitive::Reader};

/// The four acknowledgements of a PUBLISH; which one, [`super::Packet`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The packet id of the PUBLISH.
    pub pid: PacketId,
    /// In 3.x always [`Reason::Success`]: it has no way to refuse a message but to close.
    pub reason: Reason,
    /// 5.0: reason string and user properties.
    pub properties: Properties,
}

impl Ack {
    /// A plain acknowledgement: four bytes in every version.
    pub const fn success(pid: PacketId) -> Self {
        Self::new(pid, Reason::Success)
    }

    /// An acknowledgement without properties.
    pub const fn new(pid: PacketId, reason: Reason) -> Self {
        Self { pid, reason, properties: Properties::EMPTY }
    }

    pub(super) fn parse(reader: &mut Reader, holder: Holder, version: Version) -> Result<Self, Error> {
        let mut ack = Self::success(reader.packet_id()?);
        // 5.0: reason and properties may be missing if they say nothing (§3.4.2.1, §3.4.2.2.1).
        if !version.is_v5() || reader.is_empty() {
            return Ok(ack);
        }
        // Either end acknowledges, with the same codes.
        ack.reason = read_reason(reader, Sender::Server)?;
        if !reader.is_empty() {
            ack.properties = Properties::read(reader, holder)?;
        }
        Ok(ack)
    }
}

/// An acknowledgement together with which of the four it is.
pub(super) struct Typed<'a> {
    pub(super) holder: Holder,
    pub(super) ack: &'a Ack,
}

impl Body for Typed<'_> {
    fn packet(&self) -> PacketType {
        self.holder.packet()
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = self.packet();
        if !version.is_v5() {
            if self.ack.reason != Reason::Success {
                return Err(Error::NotInVersion { packet, version, rule: HAS_REASON });
            }
            return check_no_properties(packet, version, &self.ack.properties);
        }
        check_reason(packet, self.ack.reason)?;
        self.ack.properties.check(self.holder)
    }

    fn len(&self, _version: Version) -> usize {
        match (self.ack.reason, self.ack.properties.is_empty()) {
            (Reason::Success, true) => 2,
            (_, true) => 3,
            (_, false) => self.ack.properties.wire_len().saturating_add(3),
        }
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.ack.pid.get());
        let len = self.len(version);
        if len > 2 {
            out.put_u8(self.ack.reason.code());
        }
        if len > 3 {
            self.ack.properties.write(out);
        }
    }
}
