//! One publisher to many subscribers of one topic.

use anyhow::Result;

use super::{delivery, describe, version};
use crate::args::Fanout;
use crate::report::Figure;

/// "fan-out QoS 1, 1 → 200, window 20, 256 B".
pub(crate) fn title(args: &Fanout) -> String {
    let (qos, subscribers, load) = (args.load.qos.number(), args.subscribers, describe(&args.load));
    format!("fan-out QoS {qos}, 1 → {subscribers}, {load}{}", version(&args.target))
}

/// Deliveries a second over all subscribers, latency from end to end, acknowledgements.
pub(crate) async fn run(args: &Fanout) -> Result<Vec<Figure>> {
    delivery::run(&args.target, args.server.clone(), &args.load, 1, args.subscribers).await
}
