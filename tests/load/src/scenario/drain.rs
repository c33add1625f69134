//! The second half of the durability test: the client comes back after the crash and counts what it gets.

use anyhow::{Result, bail};
use tokio::time::{Instant, timeout};

use super::version;
use crate::args::Drain;
use crate::connection::{Connection, Event, Login, unexpected};
use crate::message::Stamp;
use crate::report::{Better, Figure, float};
use crate::sequence::{Counts, Sequence};
use crate::subscriber::answer;

/// "20000 acknowledged messages, after the crash".
pub(crate) fn title(args: &Drain) -> String {
    format!("{} acknowledged messages, after the crash{}", args.messages, version(&args.target))
}

/// Recovered, repeated and late messages, and whether the session was still known.
pub(crate) async fn run(args: &Drain) -> Result<Vec<Figure>> {
    let address = args.target.resolve().await?;
    let login = Login { client_id: args.client_id.clone(), persistent: true, source: None };
    let mut connection = Connection::open(address, &args.target, login).await?;
    let present = connection.session_present;
    let mut sequence = Sequence::default();
    let start = Instant::now();
    let mut last = start;
    if present {
        while let Ok(exchanged) = timeout(args.idle, connection.exchange()).await {
            exchanged?;
            if take(&mut connection, &mut sequence)? {
                last = Instant::now();
            }
        }
    }
    connection.close().await?;
    let found = sequence.counts();
    if args.strict {
        demand(args.messages, present, found)?;
    }
    Ok(vec![
        Figure::new("recovered", 100.0 * share(found.distinct, args.messages), "%").compared(Better::More),
        Figure::count("messages", found.distinct),
        Figure::count("missing", args.messages.saturating_sub(found.distinct)),
        Figure::count("repeated", found.repeated),
        Figure::count("late", found.late),
        Figure::count("session present", u64::from(present)),
        Figure::rate("drained", found.distinct + found.repeated, last - start),
    ])
}

/// Takes what has come; says whether a message was among it.
fn take(connection: &mut Connection, sequence: &mut Sequence) -> Result<bool> {
    let mut any = false;
    while let Some(event) = connection.event()? {
        match event {
            Event::Publish(publish) => {
                answer(connection, &publish)?;
                let Some(stamp) = Stamp::read(&publish.payload) else {
                    bail!("a message on {} that this tool did not send", publish.topic);
                };
                sequence.see(stamp.sequence);
                any = true;
            }
            Event::Received(_) | Event::Released(_) | Event::Completed(..) | Event::Other(_) => {
                return Err(unexpected(&event));
            }
        }
    }
    Ok(any)
}

fn share(found: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { float(found) / float(of) }
}

fn demand(messages: u64, present: bool, found: Counts) -> Result<()> {
    if !present {
        bail!("the session is gone, and {messages} acknowledged messages with it");
    }
    if found.distinct != messages || found.late > 0 {
        bail!("{} of {messages} acknowledged messages came, {} of them late", found.distinct, found.late);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_asks_for_all_of_them_in_order_but_lets_repetition_pass() {
        let all = Counts { distinct: 3, repeated: 2, late: 0 };
        assert!(demand(3, true, all).is_ok());
        assert!(demand(3, false, all).is_err());
        assert!(demand(4, true, all).is_err());
        assert!(demand(3, true, Counts { late: 1, ..all }).is_err());
    }
}
