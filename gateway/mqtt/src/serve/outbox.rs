//! What waits for one client's socket: many packets a write, large payloads without a copy.
//!
//! ```text
//!  chunks: bytes │ shared payload │ bytes │ shared payload   tail: bytes still appended to
//! ```
//!
//! Small packets are copied into one buffer, which costs less than a slice each in a vectored write. A payload over
//! [`SHARED`] bytes goes out from where it lies, however many clients it goes to.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::buffers;
use crate::codec::{Ack, Error, Packet, PacketId, Publish, Reason, SharedPublish, Version};

/// Payloads over it are not copied. A payload that waits keeps the whole buffer in which it lies, a batch of the log at
/// worst, so only those whose copying costs more than that go out as they are.
const SHARED: usize = 16 << 10;
/// Slices of one write; the system's limit is 1024.
const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// Bytes of all chunks.
    chunked: usize,
    tail: BytesMut,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.chunked + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn packet(&mut self, packet: &Packet, version: Version) -> Result<(), Error> {
        packet.encode(version, self.tail())
    }

    /// The most frequent packet.
    pub(super) fn puback(&mut self, pid: PacketId, reason: Reason, version: Version) -> Result<(), Error> {
        Packet::PubAck(Ack::new(pid, reason)).encode(version, self.tail())
    }

    pub(super) fn publish(&mut self, publish: Publish, version: Version) -> Result<(), Error> {
        if publish.payload.len() <= SHARED {
            return self.packet(&Packet::Publish(publish), version);
        }
        let shared = SharedPublish::new(version, &publish)?;
        let shared = if publish.dup { shared.again() } else { shared };
        let parts = shared.parts(publish.pid)?;
        let [head, pid, properties, _] = parts.slices();
        let tail = self.tail();
        for slice in [head, pid, properties] {
            tail.extend_from_slice(slice);
        }
        let before = self.tail.split().freeze();
        self.chunked += before.len() + publish.payload.len();
        self.chunks.extend([before, publish.payload]);
        Ok(())
    }

    fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = buffers::borrow();
        }
        &mut self.tail
    }

    /// Writes what the socket takes; ready with the bytes written. Ready with 0: nothing waits.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let socket = Pin::new(socket);
        let written = if self.chunks.is_empty() {
            socket.poll_write(context, &self.tail)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let chunks = self.chunks.iter().map(|chunk| &**chunk).chain([&*self.tail]);
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(chunks.filter(|chunk| !chunk.is_empty())) {
                *slice = IoSlice::new(chunk);
                count += 1;
            }
            socket.poll_write_vectored(context, slices.get(..count).unwrap_or_default())
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(bytes)) => {
                self.advance(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let here = bytes.min(chunk.len());
            chunk.advance(here);
            self.chunked -= here;
            bytes -= here;
            if !chunk.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
        self.tail.advance(bytes.min(self.tail.len()));
        if self.tail.is_empty() {
            buffers::give_back(std::mem::take(&mut self.tail));
            self.chunks = VecDeque::new();
        }
    }

    /// Forgets everything: the socket is gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Qos;
    use futures_util::future::poll_fn;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Properties;

    /// A socket that takes a given number of bytes at a time.
    struct Slow {
        taken: Vec<u8>,
        step: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let step = bytes.len().min(self.step);
            self.taken.extend_from_slice(&bytes[..step]);
            Poll::Ready(Ok(step))
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.step).collect();
            self.taken.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_in_order_whatever_the_socket_takes(
            sizes in proptest::collection::vec((0_usize..40_000, any::<bool>()), 1..80),
            step in 1_usize..90_000,
        ) {
            let mut outbox = Outbox::default();
            let mut expected = BytesMut::new();
            for (number, (size, dup)) in (1_u16..).zip(sizes) {
                let publish = Publish {
                    dup,
                    qos: Qos::AtLeastOnce,
                    retain: false,
                    topic: "a/b".into(),
                    pid: PacketId::new(number),
                    properties: Properties::EMPTY,
                    payload: vec![u8::try_from(number).unwrap(); size].into(),
                };
                Packet::Publish(publish.clone()).encode(Version::V5, &mut expected).unwrap();
                outbox.publish(publish, Version::V5).unwrap();
            }
            prop_assert_eq!(outbox.len(), expected.len());
            let mut slow = Slow { taken: Vec::new(), step };
            let write = poll_fn(|context| loop {
                match outbox.poll_write(&mut slow, context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => {}
                    stuck @ (Poll::Ready(Err(_)) | Poll::Pending) => panic!("{stuck:?}"),
                }
            });
            futures_util::FutureExt::now_or_never(write).unwrap();
            prop_assert!(outbox.is_empty());
            prop_assert_eq!(slow.taken, expected.to_vec());
        }
    }
}
