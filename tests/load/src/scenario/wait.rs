//! Waits for a server to come up: how long it takes from now to the first CONNACK.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use crate::args::Wait;
use crate::connection::{Connection, Login};
use crate::process::Sample;
use crate::report::{Better, Figure};

/// Between two attempts: the precision of the answer.
const PAUSE: Duration = Duration::from_millis(5);

/// What the caller says that is waited for.
pub(crate) fn title(args: &Wait) -> String {
    args.what.clone()
}

/// A process that has ended has no memory left, even before its parent has noticed.
fn still_there(pid: Option<u32>) -> Result<()> {
    pid.map(|pid| Sample::of(pid, "--pid")).transpose().map(|_| ())
}

/// Milliseconds until the server answered CONNECT.
pub(crate) async fn run(args: &Wait) -> Result<Vec<Figure>> {
    let address = args.target.resolve().await?;
    let start = Instant::now();
    loop {
        match Connection::open(address, &args.target, Login::volatile("wait", 0)).await {
            Ok(connection) => {
                let took = start.elapsed();
                connection.close().await?;
                return Ok(vec![Figure::new("took", took.as_secs_f64() * 1000.0, "ms").compared(Better::Less)]);
            }
            Err(error) if start.elapsed() >= args.timeout => {
                return Err(error).with_context(|| format!("no answer within {:?}", args.timeout));
            }
            Err(error) => {
                still_there(args.pid).with_context(|| format!("the server has ended; last attempt: {error:#}"))?;
                sleep(PAUSE).await;
            }
        }
    }
}
