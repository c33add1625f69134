//! The power goes at *every* change of the disk of one history with appends, rolls, flushes, trims and removed segments.

use causeway_compute::port::{Broker, Reply};
use causeway_model::{Position, ShardId};

use crate::restart::{Machine, Running, runtime};

/// What a client knows when its server is gone.
#[derive(Default)]
struct Known {
    /// Acknowledged messages: where, and what.
    messages: Vec<(Position, String)>,
    /// The last trim that was asked for, answered or not.
    asked: Position,
    /// The last trim that was acknowledged.
    trimmed: Position,
}

const STEPS: u64 = 60;

/// The same history every time, as far as the power lasts.
async fn history(running: &Running, known: &mut Known) {
    for number in 0..STEPS {
        let body = format!("{number} {}", "b".repeat(2500));
        let reply = running.client.broker.propose(ShardId(0), vec![crate::restart::message(&body)]).await;
        match reply.as_deref() {
            Ok([Reply::Published { position }]) => known.messages.push((*position, body)),
            _ => return,
        }
        if number % 7 == 3 {
            // A flush that fails shows at the next step.
            let _ = running.local.flush();
        }
        if number % 20 == 15 {
            let below = known.messages[known.messages.len() - 5].0;
            known.asked = below;
            match running.local.trim(below).await {
                Ok(_) => known.trimmed = below,
                Err(_) => return,
            }
        }
    }
}

#[test]
fn at_every_change_of_the_disk_lost_power_costs_nothing_that_was_acknowledged() {
    let seed = rand::random();
    let wait = runtime();
    let whole = {
        let mut machine = Machine::new(seed);
        let running = machine.start().unwrap();
        let mut known = Known::default();
        wait.block_on(history(&running, &mut known));
        assert_eq!(known.messages.len() as u64, STEPS);
        assert!(known.trimmed > Position(0));
        assert!(running.local.log().first() > Position(0), "no segment went: the history is too short");
        running.stopper.stop();
        machine.changes()
    };
    for cut in 0..whole {
        let context = format!("seed {seed}, power lost at change {cut} of {whole}");
        let mut machine = Machine::new(seed);
        machine.cut_power_at(cut);
        let mut known = Known::default();
        // Creating the log may be cut too: then there is nothing to know.
        if let Ok(running) = machine.start() {
            wait.block_on(history(&running, &mut known));
            machine.crash(running);
        } else {
            machine.power_returns();
        }

        let running = machine.start().unwrap_or_else(|error| panic!("{context}: {error}"));
        let first = running.local.first(ShardId(0));
        assert!((known.trimmed..=known.asked).contains(&first), "{context}: first is {first}");
        let found = wait.block_on(running.client.bodies("m/x"));
        let mut rest = found.iter();
        for (_, body) in known.messages.iter().filter(|(at, _)| *at >= first) {
            let number = body.split(' ').next().unwrap();
            assert!(rest.any(|found| found == body), "{context}: message {number} is missing or out of order");
        }
        // And it goes on.
        wait.block_on(running.client.publish("m/x", "after"));
        assert_eq!(wait.block_on(running.client.bodies("m/x")).last().unwrap(), "after", "{context}");
        running.stopper.stop();
    }
}
