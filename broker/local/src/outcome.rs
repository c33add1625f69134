//! What apply says becomes what the port says, one to one.

use causeway_apply::{Outcome, Reason, record};
use causeway_compute::port::{self, FlightState, Rejected, Reply};
use causeway_model::Kind;
use causeway_replication::{Applied, Failure, Refused};

/// The port's reply to a record.
pub(crate) fn reply(Applied { position, outcome }: Applied<Outcome>) -> Reply {
    match outcome {
        Outcome::Published => Reply::Published { position },
        Outcome::Interest => Reply::Interest { position },
        Outcome::Opened(opened) => Reply::Opened(port::Opened {
            sid: opened.sid,
            epoch: opened.epoch,
            present: opened.present,
            persistent: opened.persistent,
            old_owner: opened.old_owner,
            expiry: opened.expiry,
        }),
        Outcome::Subscribed { existed, from } => Reply::Subscribed { existed, from },
        Outcome::Unsubscribed { existed } => Reply::Unsubscribed { existed },
        Outcome::Done => Reply::Done,
        Outcome::Rejected(reason) => Reply::Rejected(match reason {
            Reason::Fenced => Rejected::Fenced,
            Reason::NotFound => Rejected::NotFound,
            Reason::Quota => Rejected::Quota,
            // Only a trim can be pinned, and no command of the port is one.
            Reason::Invalid | Reason::Pinned => Rejected::Invalid,
        }),
    }
}

/// The port's kind of a refusal.
pub(crate) fn refusal(refused: Refused) -> Kind {
    match refused {
        Refused::Busy { retry_after } => Kind::Busy { retry_after },
        Refused::TooLarge { .. } => Kind::TooLarge,
        Refused::NotLeader { hint } => Kind::NotLeader { hint },
        Refused::DiskFull => Kind::DiskFull,
        Refused::Unavailable => Kind::Unavailable,
    }
}

/// The port's kind of a proposal that was taken and has no outcome.
pub(crate) fn failure(failure: Failure) -> Kind {
    match failure {
        Failure::Refused(refused) => refusal(refused),
        Failure::Unknown => Kind::Unknown,
    }
}

pub(crate) fn to_record_state(state: FlightState) -> record::FlightState {
    match state {
        FlightState::Sent => record::FlightState::Sent,
        FlightState::Received => record::FlightState::Received,
        FlightState::Done => record::FlightState::Done,
        FlightState::Parked => record::FlightState::Parked,
    }
}

pub(crate) fn to_port_state(state: record::FlightState) -> FlightState {
    match state {
        record::FlightState::Sent => FlightState::Sent,
        record::FlightState::Received => FlightState::Received,
        record::FlightState::Done => FlightState::Done,
        record::FlightState::Parked => FlightState::Parked,
    }
}
