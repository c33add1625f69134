//! The numbers of all record kinds, of those too that no build writes yet.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $built:literal;)*) => {
        /// What kind of record. Numbers are frozen. A reserved kind has a number and a name and nothing else: no build
        /// writes it yet, and this one stops if it meets it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether this build has an encoder and applies it.
            pub fn is_built(self) -> bool {
                match self {
                    $(Self::$name => $built,)*
                }
            }

            /// Its name as people see it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

kinds! {
    /// Stores a message.
    Message = 1, true;
    /// Puts an old body in queues again: timer, commit, retry, dead letter, will.
    Refer = 2, false;
    /// Writes an old body again at the tail because its segment goes.
    Carry = 3, false;
    /// Gives up the log below a position.
    Trim = 4, true;

    /// Starts or ends the indexing of a wildcard for an owner.
    Interest = 16, true;
    /// Opens, resumes or takes over a client's session.
    SessionOpen = 17, true;
    /// Ends a connection.
    SessionClose = 18, true;
    /// Deletes rows of a session that has ended.
    SessionExpire = 19, true;
    /// Adds or replaces a subscription.
    Subscribe = 20, true;
    /// Removes a subscription.
    Unsubscribe = 21, true;
    /// Fences a session's old owner on a shard that is not its home.
    LaneOpen = 22, false;
    /// Deletes a lane on a shard that is not the session's home.
    LaneDrop = 23, false;
    /// Moves lanes of this shard on.
    Progress = 24, true;
    /// Frees a QoS 2 packet id.
    PidRelease = 25, false;
    /// Ends what an opening began whose connection has gone before it was answered.
    SessionAbandon = 26, true;

    /// Creates a server topic or gives it more queues.
    TopicPut = 32, true;
    /// Drops a server topic.
    TopicDrop = 33, true;
    /// Creates a consumer group.
    GroupPut = 34, false;
    /// Drops a consumer group.
    GroupDrop = 35, false;
    /// Moves a consumer group on.
    GroupProgress = 36, false;
    /// Commits or rolls back a half message.
    TxnEnd = 37, false;
    /// Cancels a delayed message.
    TimerCancel = 38, false;
    /// AMQP: declares an exchange.
    ExchangePut = 39, false;
    /// AMQP: deletes an exchange.
    ExchangeDrop = 40, false;
    /// AMQP: declares a queue.
    QueuePut = 41, false;
    /// AMQP: deletes a queue.
    QueueDrop = 42, false;
    /// AMQP: binds a queue.
    Bind = 43, false;
    /// AMQP: unbinds a queue.
    Unbind = 44, false;

    /// Names the log: its first record.
    ClusterInit = 64, true;
    /// A gateway process came or is gone.
    Gateway = 65, true;
    /// Slots, shards, members.
    Map = 66, false;
    /// Shard 0's metadata, copied into another shard's log.
    MetaCopy = 67, false;
    /// Sets access rules.
    AclPut = 68, false;
    /// Drops access rules.
    AclDrop = 69, false;
    /// Allows records of a higher level from here on.
    FeatureLevel = 70, true;
    /// Compares replicas.
    Check = 71, true;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
