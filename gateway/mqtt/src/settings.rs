//! What an operator may set of MQTT, with limits that hold memory: every buffer here is a budget.

use std::time::Duration;

use causeway_compute::drain::Goodbye;

/// Settings of the MQTT server. [`Settings::problems`] says what is wrong with them, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a packet that a client may send; CONNACK's Maximum Packet Size. 1 KiB to 64 MiB.
    pub packet_bytes: usize,
    /// Most bytes of a CONNECT, which comes from somebody not yet known.
    pub connect_bytes: usize,
    /// A connection that has not sent its CONNECT by then is closed.
    pub connect_timeout: Duration,
    /// Most bytes of a client identifier.
    pub client_id_bytes: usize,
    /// The keep alive that is given to clients that ask for a longer one or none; `None` lets them have theirs.
    pub keep_alive: Option<u16>,
    /// QoS 1 publishes of one client that wait for their PUBACK; CONNACK's Receive Maximum.
    pub receive_maximum: u16,
    /// Bytes of one client's publishes that wait to be durable, and of its SUBSCRIBEs that wait for their turn; over
    /// it its socket is not read. At least one packet is always let through.
    pub inbound_bytes: usize,
    /// QoS 1 deliveries to one client that wait for its PUBACK, whatever Receive Maximum it allows. At most 8,192.
    pub in_flight: u16,
    /// Bytes that wait for one client's socket; over it nothing is fetched for it, and nothing it
    /// sends is read, since that would be answered.
    pub outbound_bytes: usize,
    /// Hints that wait for one session; over it they are forgotten and it reads the index.
    pub mailbox: usize,
    /// Most subscriptions of one session.
    pub filters: usize,
    /// A session's cursor is handed to the log at least so often while it moves.
    pub progress_interval: Duration,
    /// Bytes of cursors, of all sessions, that are logged at once instead of after the interval.
    pub progress_bytes: u64,
    /// How long a socket may take to accept the last packets.
    pub close_timeout: Duration,
    /// What a client is told that is asked to go in a drain.
    pub goodbye: Goodbye,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            packet_bytes: (4 << 20) + (64 << 10),
            connect_bytes: 192 << 10,
            connect_timeout: Duration::from_secs(10),
            client_id_bytes: 1024,
            keep_alive: None,
            receive_maximum: 1024,
            inbound_bytes: 1 << 20,
            in_flight: 1024,
            outbound_bytes: 256 << 10,
            mailbox: 2048,
            filters: 1024,
            progress_interval: Duration::from_millis(500),
            progress_bytes: 64 << 10,
            close_timeout: Duration::from_secs(5),
            goodbye: Goodbye::default(),
        }
    }
}

impl Settings {
    /// Everything that is wrong, one sentence each, naming the setting.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, text: &str| {
            if !fine {
                problems.push(text.to_owned());
            }
        };
        check((1 << 10..=64 << 20).contains(&self.packet_bytes), "packet_bytes must be 1 KiB to 64 MiB");
        check((1 << 10..=1 << 20).contains(&self.connect_bytes), "connect_bytes must be 1 KiB to 1 MiB");
        check((23..=65_535).contains(&self.client_id_bytes), "client_id_bytes must be 23 to 65535");
        check(self.keep_alive != Some(0), "keep_alive must not be 0: leave it out to let clients choose");
        check(self.receive_maximum > 0, "receive_maximum must be at least 1");
        check((1..=8192).contains(&self.in_flight), "in_flight must be 1 to 8192");
        check(self.outbound_bytes > 0, "outbound_bytes must be at least 1");
        check(self.mailbox > 0, "mailbox must be at least 1");
        check(self.filters > 0, "filters must be at least 1");
        check(!self.connect_timeout.is_zero(), "connect_timeout must not be 0");
        check(self.progress_interval <= Duration::from_secs(1), "progress_interval must be at most 1 s");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_every_problem_is_reported_at_once() {
        assert_eq!(Settings::default().problems(), Vec::<String>::new());
        let bad = Settings { packet_bytes: 1, receive_maximum: 0, in_flight: 9000, ..Settings::default() };
        assert_eq!(bad.problems().len(), 3);
    }
}
