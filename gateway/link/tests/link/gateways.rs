//! Gateways that ask each other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use causeway_compute::listener::Listener;
use causeway_compute::port::{Answer, Ask, Cluster, MapEpoch, Member, Peer, PeerError, Peers, Whereabout};
use causeway_link::{ClientSettings, PeerLinks, Services, serve};
use causeway_model::{Epoch, HashKey, Incarnation, Lineage, Position, QueueId};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::time::timeout;

use crate::world::{PATIENCE, identity, process, server_settings};

/// Finds every client at the gateway whose number is the client's first byte.
pub(crate) struct Finder;

impl Peer for Finder {
    fn answer(&self, asks: Vec<Ask>) -> BoxFuture<'static, Vec<Answer>> {
        let answer = |ask| {
            if let Ask::Find { client, .. } = ask { Answer::Found(Some(found(client))) } else { Answer::Done }
        };
        ready(asks.into_iter().map(answer).collect()).boxed()
    }
}

fn found(client: QueueId) -> Whereabout {
    Whereabout { client, gateway: Incarnation(client.0[0].into()), epoch: Epoch(Position(5)) }
}

fn find(first: u8) -> Ask {
    Ask::Find { epoch: MapEpoch::default(), client: QueueId([first; 16]) }
}

fn member(number: u128, address: Option<SocketAddr>) -> Member {
    let address = address.map(|address| address.to_string().into());
    Member { incarnation: Incarnation(number), name: format!("g{number}").into(), address }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_in_the_order_of_the_asks_and_a_lost_gateway_is_reached_again() {
    let settings = server_settings();
    let cluster = Cluster { lineage: Lineage(1), key: HashKey([1; 16]), level: 1, shards: 1 };
    let start = |bind: SocketAddr| {
        let process = process();
        let listener = Listener::bind(bind).unwrap();
        let address = listener.address();
        let services = Services { peer: Some(Arc::new(Finder)), ..Services::default() };
        serve(listener, services, &settings, cluster, &process.tasks).unwrap();
        (process, address)
    };
    let (process, address) = start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let links = PeerLinks::new(&ClientSettings::default(), identity(1)).unwrap();
    let to = member(2, Some(address));
    let kick = Ask::Page { after: None, limit: 1 };
    let answers = timeout(PATIENCE, links.ask(&to, vec![find(3), kick, find(4)])).await.unwrap().unwrap();
    let at = |first| Answer::Found(Some(found(QueueId([first; 16]))));
    assert_eq!(answers, [at(3), Answer::Done, at(4)]);
    let many = join_all((0..200).map(|first| links.ask(&to, vec![find(first)])));
    for (first, answer) in (0..200).zip(timeout(PATIENCE, many).await.unwrap()) {
        assert_eq!(answer.unwrap(), [at(first)]);
    }
    process.finish(PATIENCE).await;
    let error = timeout(PATIENCE, links.ask(&to, vec![find(1)])).await.unwrap().unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
    let (process, _) = start(address);
    assert_eq!(timeout(PATIENCE, links.ask(&to, vec![find(1)])).await.unwrap().unwrap(), [at(1)]);
    process.finish(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_asked_is_named() {
    let links = PeerLinks::new(&ClientSettings::default(), identity(1)).unwrap();
    let error = links.ask(&member(2, None), vec![find(1)]).await.unwrap_err();
    assert_eq!(error, PeerError::NoAddress { gateway: "g2".into() });
    // A broker without a gateway: it answers, and says what it is not.
    let process = process();
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.address();
    let cluster = Cluster { lineage: Lineage(1), key: HashKey([1; 16]), level: 1, shards: 1 };
    serve(listener, Services::default(), &server_settings(), cluster, &process.tasks).unwrap();
    let error = timeout(PATIENCE, links.ask(&member(3, Some(address)), vec![find(1)])).await.unwrap().unwrap_err();
    let PeerError::Unreachable { gateway, cause } = error else { unreachable!() };
    assert_eq!(&*gateway, "g3");
    assert!(cause.contains("no gateway is here"), "{cause}");
}
