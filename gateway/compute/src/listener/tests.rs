//! Accepting under errors, limits and drain; the loop against a script, the whole over loopback.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;
use crate::double::process;
use crate::process::Process;

/// Accepts what a script says, then nothing for ever.
struct Script(Mutex<VecDeque<io::Result<u32>>>);

impl Source for Script {
    type Stream = u32;

    async fn accept(&self) -> io::Result<(u32, SocketAddr)> {
        let next = self.0.lock().pop_front();
        match next {
            Some(next) => next.map(|number| (number, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))),
            None => std::future::pending().await,
        }
    }
}

/// What connections have in common: each writes its number down and stays until all are let go.
struct Bench {
    process: Process,
    served: Arc<Mutex<Vec<u32>>>,
    go: Arc<Notify>,
}

impl Bench {
    fn new() -> Self {
        Self { process: process(), served: Arc::default(), go: Arc::default() }
    }

    fn accept(&self, limit: usize) -> Accept<impl Fn(u32, SocketAddr) -> BoxFuture<'static, ()> + Sync + use<>> {
        let (served, go) = (Arc::clone(&self.served), Arc::clone(&self.go));
        Accept {
            wave: Wave::Front,
            limit: Limit::new(limit),
            metrics: self.process.metrics.listeners.of("test"),
            tasks: self.process.tasks.clone(),
            connection: move |number: u32, _| {
                served.lock().push(number);
                let go = Arc::clone(&go);
                async move {
                    go.notified().await;
                    assert!(number != 13, "unlucky");
                }
                .boxed()
            },
        }
    }

    fn play(&self, script: Vec<io::Result<u32>>, limit: usize) {
        let (accept, script) = (self.accept(limit), Script(Mutex::new(script.into())));
        self.process.tasks.spawn(Kind::Accept, async move { accept.run(&script).await });
    }
}

/// Long enough for every pause, as time stands still but for this.
async fn settle() {
    tokio::time::sleep(10 * PAUSE).await;
}

#[tokio::test(start_paused = true)]
async fn no_error_of_accept_ends_the_loop() {
    let error = |kind: io::ErrorKind| Err(io::Error::from(kind));
    let emfile = || Err(io::Error::from_raw_os_error(24));
    let script = vec![Ok(1), error(io::ErrorKind::ConnectionAborted), Ok(2), emfile(), emfile(), Ok(3)];
    let bench = Bench::new();
    bench.play(script, 10);
    settle().await;
    assert_eq!(*bench.served.lock(), [1, 2, 3]);
    assert_eq!(bench.process.metrics.listeners.of("test").errors.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_limit_is_refused_and_a_place_comes_free_when_a_connection_ends_or_panics() {
    let bench = Bench::new();
    let (accept, metrics) = (bench.accept(2), bench.process.metrics.listeners.of("test"));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for number in [13, 2, 3] {
        accept.admit(number, peer);
    }
    assert_eq!((metrics.accepted.get(), metrics.refused.get(), metrics.open.get()), (2, 1, 2));
    settle().await;
    bench.go.notify_waiters();
    settle().await;
    assert_eq!(metrics.open.get(), 0);
    assert_eq!(bench.process.metrics.task.panics(Kind::Connection).get(), 1);
    accept.admit(4, peer);
    accept.admit(5, peer);
    assert_eq!((metrics.accepted.get(), metrics.refused.get()), (4, 1));
    assert_eq!(*bench.process.tasks.failure().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn drain_wins_over_connections_that_wait_and_over_a_pause() {
    let waiting = Bench::new();
    waiting.play((1..1000).map(Ok).collect(), 10_000);
    waiting.process.drain.begin();
    waiting.process.tasks.ended(Wave::Front).await;
    assert!(waiting.served.lock().is_empty());
    let paused = Bench::new();
    paused.play(vec![Err(io::Error::from_raw_os_error(24))], 1);
    tokio::task::yield_now().await;
    let begun = tokio::time::Instant::now();
    paused.process.drain.begin();
    paused.process.tasks.ended(Wave::Front).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_client_over_loopback_is_served_and_one_too_many_sees_its_connection_closed() {
    let process = process();
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.address();
    assert_ne!(address.port(), 0);
    let metrics = process.metrics.listeners.of("test");
    listener.serve(Limit::new(1), metrics.clone(), &process.tasks, async |mut stream, _| {
        let byte = stream.read_u8().await.unwrap();
        stream.write_u8(byte + 1).await.unwrap();
    });
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    // The kernel accepts in order, so the second is the one too many.
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    first.write_u8(41).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), 42);
    assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 0);
    process.finish(Duration::from_secs(5)).await;
    assert_eq!(metrics.open.get(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let first = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let error = Listener::bind(first.address()).unwrap_err();
    assert_eq!(error.address, first.address());
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
}
