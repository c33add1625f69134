//! UNSUBACK (§3.11): in 5.0 one answer a filter, in 3.x the packet id alone.

use bytes::{BufMut, BytesMut};
use causeway_model::PacketId;

use super::{Body, HAS_REASON, check_no_properties, check_reason, read_reason};
use crate::codec::{
    Error, Holder, PacketType, Properties, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const NO_REASON: Rule = "no reason code (§3.11.3)";

/// What became of each filter of an UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    /// The packet id of the UNSUBSCRIBE.
    pub pid: PacketId,
    /// 5.0: one a filter, in their order. 3.x: none.
    pub reasons: Vec<Reason>,
    /// 5.0: reason string and user properties.
    pub properties: Properties,
}

impl UnsubAck {
    pub(super) fn parse(reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let mut unsuback = Self { pid: reader.packet_id()?, reasons: Vec::new(), properties: Properties::EMPTY };
        if !version.is_v5() {
            return Ok(unsuback);
        }
        unsuback.properties = Properties::read(reader, Holder::UnsubAck)?;
        unsuback.reasons.reserve_exact(reader.remaining());
        while !reader.is_empty() {
            unsuback.reasons.push(read_reason(reader, Sender::Server)?);
        }
        if unsuback.reasons.is_empty() {
            return Err(reader.protocol(NO_REASON));
        }
        Ok(unsuback)
    }
}

impl Body for UnsubAck {
    fn packet(&self) -> PacketType {
        PacketType::UnsubAck
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::UnsubAck;
        if !version.is_v5() {
            if !self.reasons.is_empty() {
                return Err(Error::NotInVersion { packet, version, rule: HAS_REASON });
            }
            return check_no_properties(packet, version, &self.properties);
        }
        if self.reasons.is_empty() {
            return Err(Error::Protocol { packet, rule: NO_REASON });
        }
        self.reasons.iter().try_for_each(|&reason| check_reason(packet, reason))?;
        self.properties.check(Holder::UnsubAck)
    }

    fn len(&self, version: Version) -> usize {
        let properties = if version.is_v5() { self.properties.wire_len() } else { 0 };
        properties.saturating_add(self.reasons.len()).saturating_add(2)
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.pid.get());
        if version.is_v5() {
            self.properties.write(out);
            out.extend(self.reasons.iter().map(|reason| reason.code()));
        }
    }
}
