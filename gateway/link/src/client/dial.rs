//! Reaching a broker: address, TLS, handshake, and the difference between *not now* and *never*.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use causeway_compute::port::Cluster;
use causeway_model::{HashKey, Lineage};
use prometheus::Registry;
use rand::Rng;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use super::Identity;
use crate::convert::{self, Malformed};
use crate::proto as pb;
use crate::proto::handshake_client::HandshakeClient;
use crate::settings::{Backoff, Liveness};
use crate::{CONNECTION_WINDOW, ClientMetrics, ClientSettings, Error, FRAME_BYTES, LEVEL, STREAM_WINDOW, VERSION, tls};

/// How long a broker may take to accept a connection and to answer the handshake, each.
const PATIENCE: Duration = Duration::from_secs(5);

/// Dials brokers in turn.
pub(crate) struct Dialer {
    brokers: Vec<String>,
    next: usize,
    backoff: Backoff,
    liveness: Liveness,
    tls: Option<ClientTlsConfig>,
    hello: pb::HelloRequest,
    lineage: Option<Lineage>,
    /// There was a link: what is refused now may be accepted later, or elsewhere.
    served: bool,
    pub(crate) metrics: ClientMetrics,
}

/// A connection whose handshake is done.
pub(crate) struct Dialled {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    pub(crate) cluster: Cluster,
    pub(crate) link: u128,
    pub(crate) standings: Vec<pb::Standing>,
    pub(crate) message_bytes: u64,
}

pub(crate) enum Failed {
    /// Nobody answered: it may pass.
    Unreached(String),
    /// Somebody answered, and would again.
    Refused(Error),
}

impl Dialer {
    pub(crate) fn new(settings: &ClientSettings, identity: Identity, purpose: pb::Purpose) -> Result<Self, Error> {
        let hello = pb::HelloRequest {
            version: VERSION,
            level: LEVEL,
            lineage: None,
            name: identity.name.into_bytes(),
            incarnation: convert::incarnation_to(identity.incarnation),
            token: settings.token.clone().unwrap_or_default().into(),
            purpose: purpose.into(),
        };
        Ok(Self {
            brokers: settings.brokers.clone(),
            next: 0,
            backoff: settings.backoff,
            liveness: settings.liveness,
            tls: settings.tls.as_ref().map(tls::client).transpose()?,
            hello,
            lineage: settings.lineage,
            served: false,
            metrics: settings.metrics.clone().map_or_else(|| ClientMetrics::register(&Registry::new()), Ok)?,
        })
    }

    /// Tries brokers in turn until one answers; pauses after each.
    ///
    /// # Errors
    /// Once one refuses for good, before there was a first link.
    pub(crate) async fn dial_until_reached(&mut self) -> Result<Dialled, Error> {
        let mut pause = self.backoff.first;
        loop {
            let address = self.brokers.get(self.next % self.brokers.len()).cloned().unwrap_or_default();
            let dialled = self.dial(&address).await;
            match &dialled {
                Ok(_) => {}
                Err(Failed::Refused(_)) => self.metrics.refused.inc(),
                Err(Failed::Unreached(_)) => self.metrics.unreached.inc(),
            }
            match dialled {
                Ok(dialled) => {
                    self.lineage = Some(dialled.cluster.lineage);
                    self.served = true;
                    return Ok(dialled);
                }
                // A stranger at one address, or a broker under repair: clients are here already, and wait.
                Err(Failed::Refused(error)) if self.served => {
                    tracing::error!(broker = address, %error, "broker refused, trying again");
                }
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Unreached(cause)) => {
                    tracing::warn!(broker = address, cause, "broker not reached, trying again");
                }
            }
            self.next = self.next.wrapping_add(1);
            tokio::time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(self.backoff.most);
        }
    }

    /// How long to wait before an attempt that is likely to fail.
    pub(crate) fn pause(&self) -> Duration {
        jitter(self.backoff.most / 2)
    }

    /// One attempt.
    pub(crate) async fn dial(&self, address: &str) -> Result<Dialled, Failed> {
        let endpoint = self.endpoint(address).map_err(Failed::Refused)?;
        let channel = endpoint.connect().await.map_err(|error| unreached(address, &error))?;
        let mut client = HandshakeClient::new(channel.clone());
        let mut hello = self.hello.clone();
        hello.lineage = self.lineage.map(|lineage| lineage.0.to_be_bytes().to_vec().into());
        let reply = match tokio::time::timeout(PATIENCE, client.hello(hello)).await {
            Err(_) => return Err(Failed::Unreached("no answer to the handshake".to_owned())),
            Ok(Err(status)) => return Err(self.explained(refused(address, &status), &status)),
            Ok(Ok(reply)) => reply.into_inner(),
        };
        self.judge(address, channel, reply).map_err(Failed::Refused)
    }

    /// A broker with TLS answers what is no TLS with bytes that are no HTTP/2 either.
    fn explained(&self, failed: Failed, status: &Status) -> Failed {
        if let Failed::Unreached(cause) = &failed
            && self.tls.is_none()
            && status.code() == Code::Internal
        {
            return Failed::Unreached(format!("{cause} (does it want TLS? there is no link.tls here)"));
        }
        failed
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let settings = |error: &(dyn StdError + 'static)| {
            Error::Settings(vec![format!("link.brokers: {address}: {}", chain(error))])
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| settings(&error))?;
        let endpoint = endpoint
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(self.liveness.interval)
            .keep_alive_timeout(self.liveness.timeout)
            .keep_alive_while_idle(true);
        let Some(tls) = &self.tls else { return Ok(endpoint) };
        let cause = |error: tonic::transport::Error| Error::Tls { address: address.to_owned(), cause: chain(&error) };
        endpoint.tls_config(tls.clone()).map_err(cause)
    }

    fn judge(&self, address: &str, channel: Channel, reply: pb::HelloReply) -> Result<Dialled, Error> {
        let address = address.to_owned();
        let wrong = |malformed: Malformed| Error::Protocol { address: address.clone(), cause: malformed.to_string() };
        let lineage = Lineage(u128::from_be_bytes(convert::sixteen("lineage", &reply.lineage).map_err(wrong)?));
        let key = HashKey(convert::sixteen("key", &reply.key).map_err(wrong)?);
        let link = u128::from_be_bytes(convert::sixteen("link", &reply.link).map_err(wrong)?);
        if reply.version != VERSION {
            return Err(Error::Refused {
                cause: format!("it speaks version {} of the link, this side {VERSION}", reply.version),
                address,
            });
        }
        if let Some(expected) = self.lineage.filter(|expected| *expected != lineage) {
            return Err(Error::Lineage { address, expected, found: lineage });
        }
        if !(1..=MAX_SHARDS).contains(&reply.shards) {
            return Err(Error::Protocol { address, cause: format!("{} shards", reply.shards) });
        }
        let cluster = Cluster { lineage, key, level: reply.level, shards: reply.shards };
        Ok(Dialled { address, channel, cluster, link, standings: reply.standings, message_bytes: reply.message_bytes })
    }
}

/// Half of it to all of it: many clients of one broker do not come back at once.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// More shards than any cluster has: each costs memory here.
const MAX_SHARDS: u32 = 65_536;

/// Not reached, unless it was TLS that failed.
fn unreached(address: &str, error: &(dyn StdError + 'static)) -> Failed {
    if is_tls(error) {
        return Failed::Refused(Error::Tls { address: address.to_owned(), cause: chain(error) });
    }
    Failed::Unreached(chain(error))
}

fn refused(address: &str, status: &Status) -> Failed {
    let for_good = matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unimplemented
    );
    let (address, words) = (address.to_owned(), status.message().to_owned());
    // The server's own words, or TLS' where it speaks up only after this side was done.
    if is_tls(status) {
        Failed::Refused(Error::Tls { address, cause: chain(status) })
    } else if status.code() == Code::Unimplemented {
        Failed::Refused(Error::Protocol { address, cause: words })
    } else if for_good {
        Failed::Refused(Error::Refused { address, cause: words })
    } else {
        Failed::Unreached(chain(status))
    }
}

/// Whether TLS found fault with the other side, or it with this one: the only source of data that is invalid.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        at = error.source();
    }
    false
}

/// An error with its causes, each once; of a status only what it says.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let said = |error: &(dyn StdError + 'static)| match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut text = said(error);
    let mut at = error.source();
    while let Some(error) = at {
        let cause = said(error);
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        at = error.source();
    }
    text
}
