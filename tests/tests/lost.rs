//! A gateway that the brokers take for lost before it has heard that it was let in: a real process before brokers that
//! do so.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::members::Registrar;
use causeway_compute::port::{Broker, Error, Lease, Member, Members};
use causeway_compute::process::Process;
use causeway_link::{BrokerServices, ServerSettings, Services, serve};
use causeway_local::Started;
use causeway_local::memory::{self, Memory};
use causeway_model::{Incarnation, SystemClock};
use causeway_mqtt::codec::Reason;
use causeway_tests::client::{Client, volatile};
use causeway_tests::daemon::Daemon;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Gives leases, and takes the first that comes for lost before it answers: as if the answer had been lost with the link
/// and the lease had run out until the gateway asked again.
struct Hasty {
    members: Arc<dyn Members>,
    /// Who came, in order, each once.
    came: Mutex<Vec<Incarnation>>,
}

impl Members for Hasty {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, Error>> {
        let mut came = self.came.lock().unwrap();
        let first = came.is_empty();
        if !came.contains(&member.incarnation) {
            came.push(member.incarnation);
        }
        let members = Arc::clone(&self.members);
        async move {
            if first {
                members.join(member.clone()).await?;
                members.leave(member.incarnation).await?;
            }
            members.join(member).await
        }
        .boxed()
    }

    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, Error>> {
        self.members.beat(incarnation)
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), Error>> {
        self.members.leave(incarnation)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_lost_before_it_had_served_is_followed_by_another_one() {
    let start = || Memory::new(1).start(Arc::new(SystemClock), memory::settings(), Incarnation(77)).unwrap();
    let Started { local, stopper } = tokio::task::spawn_blocking(start).await.unwrap();
    let process = Process::new(prometheus::Registry::new()).unwrap();
    let (lease, metrics) = (Duration::from_secs(30), process.metrics.members.clone());
    let members = Registrar::start(local.clone(), local.clone(), lease, metrics, &process.tasks).await.unwrap();
    let members = Arc::new(Hasty { members, came: Mutex::default() });
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let link = listener.address().to_string();
    let broker = BrokerServices { broker: local.clone(), overview: local.clone(), members: members.clone() };
    let services = Services { broker: Some(broker), ..Services::default() };
    serve(listener, services, &ServerSettings::default(), local.cluster(), &process.tasks).unwrap();

    let begun = move || {
        let flags = ["--broker", &link, "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let gateway = Daemon::start("causeway-gateway", flags).unwrap();
        let (mut client, _) = Client::connect(gateway.mqtt().unwrap(), volatile("dash")).unwrap();
        assert_eq!(client.publish("t", "x", 1).unwrap(), Reason::Success);
        gateway
    };
    let gateway = tokio::task::spawn_blocking(begun).await.unwrap();
    assert_eq!(members.came.lock().unwrap().len(), 2, "another incarnation\n{}", gateway.log());
    drop(gateway);
    process.finish(Duration::ZERO).await;
    tokio::task::spawn_blocking(move || drop(stopper)).await.unwrap();
}
