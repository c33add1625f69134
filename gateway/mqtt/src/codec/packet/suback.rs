//! SUBACK (§3.9): one answer a filter.

use bytes::{BufMut, BytesMut};
use causeway_model::PacketId;

use super::{Body, check_no_properties, check_reason, read_reason};
use crate::codec::{
    Error, Holder, PacketType, Properties, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const NO_REASON: Rule = "no reason code (§3.9.3)";
const RETURN_CODE: Rule = "return code is reserved (3.1.1 §3.9.3)";

/// What became of each filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    /// The packet id of the SUBSCRIBE.
    pub pid: PacketId,
    /// One a filter, in their order: the granted QoS, or a failure. In 3.x [`Reason::UnspecifiedError`] is the only
    /// failure; see [`Reason::for_suback`].
    pub reasons: Vec<Reason>,
    /// 5.0: reason string and user properties.
    pub properties: Properties,
}

impl SubAck {
    pub(super) fn parse(reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let pid = reader.packet_id()?;
        let properties = if version.is_v5() { Properties::read(reader, Holder::SubAck)? } else { Properties::EMPTY };
        let mut reasons = Vec::with_capacity(reader.remaining());
        while !reader.is_empty() {
            let reason = read_reason(reader, Sender::Server)?;
            if !version.is_v5() && reason != reason.for_suback(version) {
                return Err(reader.malformed(RETURN_CODE));
            }
            reasons.push(reason);
        }
        if reasons.is_empty() {
            return Err(reader.protocol(NO_REASON));
        }
        Ok(Self { pid, reasons, properties })
    }
}

impl Body for SubAck {
    fn packet(&self) -> PacketType {
        PacketType::SubAck
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::SubAck;
        if self.reasons.is_empty() {
            return Err(Error::Protocol { packet, rule: NO_REASON });
        }
        for &reason in &self.reasons {
            check_reason(packet, reason)?;
            if reason != reason.for_suback(version) {
                return Err(Error::NotInVersion { packet, version, rule: RETURN_CODE });
            }
        }
        if version.is_v5() {
            self.properties.check(Holder::SubAck)
        } else {
            check_no_properties(packet, version, &self.properties)
        }
    }

    fn len(&self, version: Version) -> usize {
        let properties = if version.is_v5() { self.properties.wire_len() } else { 0 };
        properties.saturating_add(self.reasons.len()).saturating_add(2)
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u16(self.pid.get());
        if version.is_v5() {
            self.properties.write(out);
        }
        out.extend(self.reasons.iter().map(|reason| reason.code()));
    }
}
