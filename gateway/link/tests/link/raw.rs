//! A client that says what it likes: the protocol by hand, as far as the tests need it.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoStreamingRequest, Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) level: u32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) lineage: Option<Bytes>,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) incarnation: Bytes,
    #[prost(string, tag = "6")]
    pub(crate) token: String,
    #[prost(int32, tag = "7")]
    pub(crate) purpose: i32,
}

impl Hello {
    /// One that is welcome.
    pub(crate) fn good(incarnation: u128) -> Self {
        let incarnation = incarnation.to_be_bytes().to_vec().into();
        Self { version: 2, level: 1, name: "raw".into(), incarnation, purpose: 1, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloReply {
    #[prost(uint32, tag = "5")]
    pub(crate) shards: u32,
}

/// Groups, or queries.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Many {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) ids: Vec<u64>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) bodies: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Outcomes {
    #[prost(message, repeated, tag = "1")]
    pub(crate) outcomes: Vec<Outcome>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Outcome {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(fixed64, repeated, tag = "2")]
    pub(crate) published: Vec<u64>,
    #[prost(message, optional, tag = "4")]
    pub(crate) failure: Option<Failure>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failure {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
}

/// Of a failure.
pub(crate) const INVALID: i32 = 1;

/// A group of publishes to a topic.
pub(crate) fn group(topic: &str, bodies: &[&str]) -> Bytes {
    let mut group = Vec::new();
    for body in bodies {
        let mut message = Vec::new();
        prost::encoding::string::encode(2, &topic.to_owned(), &mut message);
        prost::encoding::uint32::encode(3, &1, &mut message);
        prost::encoding::string::encode(10, &(*body).to_owned(), &mut message);
        let mut command = Vec::new();
        prost::encoding::bytes::encode(1, &message, &mut command);
        prost::encoding::bytes::encode(2, &command, &mut group);
    }
    group.into()
}

/// A fetch of one position.
pub(crate) fn fetch(position: u64) -> Bytes {
    let (mut fetch, mut query) = (Vec::new(), Vec::new());
    prost::encoding::fixed64::encode_packed(2, &[position], &mut fetch);
    prost::encoding::bytes::encode(2, &fetch, &mut query);
    query.into()
}

/// What a reader of notify says: its start, an empty message for shard 0, or what it wants.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Start {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) start: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    pub(crate) wants: Option<Wants>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wants {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) add: Bytes,
}

/// One connection.
pub(crate) struct Raw(Channel);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
    }

    /// Connects and is let in.
    pub(crate) async fn welcome(address: SocketAddr, incarnation: u128) -> Self {
        let raw = Self::connect(address).await;
        assert_eq!(raw.hello(Hello::good(incarnation)).await.unwrap().shards, 1);
        raw
    }

    pub(crate) async fn hello(&self, hello: Hello) -> Result<HelloReply, Status> {
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/causeway.link.v1.Handshake/Hello");
        Ok(client.unary(Request::new(hello), path, ProstCodec::default()).await?.into_inner())
    }

    /// A stream that sends what the returned sender is given.
    pub(crate) async fn stream<S, R>(&self, method: &'static str) -> Result<(mpsc::Sender<S>, Streaming<R>), Status>
    where
        S: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let (sender, receiver) = mpsc::channel(1);
        let answers = self.open(method, ReceiverStream::new(receiver)).await?;
        Ok((sender, answers))
    }

    pub(crate) async fn open<S, R>(
        &self,
        method: &'static str,
        requests: impl Stream<Item = S> + Send + 'static,
    ) -> Result<Streaming<R>, Status>
    where
        S: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static(method);
        let answers = client.streaming(requests.into_streaming_request(), path, ProstCodec::default()).await?;
        Ok(answers.into_inner())
    }
}

pub(crate) const PROPOSE: &str = "/causeway.link.v1.Brokers/Propose";
pub(crate) const ASK: &str = "/causeway.link.v1.Brokers/Ask";
pub(crate) const NOTIFY: &str = "/causeway.link.v1.Brokers/Notify";
pub(crate) const JOIN: &str = "/causeway.link.v1.Membership/Join";
pub(crate) const PEER_ASK: &str = "/causeway.link.v1.Peers/Ask";
