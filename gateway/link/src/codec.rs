//! How messages become bytes: protobuf, into a buffer that is large enough at once.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A batch of small messages goes out as one buffer, and a buffer is not grown step by step under a large one.
const BUFFER: usize = 16 << 10;
const YIELD: usize = 64 << 10;

/// The codec of every method.
#[derive(Debug)]
pub(crate) struct Protobuf<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Protobuf<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Protobuf<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Frames<T>;
    type Decoder = Frames<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Frames(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Frames(PhantomData)
    }
}

/// Either direction.
#[derive(Debug)]
pub(crate) struct Frames<T>(PhantomData<T>);

impl<T: Message> Encoder for Frames<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.encoded_len());
        item.encode_raw(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

impl<T: Message + Default> Decoder for Frames<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(buf).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}
