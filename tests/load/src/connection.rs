//! One client connection: a socket, the codec, and buffers that take many packets per read and write.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use causeway_mqtt::codec::{
    Ack, Connect, Decoder, Disconnect, FilterOptions, Holder, Limits, Packet, PacketId, PacketType, Properties,
    Property, Publish, Qos, Reason, Subscribe, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::args::Target;

/// Longer than any run, so that nobody has to ping.
const KEEP_ALIVE: u16 = 2 * 3600;

/// What a persistent session is to outlive.
const SESSION_EXPIRY: u32 = 3600;

/// A packet of this size is more than any server sends to a tool that asked for nothing.
const MAX_PACKET: usize = 16 << 20;

/// What is read at once: hundreds of messages of the usual size.
const READ: usize = 64 << 10;

/// How long a server may take to answer CONNECT or SUBSCRIBE.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who connects.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Client identifier.
    pub(crate) client_id: String,
    /// Keep the session, and ask for the one that was kept.
    pub(crate) persistent: bool,
    /// Address to connect from, if it matters: one address has only some 28,000 ports.
    pub(crate) source: Option<IpAddr>,
}

impl Login {
    /// A client without a past: `role` and `number`, unique while this process lives.
    pub(crate) fn volatile(role: &str, number: u32) -> Self {
        Self { client_id: format!("{role}-{}-{number}", std::process::id()), persistent: false, source: None }
    }
}

/// What a server sent.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message.
    Publish(Publish),
    /// QoS 2: the server has it; PUBREL is due.
    Received(PacketId),
    /// QoS 2: the server releases it; PUBCOMP is due.
    Released(PacketId),
    /// A message of ours is done: PUBACK or PUBCOMP, or a refusal.
    Completed(PacketId, Reason),
    /// Any other packet.
    Other(Packet),
}

/// A connection on which CONNACK has said yes.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    version: Version,
    input: BytesMut,
    /// Bytes to be written; [`Connection::exchange`] writes them.
    pub(crate) output: BytesMut,
    /// Messages at QoS 1 and 2 that the server takes at once.
    pub(crate) receive_maximum: u16,
    /// The server still had a session of this client.
    pub(crate) session_present: bool,
}

impl Connection {
    /// Connects and waits for CONNACK.
    pub(crate) async fn open(address: SocketAddr, target: &Target, login: Login) -> Result<Self> {
        let opening = Self::handshake(address, target, login);
        tokio::time::timeout(PATIENCE, opening)
            .await
            .with_context(|| format!("{address} did not answer CONNECT within {PATIENCE:?}"))?
    }

    async fn handshake(address: SocketAddr, target: &Target, login: Login) -> Result<Self> {
        let version = target.version;
        let stream = dial(address, login.source).await?;
        let mut connection = Self {
            stream,
            decoder: Decoder::client(version, Limits::packet(MAX_PACKET)),
            version,
            input: BytesMut::new(),
            output: BytesMut::new(),
            receive_maximum: u16::MAX,
            session_present: false,
        };
        connection.send(&Packet::Connect(Box::new(connect(target, login)?)))?;
        let Packet::ConnAck(answer) = connection.answer().await.context("waiting for CONNACK")? else {
            bail!("the first packet of the server is not CONNACK");
        };
        if answer.reason != Reason::Success {
            bail!("the server refuses the connection: {:?}", answer.reason);
        }
        connection.session_present = answer.session_present;
        connection.receive_maximum = answer.properties.receive_maximum().unwrap_or(u16::MAX);
        Ok(connection)
    }

    /// Subscribes and waits for SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<()> {
        let subscribe = Subscribe::new(PacketId::MIN, Properties::EMPTY, [(filter, FilterOptions::at(qos))])?;
        self.send(&Packet::Subscribe(subscribe))?;
        let answer = tokio::time::timeout(PATIENCE, self.answer())
            .await
            .with_context(|| format!("no answer to SUBSCRIBE within {PATIENCE:?}"))?;
        let Packet::SubAck(suback) = answer.context("waiting for SUBACK")? else {
            bail!("the answer to SUBSCRIBE is not SUBACK");
        };
        // Granted reasons are the granted QoS; a lower one would silently measure something else.
        if suback.reasons.first().is_none_or(|reason| reason.code() != qos.number()) {
            bail!("subscription to {filter} at {qos:?} was answered with {:?}", suback.reasons);
        }
        Ok(())
    }

    /// Appends a packet to what is to be written.
    pub(crate) fn send(&mut self, packet: &Packet) -> Result<()> {
        packet.encode(self.version, &mut self.output).with_context(|| format!("encoding {}", packet.packet_type()))
    }

    /// Acknowledges: `make` is the packet type.
    pub(crate) fn acknowledge(&mut self, make: fn(Ack) -> Packet, pid: PacketId) -> Result<()> {
        self.send(&make(Ack::success(pid)))
    }

    /// Writes a part of what is to be written, or reads what has come. Cancelling it loses nothing.
    pub(crate) async fn exchange(&mut self) -> Result<()> {
        self.exchange_at_most(READ).await
    }

    /// Takes the next packet that has been read.
    pub(crate) fn event(&mut self) -> Result<Option<Event>> {
        let Some(packet) = self.decoder.decode(&mut self.input).context("what the server sent")? else {
            return Ok(None);
        };
        Ok(Some(match packet {
            Packet::Publish(publish) => Event::Publish(publish),
            Packet::PubAck(ack) | Packet::PubComp(ack) => Event::Completed(ack.pid, ack.reason),
            Packet::PubRec(ack) if ack.reason.code() >= 0x80 => Event::Completed(ack.pid, ack.reason),
            Packet::PubRec(ack) => Event::Received(ack.pid),
            Packet::PubRel(ack) => Event::Released(ack.pid),
            Packet::Disconnect(disconnect) => bail!("the server disconnects: {:?}", disconnect.reason),
            other @ (Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Auth(_)) => Event::Other(other),
        }))
    }

    /// Writes all that is to be written.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.stream.write_all_buf(&mut self.output).await.context("writing to the server")
    }

    /// Says goodbye and closes, so that the session ends as the protocol has it. Waits until the server has closed too.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.send(&Packet::Disconnect(Disconnect::NORMAL))?;
        self.flush().await?;
        let mut ignored = BytesMut::with_capacity(1 << 10);
        let closed = async {
            while matches!(self.stream.read_buf(&mut ignored).await, Ok(1..)) {
                ignored.clear();
            }
        };
        // It need not: goodbye has been said.
        let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
        Ok(())
    }

    /// Whether the server has kept the connection open.
    pub(crate) fn is_open(&self) -> bool {
        let mut one = [0];
        matches!(self.stream.try_read(&mut one), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Waits for one packet; for handshakes, so that an idle connection holds little memory here.
    async fn answer(&mut self) -> Result<Packet> {
        loop {
            if let Some(event) = self.event()? {
                return match event {
                    Event::Other(packet) => Ok(packet),
                    Event::Publish(_) | Event::Received(_) | Event::Released(_) | Event::Completed(..) => {
                        bail!("a packet that nobody waits for: {event:?}")
                    }
                };
            }
            self.exchange_at_most(64).await?;
        }
    }

    async fn exchange_at_most(&mut self, bytes: usize) -> Result<()> {
        if self.input.capacity() - self.input.len() < bytes / 4 {
            self.input.reserve(bytes);
        }
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            biased;
            written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                written.context("writing to the server")?;
            }
            read = reader.read_buf(&mut self.input) => {
                if read.context("reading from the server")? == 0 {
                    bail!("the server closed the connection");
                }
            }
        }
        Ok(())
    }
}

async fn dial(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream> {
    let socket =
        if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.context("opening a socket")?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("binding to {source}"))?;
    }
    let stream = socket.connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    Ok(stream)
}

fn connect(target: &Target, login: Login) -> Result<Connect> {
    let mut connect = Connect::new(target.version, login.client_id);
    connect.keep_alive = KEEP_ALIVE;
    connect.clean_start = !login.persistent;
    connect.user_name = target.user_name.clone().map(Into::into);
    connect.password = target.password.clone().map(Into::into);
    if login.persistent && target.version.is_v5() {
        let expiry = Property::SessionExpiryInterval(SESSION_EXPIRY);
        connect.properties = Properties::new(Holder::Connect, [expiry]).context("session expiry")?;
    }
    Ok(connect)
}

/// For messages: an event that has no place where it came.
pub(crate) fn unexpected(event: &Event) -> anyhow::Error {
    let packet = match event {
        Event::Publish(_) => PacketType::Publish,
        Event::Received(_) => PacketType::PubRec,
        Event::Released(_) => PacketType::PubRel,
        Event::Completed(..) => PacketType::PubAck,
        Event::Other(packet) => packet.packet_type(),
    };
    anyhow::anyhow!("the server sent a {packet} that has no place here")
}
