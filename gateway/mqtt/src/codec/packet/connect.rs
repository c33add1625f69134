//! CONNECT (§3.1): who connects, in which version, with which session and will.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{Qos, Text};

use super::{Body, check_no_properties};
use crate::codec::{
    Error, FixedHeader, Holder, PacketType, Properties, Version,
    primitive::{self, Reader, Rule},
    topic,
};

const RESERVED: Rule = "reserved connect flag [MQTT-3.1.2-3]";
const WILL_QOS_3: Rule = "will QoS 3 [MQTT-3.1.2-12]";
const NO_WILL: Rule = "will QoS or retain without a will [MQTT-3.1.2-11], [MQTT-3.1.2-13]";
const LONE_PASSWORD: Rule = "password without a user name (3.1.1 [MQTT-3.1.2-22])";
const EMPTY_ID: Rule = "empty, but the session is to be kept (3.1.1 [MQTT-3.1.3-8])";
const ID_LENGTH: Rule = "not of 1 to 23 characters (3.1 §3.1)";
const LEVEL: Rule = "CONNECT says another version";

const CLEAN: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version of the whole connection.
    pub version: Version,
    /// Start with no session (5.0 Clean Start, 3.x Clean Session).
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    /// 5.0 only.
    pub properties: Properties,
    /// The client identifier; empty asks the server for one (not in 3.1, in 3.1.1 with a clean session only).
    pub client_id: Text,
    /// What to publish when the connection ends badly.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<Text>,
    /// Binary. In 3.x only together with a user name.
    pub password: Option<Bytes>,
}

/// The message that the server publishes for a client that is gone (§3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The QoS to publish it with.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// The topic name.
    pub topic: Text,
    /// The message, at most 65,535 bytes.
    pub payload: Bytes,
    /// 5.0 only: delay, and the properties of the message.
    pub properties: Properties,
}

impl Connect {
    /// A CONNECT with a clean start and nothing that is optional.
    pub fn new(version: Version, client_id: impl Into<Text>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::EMPTY,
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
        }
    }

    /// Parses a CONNECT. The version is given as soon as it is known, so that an error can be answered in it.
    pub(crate) fn parse(header: FixedHeader, body: Bytes) -> (Option<Version>, Result<Self, Error>) {
        let mut reader = Reader::new(PacketType::Connect, body);
        match read_version(&mut reader) {
            Ok(version) => (Some(version), Self::parse_rest(header, &mut reader, version)),
            // A level above ours is answered as 5.0 does, one below as 3.x does (§3.1.2.2, 3.1.1 §3.1.2.2). Bridges
            // set the highest bit of levels 3 and 4 and fall back when they are refused in that version.
            Err(error @ Error::UnsupportedVersion { level: 6..=0x7F }) => (Some(Version::V5), Err(error)),
            Err(error @ Error::UnsupportedVersion { .. }) => (Some(Version::V311), Err(error)),
            Err(error) => (None, Err(error)),
        }
    }

    fn parse_rest(header: FixedHeader, reader: &mut Reader, version: Version) -> Result<Self, Error> {
        PacketType::Connect.check_flags(header.flags, version)?;
        let flags = reader.u8()?;
        check_flags(flags, version).map_err(|rule| reader.malformed(rule))?;
        let keep_alive = reader.u16()?;
        let v5 = version.is_v5();
        let properties = if v5 { Properties::read(reader, Holder::Connect)? } else { Properties::EMPTY };
        let client_id = reader.string()?;
        let clean_start = flags & CLEAN != 0;
        let will = if flags & WILL == 0 { None } else { Some(Will::parse(flags, reader, version)?) };
        // In 3.1 "the Remaining Length field takes precedence over the User Name flag": a string that is announced
        // may be missing (3.1 §3.1, payload).
        let announced = |flag, reader: &Reader| flags & flag != 0 && !(version == Version::V31 && reader.is_empty());
        let user_name = if announced(USER_NAME, reader) { Some(reader.string()?) } else { None };
        let password = if announced(PASSWORD, reader) { Some(reader.field()?) } else { None };
        reader.finish()?;
        let connect = Self { version, clean_start, keep_alive, properties, client_id, will, user_name, password };
        connect.check_client_id()?;
        Ok(connect)
    }

    /// The identifiers that a 3.x server refuses with a CONNACK. 5.0 refuses none by form.
    fn check_client_id(&self) -> Result<(), Error> {
        match self.version {
            Version::V31 if !(1..=23).contains(&self.client_id.chars().count()) => {
                Err(Error::ClientId { rule: ID_LENGTH })
            }
            Version::V311 if self.client_id.is_empty() && !self.clean_start => Err(Error::ClientId { rule: EMPTY_ID }),
            Version::V31 | Version::V311 | Version::V5 => Ok(()),
        }
    }

    fn flag_byte(&self) -> u8 {
        let flag = |set, bit| if set { bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| WILL | will.qos.number() << 3 | flag(will.retain, WILL_RETAIN));
        flag(self.clean_start, CLEAN)
            | will
            | flag(self.password.is_some(), PASSWORD)
            | flag(self.user_name.is_some(), USER_NAME)
    }
}

fn read_version(reader: &mut Reader) -> Result<Version, Error> {
    let name = reader.field()?;
    let known = Version::ALL.iter().any(|version| *name == *version.name().as_bytes());
    if !known {
        return Err(Error::ProtocolName);
    }
    let level = reader.u8()?;
    let version = Version::ALL.into_iter().find(|v| v.level() == level && *name == *v.name().as_bytes());
    version.ok_or(Error::UnsupportedVersion { level })
}

fn check_flags(flags: u8, version: Version) -> Result<(), Rule> {
    let will_qos = (flags >> 3) & 0b11;
    if flags & WILL != 0 && will_qos == 3 {
        return Err(WILL_QOS_3);
    }
    if !version.is_v5() && flags & (USER_NAME | PASSWORD) == PASSWORD {
        return Err(LONE_PASSWORD);
    }
    // 3.1 disregards will QoS and retain without a will, and leaves bit 0 unused (3.1 §3.1).
    if version == Version::V31 {
        return Ok(());
    }
    if flags & 1 != 0 {
        return Err(RESERVED);
    }
    if flags & WILL == 0 && (will_qos != 0 || flags & WILL_RETAIN != 0) {
        return Err(NO_WILL);
    }
    Ok(())
}

impl Will {
    fn parse(flags: u8, reader: &mut Reader, version: Version) -> Result<Self, Error> {
        let qos = Qos::from_number((flags >> 3) & 0b11).ok_or_else(|| reader.malformed(WILL_QOS_3))?;
        let properties = if version.is_v5() { Properties::read(reader, Holder::Will)? } else { Properties::EMPTY };
        let topic = reader.string()?;
        topic::check_name(PacketType::Connect, &topic)?;
        let payload = reader.field()?;
        Ok(Self { qos, retain: flags & WILL_RETAIN != 0, topic, payload, properties })
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::Connect;
        primitive::check_string(packet, &self.topic)?;
        topic::check_name(packet, &self.topic)?;
        primitive::check_field(packet, &self.payload)?;
        if version.is_v5() {
            self.properties.check(Holder::Will)
        } else {
            check_no_properties(packet, version, &self.properties)
        }
    }
}

impl Body for Connect {
    fn packet(&self) -> PacketType {
        PacketType::Connect
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::Connect;
        if version != self.version {
            return Err(Error::NotInVersion { packet, version, rule: LEVEL });
        }
        primitive::check_string(packet, &self.client_id)?;
        self.check_client_id()?;
        if let Some(name) = &self.user_name {
            primitive::check_string(packet, name)?;
        } else if self.password.is_some() && !version.is_v5() {
            return Err(Error::NotInVersion { packet, version, rule: LONE_PASSWORD });
        }
        if let Some(password) = &self.password {
            primitive::check_field(packet, password)?;
        }
        if let Some(will) = &self.will {
            will.check(version)?;
        }
        if version.is_v5() {
            self.properties.check(Holder::Connect)
        } else {
            check_no_properties(packet, version, &self.properties)
        }
    }

    fn len(&self, version: Version) -> usize {
        let block = |properties: &Properties| if version.is_v5() { properties.wire_len() } else { 0 };
        let field = |field: &Option<Bytes>| field.as_ref().map_or(0, |bytes| primitive::field_len(bytes));
        [
            // Level, flags and keep alive.
            primitive::field_len(version.name().as_bytes()).saturating_add(4),
            block(&self.properties),
            primitive::field_len(self.client_id.as_bytes()),
            self.will.as_ref().map_or(0, |will| {
                let topic = primitive::field_len(will.topic.as_bytes());
                let payload = primitive::field_len(&will.payload);
                block(&will.properties).saturating_add(topic).saturating_add(payload)
            }),
            self.user_name.as_ref().map_or(0, |name| primitive::field_len(name.as_bytes())),
            field(&self.password),
        ]
        .iter()
        .sum()
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        primitive::put_field(out, version.name().as_bytes());
        out.put_u8(version.level());
        out.put_u8(self.flag_byte());
        out.put_u16(self.keep_alive);
        if version.is_v5() {
            self.properties.write(out);
        }
        primitive::put_field(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if version.is_v5() {
                will.properties.write(out);
            }
            primitive::put_field(out, will.topic.as_bytes());
            primitive::put_field(out, &will.payload);
        }
        if let Some(name) = &self.user_name {
            primitive::put_field(out, name.as_bytes());
        }
        if let Some(password) = &self.password {
            primitive::put_field(out, password);
        }
    }
}
