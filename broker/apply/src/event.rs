//! What others may want to know of a record beyond its outcome. Events are hints for the leader's duties and for
//! connections; nothing durable hangs on them, and they never come from replay.

use causeway_model::{Epoch, Incarnation, Millis, Position, Sid};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection lost its session to a newer one: kick it.
    TakenOver {
        /// The session.
        sid: Sid,
        /// The epoch that ended.
        epoch: Epoch,
        /// The gateway that held it.
        owner: Incarnation,
    },
    /// A timer row was written: it is due then.
    Timer {
        /// When.
        due: Millis,
    },
    /// A gateway was declared lost: its sessions and interest are to be closed page by page.
    GatewayLost {
        /// Which.
        incarnation: Incarnation,
    },
    /// The log may be cut below this position once a flush has covered it.
    Trimmed {
        /// The first position that is still needed.
        first: Position,
    },
}
