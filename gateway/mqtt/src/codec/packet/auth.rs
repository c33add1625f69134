//! AUTH (§3.15): a step of enhanced authentication, 5.0 only.

use bytes::{BufMut, BytesMut};

use super::{Body, check_reason, read_reason};
use crate::codec::{
    Error, Holder, PacketType, Properties, PropertyId, Reason, Sender, Version,
    primitive::{Reader, Rule},
};

const NO_AUTH: Rule = "AUTH exists in 5.0 only";
const NO_METHOD: Rule = "no authentication method (§3.15.2.2.2)";

/// A step of authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Success (server), continue (either), re-authenticate (client).
    pub reason: Reason,
    /// The method (always, except in the success that says nothing), data, reason string, user properties.
    pub properties: Properties,
}

impl Auth {
    pub(super) fn parse(reader: &mut Reader, sender: Sender) -> Result<Self, Error> {
        // "If the Reason Code is 0x00 and there are no Properties" both may be left out (§3.15.2.1), but not the
        // length of the properties alone: nothing here gives a missing one a meaning, unlike in DISCONNECT.
        let (reason, properties) = if reader.is_empty() {
            (Reason::Success, Properties::EMPTY)
        } else {
            (read_reason(reader, sender)?, Properties::read(reader, Holder::Auth)?)
        };
        if !reason.fits(PacketType::Auth, sender) {
            return Err(reader.protocol(super::REASON_MISPLACED));
        }
        let auth = Self { reason, properties };
        auth.check_method()?;
        Ok(auth)
    }

    fn check_method(&self) -> Result<(), Error> {
        let says_nothing = self.reason == Reason::Success && self.properties.is_empty();
        if says_nothing || self.properties.contains(PropertyId::AuthenticationMethod) {
            return Ok(());
        }
        Err(Error::Protocol { packet: PacketType::Auth, rule: NO_METHOD })
    }
}

impl Body for Auth {
    fn packet(&self) -> PacketType {
        PacketType::Auth
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        if !version.is_v5() {
            return Err(Error::NotInVersion { packet: PacketType::Auth, version, rule: NO_AUTH });
        }
        check_reason(PacketType::Auth, self.reason)?;
        self.properties.check(Holder::Auth)?;
        self.check_method()
    }

    fn len(&self, _version: Version) -> usize {
        if self.properties.is_empty() { 0 } else { self.properties.wire_len().saturating_add(1) }
    }

    fn write(&self, _version: Version, out: &mut BytesMut) {
        if !self.properties.is_empty() {
            out.put_u8(self.reason.code());
            self.properties.write(out);
        }
    }
}
