//! A client of plain packets: it says exactly what a test wants said.

use std::time::Duration;

use bytes::BytesMut;
use causeway_mqtt::codec::{
    Ack, ConnAck, Connect, Decoder, Disconnect, FilterOptions, Limits, Packet, PacketId, Properties, Publish, Qos,
    Reason, Subscribe, Unsubscribe, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: DuplexStream,
    decoder: Decoder,
    buffer: BytesMut,
    version: Version,
    next: u16,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let version = Version::V5;
        let decoder = Decoder::client(version, Limits::packet(1 << 28));
        Self { stream, decoder, buffer: BytesMut::new(), version, next: 0 }
    }

    pub(crate) async fn connect(&mut self, connect: Connect) -> ConnAck {
        let ack = self.try_connect(connect).await;
        assert_eq!(ack.reason, Reason::Success);
        ack
    }

    pub(crate) async fn try_connect(&mut self, connect: Connect) -> ConnAck {
        self.version = connect.version;
        self.decoder = Decoder::client(connect.version, Limits::packet(1 << 28));
        self.send(Packet::Connect(Box::new(connect))).await;
        match self.receive().await {
            Packet::ConnAck(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.raw(&bytes).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("socket full").unwrap();
    }

    /// Writes until nothing more is taken for a while; the bytes taken.
    pub(crate) async fn pour(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let mut poured = 0;
        while poured < bytes.len() {
            match tokio::time::timeout(patience, self.stream.write(&bytes[poured..])).await {
                Ok(written) => poured += written.expect("connection closed"),
                Err(_) => break,
            }
        }
        poured
    }

    /// The next packet; `None`: the server closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
            match read.await.expect("nothing came") {
                Ok(bytes) if bytes > 0 => {}
                _ => return None,
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Packet {
        self.next().await.expect("connection closed")
    }

    pub(crate) async fn message(&mut self) -> Publish {
        match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn acknowledge(&mut self, publish: &Publish) {
        self.send(Packet::PubAck(Ack::success(publish.pid.unwrap()))).await;
    }

    /// Why the server ended the connection; `None`: without a word.
    pub(crate) async fn goodbye(&mut self) -> Option<Reason> {
        let mut reason = None;
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect(goodbye) = packet {
                reason = Some(goodbye.reason);
            }
        }
        reason
    }

    fn pid(&mut self) -> PacketId {
        self.next = self.next % 60_000 + 1;
        PacketId::new(self.next).unwrap()
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: Qos) {
        let reasons = self.try_subscribe(Properties::EMPTY, &[(filter, FilterOptions::at(qos))]).await;
        assert!(!reasons[0].is_failure(), "{reasons:?}");
    }

    pub(crate) async fn try_subscribe(
        &mut self,
        properties: Properties,
        filters: &[(&str, FilterOptions)],
    ) -> Vec<Reason> {
        let pid = self.pid();
        self.send(Packet::Subscribe(Subscribe::new(pid, properties, filters.iter().copied()).unwrap())).await;
        match self.receive().await {
            Packet::SubAck(ack) if ack.pid == pid => ack.reasons,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) {
        let pid = self.pid();
        self.send(Packet::Unsubscribe(Unsubscribe::new(pid, Properties::EMPTY, [filter]).unwrap())).await;
        match self.receive().await {
            Packet::UnsubAck(ack) if ack.pid == pid => {}
            other => panic!("{other:?}"),
        }
    }

    /// Publishes at QoS 1 without waiting.
    pub(crate) async fn post(&mut self, topic: &str, payload: &[u8]) -> PacketId {
        let pid = self.pid();
        let (topic, payload) = (topic.to_owned().into(), payload.to_vec().into());
        let (qos, properties) = (Qos::AtLeastOnce, Properties::EMPTY);
        let packet = Publish { dup: false, qos, retain: false, topic, pid: Some(pid), properties, payload };
        self.send(Packet::Publish(packet)).await;
        pid
    }

    /// Publishes at QoS 1 and waits until it is acknowledged.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        let pid = self.post(topic, payload).await;
        match self.receive().await {
            Packet::PubAck(ack) if ack.pid == pid && ack.reason == Reason::Success => {}
            other => panic!("{other:?}"),
        }
    }

    /// Closes this end; the other may still be read.
    pub(crate) async fn shut(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads and forgets; `false`: the server closed the connection.
    pub(crate) async fn skim(&mut self) -> bool {
        self.buffer.clear();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
        matches!(read.await.expect("nothing came"), Ok(bytes) if bytes > 0)
    }

    /// Says goodbye and waits until the connection is closed.
    pub(crate) async fn leave(mut self) {
        self.send(Packet::Disconnect(Disconnect::NORMAL)).await;
        assert_eq!(self.goodbye().await, None);
    }
}
