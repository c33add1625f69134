//! The messages of one publisher that are not yet acknowledged, by packet id.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use tokio::time::Instant;

/// Packet ids 1 to n, each free or in flight since some moment. Ids are used in turn, as clients do.
#[derive(Debug)]
pub(crate) struct Window {
    free: VecDeque<u16>,
    /// When the message with packet id `index + 1` was sent.
    sent: Vec<Option<Instant>>,
}

impl Window {
    /// A window of `size` messages, all free.
    pub(crate) fn new(size: NonZeroU16) -> Self {
        Self { free: (1..=size.get()).collect(), sent: vec![None; usize::from(size.get())] }
    }

    /// Takes a packet id for a message sent now, if one is free.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u16> {
        let pid = self.free.pop_front()?;
        *self.slot(pid)? = Some(now);
        Some(pid)
    }

    /// Frees a packet id and says when its message was sent. `None`: no such message is in flight.
    pub(crate) fn complete(&mut self, pid: u16) -> Option<Instant> {
        let sent = self.slot(pid)?.take()?;
        self.free.push_back(pid);
        Some(sent)
    }

    /// Messages in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.sent.len() - self.free.len()
    }

    fn slot(&mut self, pid: u16) -> Option<&mut Option<Instant>> {
        self.sent.get_mut(usize::from(pid).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_in_flight_as_the_window_has_and_an_acknowledgement_makes_room() {
        let mut window = Window::new(NonZeroU16::new(2).unwrap());
        let now = Instant::now();
        assert_eq!((window.take(now), window.take(now), window.take(now)), (Some(1), Some(2), None));
        assert_eq!(window.complete(2), Some(now));
        assert_eq!(window.in_flight(), 1);
        assert_eq!((window.take(now), window.take(now)), (Some(2), None));
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_known_as_such() {
        let mut window = Window::new(NonZeroU16::new(2).unwrap());
        window.take(Instant::now());
        assert!(window.complete(1).is_some());
        for pid in [0, 1, 2, 3, u16::MAX] {
            assert_eq!(window.complete(pid), None, "{pid}");
        }
        assert_eq!(window.in_flight(), 0);
    }

    #[test]
    fn the_largest_window_uses_every_packet_id() {
        let mut window = Window::new(NonZeroU16::MAX);
        let taken: Vec<_> = std::iter::from_fn(|| window.take(Instant::now())).collect();
        assert_eq!(taken, (1..=u16::MAX).collect::<Vec<_>>());
    }
}
