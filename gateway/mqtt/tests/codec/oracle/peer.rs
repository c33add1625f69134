//! Three other codecs, each behind the same question: what is left of a packet that goes through it?

use bytes::BytesMut;
use causeway_mqtt::codec::Version;
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// Another codec: decodes a whole packet and encodes what it understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    Rmqtt,
    ProtocolCore,
    MqttBytes,
}

impl Oracle {
    pub(super) const ALL: [Self; 3] = [Self::Rmqtt, Self::ProtocolCore, Self::MqttBytes];

    /// Whether it has this version at all.
    pub(super) fn knows(self, version: Version) -> bool {
        match self {
            Self::Rmqtt => true,
            Self::ProtocolCore => version != Version::V31,
            Self::MqttBytes => version == Version::V311,
        }
    }

    /// What it encodes after it has decoded one whole packet.
    pub(super) fn journey(self, version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Rmqtt => rmqtt(version, bytes),
            Self::ProtocolCore => protocol_core(version, bytes),
            Self::MqttBytes => mqtt_bytes(bytes),
        }
    }
}

fn rmqtt(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut input, mut output) = (BytesMut::from(bytes), BytesMut::new());
    if version.is_v5() {
        let mut codec = rmqtt_codec::v5::Codec::new(0, 0);
        let (packet, _) = codec.decode(&mut input).map_err(|e| e.to_string())?.ok_or("incomplete")?;
        // Another codec: this one would leave out properties if the packet were a CONNECT that asks for it.
        rmqtt_codec::v5::Codec::new(0, 0).encode(packet, &mut output).map_err(|e| format!("encode: {e}"))?;
    } else {
        let mut codec = rmqtt_codec::v3::Codec::new(0);
        let (packet, _) = codec.decode(&mut input).map_err(|e| e.to_string())?.ok_or("incomplete")?;
        codec.encode(packet, &mut output).map_err(|e| format!("encode: {e}"))?;
    }
    Ok(output.to_vec())
}

fn protocol_core(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let header = causeway_mqtt::codec::FixedHeader::peek(bytes).ok().flatten().ok_or("fixed header")?;
    let body = bytes.get(header.len..header.packet_len()).ok_or("incomplete")?;
    macro_rules! journey {
        ($packet:ty) => {{
            let (packet, read) = <$packet>::parse(body).map_err(|e| format!("{e:?}"))?;
            (packet.to_continuous_buffer(), read)
        }};
        ($packet:ty, publish) => {{
            let (packet, read) = <$packet>::parse(header.flags, body.into()).map_err(|e| format!("{e:?}"))?;
            (packet.to_continuous_buffer(), read)
        }};
    }
    let (again, read) = match (header.packet.number(), version.is_v5()) {
        (1, false) => journey!(v3_1_1::Connect),
        (2, false) => journey!(v3_1_1::Connack),
        (3, false) => journey!(v3_1_1::Publish, publish),
        (4, false) => journey!(v3_1_1::Puback),
        (5, false) => journey!(v3_1_1::Pubrec),
        (6, false) => journey!(v3_1_1::Pubrel),
        (7, false) => journey!(v3_1_1::Pubcomp),
        (8, false) => journey!(v3_1_1::Subscribe),
        (9, false) => journey!(v3_1_1::Suback),
        (10, false) => journey!(v3_1_1::Unsubscribe),
        (11, false) => journey!(v3_1_1::Unsuback),
        (12, false) => journey!(v3_1_1::Pingreq),
        (13, false) => journey!(v3_1_1::Pingresp),
        (14, false) => journey!(v3_1_1::Disconnect),
        (1, true) => journey!(v5_0::Connect),
        (2, true) => journey!(v5_0::Connack),
        (3, true) => journey!(v5_0::Publish, publish),
        (4, true) => journey!(v5_0::Puback),
        (5, true) => journey!(v5_0::Pubrec),
        (6, true) => journey!(v5_0::Pubrel),
        (7, true) => journey!(v5_0::Pubcomp),
        (8, true) => journey!(v5_0::Subscribe),
        (9, true) => journey!(v5_0::Suback),
        (10, true) => journey!(v5_0::Unsubscribe),
        (11, true) => journey!(v5_0::Unsuback),
        (12, true) => journey!(v5_0::Pingreq),
        (13, true) => journey!(v5_0::Pingresp),
        (14, true) => journey!(v5_0::Disconnect),
        (15, true) => journey!(v5_0::Auth),
        _ => return Err("packet type".to_owned()),
    };
    if read < body.len() {
        return Err(format!("{read} of {} bytes read", body.len()));
    }
    Ok(again)
}

fn mqtt_bytes(bytes: &[u8]) -> Result<Vec<u8>, String> {
    use mqttbytes::v4::{self, Packet};
    let packet = v4::read(&mut BytesMut::from(bytes), 1 << 29).map_err(|e| format!("{e:?}"))?;
    let mut out = BytesMut::new();
    match packet {
        Packet::Connect(packet) => packet.write(&mut out),
        Packet::ConnAck(packet) => packet.write(&mut out),
        Packet::Publish(packet) => packet.write(&mut out),
        Packet::PubAck(packet) => packet.write(&mut out),
        Packet::PubRec(packet) => packet.write(&mut out),
        Packet::PubRel(packet) => packet.write(&mut out),
        Packet::PubComp(packet) => packet.write(&mut out),
        Packet::Subscribe(packet) => packet.write(&mut out),
        Packet::SubAck(packet) => packet.write(&mut out),
        Packet::Unsubscribe(packet) => packet.write(&mut out),
        Packet::UnsubAck(packet) => packet.write(&mut out),
        Packet::PingReq => v4::PingReq.write(&mut out),
        Packet::PingResp => v4::PingResp.write(&mut out),
        Packet::Disconnect => v4::Disconnect.write(&mut out),
    }
    .map_err(|e| format!("encode: {e:?}"))?;
    Ok(out.to_vec())
}
