//! CONNACK (§3.2): the server's answer to CONNECT.

use bytes::{BufMut, BytesMut};

use super::{Body, check_no_properties, check_reason, read_reason};
use crate::codec::{
    Error, Holder, PacketType, Properties, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const FLAGS: Rule = "reserved acknowledge flags [MQTT-3.2.2-1]";
const PRESENT: Rule = "session present in a refusal [MQTT-3.2.2-6]";
const RETURN_CODE: Rule = "return code is reserved (3.1.1 §3.2.2.3)";

/// The answer to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// The server has a session of this client. 3.1 has no such flag: written as 0, read as `false`.
    pub session_present: bool,
    /// Success or why not. 3.x has the six for which [`Reason::return_code`] gives one; see [`Reason::for_connack`].
    pub reason: Reason,
    /// 5.0 only.
    pub properties: Properties,
}

impl ConnAck {
    /// A refusal as `version` can say it.
    pub const fn refused(version: Version, reason: Reason) -> Self {
        Self { session_present: false, reason: reason.for_connack(version), properties: Properties::EMPTY }
    }

    pub(super) fn parse(reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let flags = reader.u8()?;
        if version != Version::V31 && flags > 1 {
            return Err(reader.malformed(FLAGS));
        }
        let session_present = version != Version::V31 && flags == 1;
        let reason = if version.is_v5() {
            read_reason(reader, Sender::Server)?
        } else {
            let code = reader.u8()?;
            Reason::from_return_code(code).ok_or_else(|| reader.malformed(RETURN_CODE))?
        };
        let properties = if version.is_v5() { Properties::read(reader, Holder::ConnAck)? } else { Properties::EMPTY };
        let connack = Self { session_present, reason, properties };
        connack.check_present()?;
        Ok(connack)
    }

    fn check_present(&self) -> Result<(), Error> {
        if self.session_present && self.reason != Reason::Success {
            return Err(Error::Protocol { packet: PacketType::ConnAck, rule: PRESENT });
        }
        Ok(())
    }
}

impl Body for ConnAck {
    fn packet(&self) -> PacketType {
        PacketType::ConnAck
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        self.check_present()?;
        if version.is_v5() {
            check_reason(PacketType::ConnAck, self.reason)?;
            return self.properties.check(Holder::ConnAck);
        }
        if self.reason.return_code().is_none() {
            return Err(Error::NotInVersion { packet: PacketType::ConnAck, version, rule: RETURN_CODE });
        }
        check_no_properties(PacketType::ConnAck, version, &self.properties)
    }

    fn len(&self, version: Version) -> usize {
        if version.is_v5() { self.properties.wire_len().saturating_add(2) } else { 2 }
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        out.put_u8(u8::from(self.session_present && version != Version::V31));
        if version.is_v5() {
            out.put_u8(self.reason.code());
            self.properties.write(out);
        } else {
            out.put_u8(self.reason.return_code().unwrap_or_default());
        }
    }
}
