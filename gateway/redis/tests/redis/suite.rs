//! Redis is a lookup.

use std::sync::Arc;

use causeway_compute::port::Lookup;
use causeway_compute::suite::lookup::World;
use causeway_model::Incarnation;
use causeway_redis::Redis;

use crate::server::Server;

struct Shared {
    _server: Server,
    gateways: Vec<Redis>,
}

impl World for Shared {
    fn gateways(&self) -> Vec<Incarnation> {
        (1..=3).map(Incarnation).collect()
    }

    fn lookup(&self, gateway: usize) -> Arc<dyn Lookup> {
        Arc::new(self.gateways[gateway].clone())
    }
}

async fn fresh() -> Shared {
    let server = Server::start().await;
    let gateways = (0..3).map(|_| server.lookup()).collect();
    Shared { _server: server, gateways }
}

causeway_compute::lookup_suite!(fresh);
