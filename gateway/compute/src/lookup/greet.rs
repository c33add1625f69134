//! A newcomer tells everybody that it is there: who has not heard of a map with it would call its clients offline.
//!
//! Clients are let in once each of the others has answered or had its deadline: one that is dead must not hold a newcomer
//! up for the rest of its lease. It is greeted until it answers or leaves the map, so that one that was only stalled
//! hears of the newcomer as soon as it hears at all.

use std::sync::Arc;
use std::time::Duration;

use causeway_model::Incarnation;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::reach::Reach;
use crate::port::{Ask, Map, Member, PeerError};

/// Between two greetings of those who do not answer: short at first, since what they say meanwhile may be wrong.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Greeter {
    me: Incarnation,
    reach: Arc<Reach>,
    map: watch::Receiver<Arc<Map>>,
    introduced: watch::Sender<bool>,
}

impl Greeter {
    pub(super) fn new(
        me: Incarnation,
        reach: Arc<Reach>,
        map: watch::Receiver<Arc<Map>>,
    ) -> (Self, watch::Receiver<bool>) {
        let (introduced, seen) = watch::channel(false);
        (Self { me, reach, map, introduced }, seen)
    }

    /// Until everybody has heard. `listed` is true once this gateway follows a map that names it.
    pub(super) async fn run(mut self, mut listed: watch::Receiver<bool>) {
        if listed.wait_for(|listed| *listed).await.is_err() {
            return;
        }
        let mut map = Arc::clone(&self.map.borrow_and_update());
        let mut unheard: Vec<_> = map.members.iter().filter(|member| member.incarnation != self.me).cloned().collect();
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = join_all(unheard.iter().map(|member| self.greet(&map, member))).await;
            let mut heard = heard.into_iter();
            unheard.retain(|_| heard.next() == Some(false));
            self.introduced.send_replace(true);
            if unheard.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            map = Arc::clone(&self.map.borrow_and_update());
            unheard.retain(|member| map.member(member.incarnation).is_some());
        }
    }

    /// Whoever hears that there is a newer map cannot call a client offline until it has it.
    async fn greet(&self, map: &Map, to: &Member) -> bool {
        let hello = Ask::Enter { epoch: map.epoch, entries: Vec::new() };
        // Nobody can ask one without an address, so nobody is misled by it.
        matches!(self.reach.ask(to, vec![hello]).await, Ok(_) | Err(PeerError::NoAddress { .. }))
    }
}
