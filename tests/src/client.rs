//! A blocking MQTT client that hides nothing: packets out, packets in, one at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{
    Ack, ConnAck, Connect, Decoder, Disconnect, FilterOptions, Limits, Packet, PacketId, Properties, Publish, Qos,
    Reason, SubAck, Subscribe, Version,
};

/// Not a measure of speed: a hang becomes a failure that says where.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    version: Version,
    input: BytesMut,
    output: BytesMut,
}

impl Client {
    /// Opens the socket, sends CONNECT and reads CONNACK, whatever it says.
    pub fn connect(address: SocketAddr, connect: Connect) -> Result<(Self, ConnAck)> {
        Self::connect_within(address, connect, PATIENCE)
    }

    /// The same, for a client that takes its server for gone after so long without a byte.
    pub fn connect_within(address: SocketAddr, connect: Connect, patience: Duration) -> Result<(Self, ConnAck)> {
        let mut client = Self::open(address, connect.version)?;
        client.stream.set_read_timeout(Some(patience))?;
        client.send(&Packet::Connect(Box::new(connect)))?;
        match client.receive()? {
            Packet::ConnAck(ack) => Ok((client, ack)),
            other => bail!("expected CONNACK, got {other:?}"),
        }
    }

    /// A socket on which nothing was sent yet.
    pub fn open(address: SocketAddr, version: Version) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let decoder = Decoder::client(version, Limits::packet(1 << 20));
        Ok(Self { stream, decoder, version, input: BytesMut::new(), output: BytesMut::new() })
    }

    /// A second handle on the same socket, to write from another thread.
    pub fn writer(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    /// Writes one packet.
    pub fn send(&mut self, packet: &Packet) -> Result<()> {
        self.queue(packet)?;
        self.flush()
    }

    /// Encodes a packet for the next [`Client::flush`].
    pub fn queue(&mut self, packet: &Packet) -> Result<()> {
        Ok(packet.encode(self.version, &mut self.output)?)
    }

    /// Writes what was queued.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Raw bytes, well formed or not.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next packet.
    pub fn receive(&mut self) -> Result<Packet> {
        self.incoming()?.context("the server closed the connection")
    }

    /// The next packet; `None` when the server closed.
    pub fn incoming(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input)? {
                return Ok(Some(packet));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(e).context("waiting for a packet"),
            }
        }
    }

    /// SUBSCRIBE to one filter and wait for its SUBACK; messages that come before it are an error here.
    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<SubAck> {
        let pid = PacketId::MAX;
        let subscribe = Subscribe::new(pid, Properties::EMPTY, [(filter, FilterOptions::at(qos))])?;
        self.send(&Packet::Subscribe(subscribe))?;
        match self.receive()? {
            Packet::SubAck(ack) if ack.pid == pid => Ok(ack),
            other => bail!("expected SUBACK, got {other:?}"),
        }
    }

    /// PUBLISH at QoS 1 and wait for its PUBACK.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, pid: u16) -> Result<Reason> {
        self.send(&Packet::Publish(message(topic, payload, pid)?))?;
        match self.receive()? {
            Packet::PubAck(ack) if ack.pid.get() == pid => Ok(ack.reason),
            other => bail!("expected PUBACK {pid}, got {other:?}"),
        }
    }

    /// The next PUBLISH; acknowledges it when it is QoS 1.
    pub fn take(&mut self) -> Result<Publish> {
        match self.receive()? {
            Packet::Publish(publish) => {
                if let Some(pid) = publish.pid {
                    self.send(&Packet::PubAck(Ack::success(pid)))?;
                }
                Ok(publish)
            }
            other => bail!("expected PUBLISH, got {other:?}"),
        }
    }

    /// An orderly DISCONNECT; returns when the server has closed.
    pub fn disconnect(mut self) -> Result<()> {
        self.send(&Packet::Disconnect(Disconnect::new(Reason::Success)))?;
        while self.incoming()?.is_some() {}
        Ok(())
    }
}

/// A QoS 1 message.
pub fn message(topic: &str, payload: impl Into<Bytes>, pid: u16) -> Result<Publish> {
    let pid = PacketId::new(pid).context("packet id 0")?;
    Ok(Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: topic.into(),
        pid: Some(pid),
        properties: Properties::EMPTY,
        payload: payload.into(),
    })
}

/// A CONNECT of 3.1.1 that keeps its session.
pub fn persistent(client: &str) -> Connect {
    let mut connect = Connect::new(Version::V311, client.to_owned());
    connect.clean_start = false;
    connect
}

/// A CONNECT of 3.1.1 whose session ends with its connection.
pub fn volatile(client: &str) -> Connect {
    Connect::new(Version::V311, client.to_owned())
}
