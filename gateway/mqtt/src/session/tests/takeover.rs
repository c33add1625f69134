//! Clients that were connected to another gateway.

use causeway_model::Incarnation;

use super::broker::{Broker, incarnation};
use super::connect::{connect, online, persistent};
use crate::Settings;
use crate::codec::{Connect, Version};

#[test]
fn last_words_from_elsewhere_are_worth_a_wait_where_a_session_is_wanted_back() {
    let clean = Connect { clean_start: true, ..persistent("c") };
    let old = Connect { clean_start: false, ..connect(Version::V311, "c") };
    for (packet, resume) in [(persistent("c"), true), (clean, false), (old, true)] {
        let (peer, _) = online(&mut Broker::new(1), Settings::default(), packet);
        assert_eq!(peer.resumes, [resume]);
    }
}

#[test]
fn the_gateway_that_held_the_client_until_now_is_told_which_opening_fenced_it() {
    let broker = &mut Broker::new(1);
    let elsewhere = Incarnation(incarnation().0 + 1);
    for (owner, told) in [(None, false), (Some(incarnation()), false), (Some(elsewhere), true)] {
        broker.old_owner = owner;
        // A clean start fences the old connection just as well.
        for packet in [persistent("c"), Connect { clean_start: true, ..persistent("c") }] {
            let (peer, _) = online(broker, Settings::default(), packet);
            let (_, epoch) = peer.session.opened_as().unwrap();
            let expected: &[_] = if told { &[(elsewhere, epoch)] } else { &[] };
            assert_eq!(peer.taken_from, expected, "{owner:?}");
        }
    }
}
