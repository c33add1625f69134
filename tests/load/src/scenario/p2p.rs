//! N publishers to N subscribers, each pair on a topic of its own.

use anyhow::Result;

use super::{delivery, describe, version};
use crate::args::P2p;
use crate::report::Figure;

/// "point-to-point QoS 1, 10 → 10, window 20, 256 B".
pub(crate) fn title(args: &P2p) -> String {
    let (qos, pairs, load) = (args.load.qos.number(), args.pairs, describe(&args.load));
    format!("point-to-point QoS {qos}, {pairs} → {pairs}, {load}{}", version(&args.target))
}

/// Delivered messages a second, latency from end to end, acknowledgements.
pub(crate) async fn run(args: &P2p) -> Result<Vec<Figure>> {
    delivery::run(&args.target, args.server.clone(), &args.load, args.pairs, 1).await
}
