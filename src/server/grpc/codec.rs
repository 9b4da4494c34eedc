//! How messages leave and enter: prost, with two changes for what a caller sends. A message that
//! is no protobuf is the caller's fault (INVALID_ARGUMENT; prost's own codec says INTERNAL), and
//! one with too many fields is refused before it costs memory. And each message has a buffer of its
//! own size: tonic would take 8 KiB for every one, and grow them step by step.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::pb::inference::ModelInferRequest;
use super::wire;

/// The codec of all generated servers and clients (`build.rs` names it).
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// A small message fits into the buffer that it begins with; a stream of them leaves in pieces of
/// tonic's usual size.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 32 << 10)
}

pub struct MessageEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.reserve(message.encoded_len());
        message.encode(target).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Takes the received bytes as they are; `bytes` fields become slices of them.
        let message = source.copy_to_bytes(source.remaining());
        // The one message with parts that a caller can multiply.
        let is_inference = TypeId::of::<U>() == TypeId::of::<ModelInferRequest>();
        if is_inference && !wire::is_bounded(&message) {
            return Err(Status::invalid_argument(format!(
                "the message has more than {} fields, or more than {} elements of typed contents \
                 that stand as fields of their own; large BYTES tensors go into raw_input_contents",
                wire::FIELDS_MAX,
                wire::ELEMENTS_MAX
            )));
        }
        // prost's words name message and field, never a value.
        U::decode(message).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
