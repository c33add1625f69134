use std::time::Duration;

use causeway_model::{ClientId, Epoch, Incarnation, Namespace, Position, Qos, ShardId, Sid, Stamp, SubscribeOptions};

use crate::record::{
    CloseReason, FlightState, Gateway, GatewayEvent, InFlight, LaneProgress, Owner, SessionAbandon, SessionClose,
    SessionExpire, SessionOpen, Subscribe, Will,
};
use crate::row::{SessionState, Timer};
use crate::sample::{Shard, filter, interest, message};
use crate::{Event, Family, Opened, Outcome, Reason, Record, Tables, read};

const HOUR: Duration = Duration::from_hours(1);
const NONE: Duration = Duration::ZERO;
const ONE: Incarnation = Incarnation(1);
const TWO: Incarnation = Incarnation(2);

fn open_record(client: &str, clean_start: bool, expiry: Duration, owner: Incarnation) -> SessionOpen {
    let client = ClientId(client.into());
    SessionOpen { namespace: Namespace::default(), client, clean_start, expiry, owner, attempt: 0, will: None }
}

fn opened(outcome: Outcome) -> Opened {
    let Outcome::Opened(opened) = outcome else { panic!("not opened: {outcome:?}") };
    *opened
}

impl Shard {
    fn open(&mut self, client: &str, clean_start: bool, expiry: Duration, owner: Incarnation) -> Opened {
        opened(self.one(Record::SessionOpen(open_record(client, clean_start, expiry, owner))))
    }

    fn close(&mut self, session: &Opened, reason: CloseReason) -> Outcome {
        let (sid, epoch) = (session.sid, session.epoch);
        self.one(Record::SessionClose(SessionClose { sid, epoch, reason, expiry: None }))
    }

    fn subscribe(&mut self, session: &Opened, name: &str) -> Outcome {
        let options = SubscribeOptions::at(Qos::AtLeastOnce);
        let (sid, epoch, from) = (session.sid, session.epoch, vec![(ShardId(0), Position(5))]);
        self.one(Record::Subscribe(Subscribe { sid, epoch, filter: filter(name), options, from }))
    }

    fn due(&self) -> Vec<Timer> {
        read::due(&self.tables, self.now, 100).unwrap()
    }

    /// Does what the leader does with a due timer, and says how many records it took.
    fn expire_all(&mut self, timer: &Timer) -> usize {
        for records in 1.. {
            let Some(page) = read::expire_page(&self.tables, timer).unwrap() else { panic!("timer is gone") };
            let last = page.last;
            assert_eq!(self.one(Record::SessionExpire(page)), Outcome::Done);
            if last {
                return records;
            }
        }
        unreachable!()
    }

    /// Rows of the families that sessions live in.
    fn session_rows(&self) -> Vec<Family> {
        let families = [Family::Client, Family::Session, Family::Timer, Family::Filter];
        self.tables.dump().into_iter().map(|(family, ..)| family).filter(|f| families.contains(f)).collect()
    }
}

#[test]
fn a_first_open_creates_a_session_named_by_its_record() {
    let mut shard = Shard::new();
    let at = shard.log.next();
    let first = shard.open("c", false, HOUR, ONE);
    let sid = Sid { home: ShardId(0), position: at };
    let expected = Opened { sid, epoch: Epoch(at), present: false, persistent: true, old_owner: None, expiry: HOUR };
    assert_eq!(first, expected);
    assert_eq!(read::client(&shard.tables, &Namespace::default(), &ClientId("c".into())).unwrap(), Some(sid));
    assert_eq!(read::lane(&shard.tables, sid).unwrap().unwrap().cursor, at, "what came before is not its");
}

#[test]
fn a_resume_keeps_the_sid_and_its_rows_and_gets_a_new_epoch() {
    let mut shard = Shard::new();
    let first = shard.open("c", false, HOUR, ONE);
    shard.subscribe(&first, "a/b");
    assert_eq!(shard.close(&first, CloseReason::ConnectionLost), Outcome::Done);
    let head = read::head(&shard.tables, first.sid).unwrap().unwrap();
    assert_eq!((head.state, head.disconnected), (SessionState::Disconnected, shard.now));
    assert_eq!(head.closed, Some(CloseReason::ConnectionLost));
    assert_eq!(shard.effects.events, [Event::Timer { due: shard.now.plus(HOUR) }]);
    shard.advance(Duration::from_millis(3_599_999));
    let second = shard.open("c", false, HOUR * 2, TWO);
    assert_eq!((second.sid, second.present, second.old_owner), (first.sid, true, None));
    assert!(second.epoch > first.epoch);
    assert_eq!(read::head(&shard.tables, second.sid).unwrap().unwrap().closed, None);
    assert_eq!(read::subscriptions(&shard.tables, second.sid).unwrap().len(), 1);
    shard.advance(HOUR * 10);
    assert_eq!(shard.due(), [], "the timer went with the resume");
}

fn attempt(clean_start: bool, expiry: Duration, attempt: u64) -> Record {
    Record::SessionOpen(SessionOpen { attempt, ..open_record("c", clean_start, expiry, ONE) })
}

fn abandon(owner: Incarnation, attempt: u64) -> Record {
    let client = ClientId("c".into());
    Record::SessionAbandon(SessionAbandon { namespace: Namespace::default(), client, owner, attempt })
}

#[test]
fn an_abandoned_opening_is_closed_once_and_another_one_is_left_alone() {
    let mut shard = Shard::new();
    assert_eq!(shard.one(abandon(ONE, 7)), Outcome::Done, "there is no such client");
    let first = opened(shard.one(attempt(false, HOUR, 7)));
    for (owner, attempt) in [(TWO, 7), (ONE, 8)] {
        assert_eq!(shard.one(abandon(owner, attempt)), Outcome::Done);
        assert!(read::head(&shard.tables, first.sid).unwrap().unwrap().is_connected());
    }
    for _ in 0..2 {
        assert_eq!(shard.one(abandon(ONE, 7)), Outcome::Done);
        let head = read::head(&shard.tables, first.sid).unwrap().unwrap();
        assert_eq!((head.state, head.closed), (SessionState::Disconnected, Some(CloseReason::ConnectionLost)));
        shard.advance(Duration::from_secs(1));
    }
    assert_eq!(shard.due().len(), 0);
    shard.advance(Duration::from_secs(3598));
    assert_eq!(shard.due().len(), 1, "its time runs from the first one on");
    // A volatile one leaves nothing.
    let mut shard = Shard::new();
    shard.one(attempt(false, NONE, 7));
    shard.one(abandon(ONE, 7));
    assert_eq!(shard.session_rows(), []);
}

#[test]
fn a_session_is_over_once_its_expiry_has_passed_even_if_nobody_deleted_it_yet() {
    let mut shard = Shard::new();
    let first = shard.open("c", false, HOUR, ONE);
    shard.close(&first, CloseReason::Orderly);
    shard.advance(HOUR);
    let second = shard.open("c", false, HOUR, ONE);
    assert!(!second.present);
    assert_ne!(second.sid, first.sid);
    let head = read::head(&shard.tables, first.sid).unwrap().unwrap();
    assert_eq!(head.state, SessionState::Superseded);
    let [timer] = shard.due()[..] else { panic!("one timer, for the old one") };
    assert_eq!(timer.sid, first.sid);
    shard.expire_all(&timer);
    assert_eq!(read::head(&shard.tables, first.sid).unwrap(), None);
    let current = read::client(&shard.tables, &Namespace::default(), &ClientId("c".into())).unwrap();
    assert_eq!(current, Some(second.sid), "the name leads to the new one");
}

#[test]
fn a_takeover_names_the_old_owner_and_fences_all_it_still_logs() {
    let mut shard = Shard::new();
    let old = shard.open("c", false, HOUR, ONE);
    let new = shard.open("c", false, HOUR, TWO);
    assert_eq!((new.sid, new.present, new.old_owner), (old.sid, true, Some(ONE)));
    assert_eq!(shard.effects.events, [Event::TakenOver { sid: old.sid, epoch: old.epoch, owner: ONE }]);
    assert_eq!(shard.subscribe(&old, "a"), Outcome::Rejected(Reason::Fenced));
    assert_eq!(shard.close(&old, CloseReason::ConnectionLost), Outcome::Rejected(Reason::Fenced));
    assert_eq!(read::owned(&shard.tables, ONE, None, 10).unwrap(), []);
    assert_eq!(read::owned(&shard.tables, TWO, None, 10).unwrap(), [(new.sid, new.epoch)]);
}

#[test]
fn a_clean_start_makes_a_new_session_and_leaves_the_old_ones_rows_to_bounded_records() {
    let mut shard = Shard::new();
    let old = shard.open("c", false, HOUR, ONE);
    shard.subscribe(&old, "a/+");
    shard.one(interest(true, "a/+", Owner::Session { sid: old.sid, epoch: old.epoch }));
    let new = shard.open("c", true, HOUR, ONE);
    assert!(!new.present);
    assert_ne!(new.sid, old.sid);
    assert_eq!(new.old_owner, Some(ONE));
    assert_eq!(read::subscriptions(&shard.tables, new.sid).unwrap(), []);
    let [timer] = shard.due()[..] else { panic!("the old one is due at once") };
    assert_eq!(shard.expire_all(&timer), 2, "one fences the lane, one is the last");
    assert_eq!(shard.apply.active_filters(), 0, "its interest went with its subscription");
    assert!(read::subscriptions(&shard.tables, old.sid).unwrap().is_empty());
    let families = shard.session_rows();
    assert_eq!(families, [Family::Client, Family::Client, Family::Client, Family::Session], "the new one's rows only");
}

#[test]
fn a_volatile_session_is_its_head_and_goes_with_its_connection() {
    let mut shard = Shard::new();
    let before = shard.session_rows();
    let first = shard.open("v", false, NONE, ONE);
    assert!(!first.persistent && !first.present);
    assert_eq!(shard.subscribe(&first, "a"), Outcome::Rejected(Reason::Invalid), "it has no subscription rows");
    let second = shard.open("v", false, NONE, TWO);
    assert!(!second.present, "a takeover ends it too");
    assert_eq!(second.old_owner, Some(ONE));
    assert_eq!(read::head(&shard.tables, first.sid).unwrap(), None);
    assert_eq!(shard.close(&first, CloseReason::Server), Outcome::Rejected(Reason::NotFound));
    assert_eq!(shard.close(&second, CloseReason::ConnectionLost), Outcome::Done);
    assert_eq!(shard.session_rows(), before, "nothing is left");
}

#[test]
fn a_session_may_turn_from_volatile_to_persistent_only_as_a_new_one() {
    let mut shard = Shard::new();
    let volatile = shard.open("c", false, NONE, ONE);
    let persistent = shard.open("c", false, HOUR, ONE);
    assert!(!persistent.present && persistent.persistent);
    assert_ne!(persistent.sid, volatile.sid);
    let resumed = shard.open("c", false, NONE, ONE);
    assert!(resumed.present && resumed.persistent, "its rows are there as long as the connection");
    shard.close(&resumed, CloseReason::Orderly);
    assert_eq!(shard.due().len(), 1, "and end with it");
    assert!(!shard.open("c", false, NONE, ONE).present);
}

#[test]
fn a_close_may_change_the_expiry_and_says_so_once() {
    let mut shard = Shard::new();
    let session = shard.open("c", false, HOUR, ONE);
    let (sid, epoch, reason) = (session.sid, session.epoch, CloseReason::Orderly);
    let shorter = Some(Duration::from_secs(5));
    let close = SessionClose { sid, epoch, reason, expiry: shorter };
    assert_eq!(shard.one(Record::SessionClose(close)), Outcome::Done);
    let again = SessionClose { expiry: Some(HOUR), ..close };
    assert_eq!(shard.one(Record::SessionClose(again)), Outcome::Done, "a second close has no effect");
    shard.advance(Duration::from_secs(5));
    assert_eq!(shard.due().len(), 1);
    assert_eq!(shard.subscribe(&session, "a"), Outcome::Rejected(Reason::Fenced), "its connection has ended");
}

#[test]
fn a_session_that_never_expires_has_a_timer_that_never_comes() {
    let mut shard = Shard::new();
    let session = shard.open("c", false, Duration::MAX, ONE);
    shard.close(&session, CloseReason::Orderly);
    shard.advance(Duration::from_hours(24 * 365 * 100));
    assert_eq!(shard.due(), []);
    assert!(shard.open("c", false, HOUR, ONE).present);
}

#[test]
fn expiry_deletes_what_it_names_and_nothing_before_its_time() {
    let mut shard = Shard::new();
    let session = shard.open("c", false, HOUR, ONE);
    let (sid, epoch) = (session.sid, session.epoch);
    shard.subscribe(&session, "a");
    let page = |last| SessionExpire { sid, epoch, filters: vec![filter("a")], flights: vec![], last };
    assert_eq!(shard.one(Record::SessionExpire(page(true))), Outcome::Rejected(Reason::Fenced), "connected");
    shard.close(&session, CloseReason::Orderly);
    assert_eq!(shard.one(Record::SessionExpire(page(true))), Outcome::Rejected(Reason::Fenced), "not due");
    shard.advance(HOUR);
    let [timer] = shard.due()[..] else { panic!("due") };
    let resumed_in_between = SessionExpire { epoch: Epoch(Position(1)), ..page(true) };
    assert_eq!(shard.one(Record::SessionExpire(resumed_in_between)), Outcome::Rejected(Reason::Fenced));
    shard.expire_all(&timer);
    assert_eq!(shard.session_rows(), []);
    assert_eq!(shard.one(Record::SessionExpire(page(true))), Outcome::Rejected(Reason::NotFound), "gone: no effect");
    assert_eq!(read::expire_page(&shard.tables, &timer).unwrap(), None);
}

#[test]
fn a_large_session_is_deleted_in_pages_and_late_progress_adds_nothing() {
    let mut shard = Shard::new();
    let session = shard.open("c", false, HOUR, ONE);
    let (sid, epoch) = (session.sid, session.epoch);
    for number in 0..300 {
        shard.subscribe(&session, &format!("t/{number}"));
    }
    let flights = |range: std::ops::Range<u64>, state| {
        let flight = |n: u64| InFlight {
            stamp: Stamp(sid.position.0 + n),
            position: sid.position,
            qos: Qos::AtLeastOnce,
            pid: None,
            state,
        };
        vec![LaneProgress { sid, epoch, cursor: None, flights: range.map(flight).collect() }]
    };
    shard.one(Record::Progress(flights(1..200, FlightState::Sent)));
    shard.one(Record::Progress(flights(200..300, FlightState::Parked)));
    shard.close(&session, CloseReason::ConnectionLost);
    shard.advance(HOUR);
    let [timer] = shard.due()[..] else { panic!("due") };
    let first = read::expire_page(&shard.tables, &timer).unwrap().unwrap();
    assert_eq!(first.filters.len() + first.flights.len(), SessionExpire::MAX_ROWS);
    shard.one(Record::SessionExpire(first));
    assert_eq!(shard.one(Record::Progress(flights(300..400, FlightState::Sent))), Outcome::Done);
    assert_eq!(shard.effects.mutations.len(), 1, "the lane is fenced: only the mark was written");
    shard.expire_all(&timer);
    assert_eq!(shard.session_rows(), []);
}

#[test]
fn a_will_is_stored_until_the_connection_ends_orderly_or_the_session_goes() {
    let mut shard = Shard::new();
    let will = Will::new(&message("last/words"), Duration::from_secs(3));
    let with_will = |client: &str, expiry| {
        let mut record = open_record(client, false, expiry, ONE);
        record.will = Some(will.clone());
        Record::SessionOpen(record)
    };
    let session = opened(shard.one(with_will("c", HOUR)));
    assert_eq!(read::will(&shard.tables, session.sid).unwrap(), Some(will.clone()));
    shard.close(&session, CloseReason::ConnectionLost);
    assert_eq!(read::will(&shard.tables, session.sid).unwrap(), Some(will.clone()), "kept: it may be published yet");
    let session = shard.open("c", false, HOUR, ONE);
    assert_eq!(read::will(&shard.tables, session.sid).unwrap(), None, "a resume without one has none");
    let session = opened(shard.one(with_will("c", HOUR)));
    shard.close(&session, CloseReason::Orderly);
    assert_eq!(read::will(&shard.tables, session.sid).unwrap(), None);
    let volatile = opened(shard.one(with_will("v", NONE)));
    shard.close(&volatile, CloseReason::ConnectionLost);
    assert_eq!(read::will(&shard.tables, volatile.sid).unwrap(), None);
    let mut bad = open_record("w", false, HOUR, ONE);
    bad.will = Some(Will { delay: NONE, message: b"not a message".as_slice().into() });
    assert_eq!(shard.one(Record::SessionOpen(bad)), Outcome::Rejected(Reason::Invalid));
}

#[test]
fn a_client_needs_a_name_that_fits_a_key() {
    let mut shard = Shard::new();
    for client in ["", "a\0b", &"x".repeat(65_536)] {
        let record = Record::SessionOpen(open_record(client, false, HOUR, ONE));
        assert_eq!(shard.one(record), Outcome::Rejected(Reason::Invalid));
    }
    shard.open(&"x".repeat(65_535), false, HOUR, ONE);
}

#[test]
fn a_lost_gateways_sessions_are_closed_page_by_page() {
    let mut shard = Shard::new();
    let event = |event| Record::Gateway(Gateway { incarnation: ONE, event });
    shard.one(event(GatewayEvent::Joined));
    for number in 0..25 {
        let expiry = if number % 2 == 0 { HOUR } else { NONE };
        shard.open(&format!("c{number}"), false, expiry, ONE);
    }
    shard.open("other", false, HOUR, TWO);
    shard.one(event(GatewayEvent::Lost));
    assert_eq!(shard.effects.events, [Event::GatewayLost { incarnation: ONE }]);
    let late = Record::SessionOpen(open_record("late", false, HOUR, ONE));
    assert_eq!(shard.one(late), Outcome::Rejected(Reason::Fenced), "it may own nothing new");
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = read::owned(&shard.tables, ONE, after, 10).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        let closes: Vec<_> = page
            .iter()
            .map(|&(sid, epoch)| {
                let reason = CloseReason::GatewayLost;
                Record::SessionClose(SessionClose { sid, epoch, reason, expiry: None })
            })
            .collect();
        assert!(shard.batch(&closes).iter().all(|outcome| *outcome == Outcome::Done));
        pages.push(page.len());
    }
    assert_eq!(pages, [10, 10, 5]);
    assert_eq!(read::owned(&shard.tables, ONE, None, 10).unwrap(), []);
    assert_eq!(read::owned(&shard.tables, TWO, None, 10).unwrap().len(), 1);
    assert_eq!(shard.one(event(GatewayEvent::Swept)), Outcome::Done);
    shard.advance(HOUR);
    assert_eq!(shard.due().len(), 13, "expiry runs for the persistent ones");
}

#[test]
fn a_session_opened_closed_and_resumed_in_one_batch_sees_its_own_rows() {
    let mut shard = Shard::new();
    let at = shard.log.next();
    let sid = Sid { home: ShardId(0), position: at };
    let subscribe = Subscribe {
        sid,
        epoch: Epoch(at),
        filter: filter("a"),
        options: SubscribeOptions::at(Qos::AtLeastOnce),
        from: vec![],
    };
    let close = SessionClose { sid, epoch: Epoch(at), reason: CloseReason::Orderly, expiry: None };
    let outcomes = shard.batch(&[
        Record::SessionOpen(open_record("c", false, HOUR, ONE)),
        Record::Subscribe(subscribe),
        Record::SessionClose(close),
        Record::SessionOpen(open_record("c", false, HOUR, TWO)),
    ]);
    assert_eq!(outcomes[1], Outcome::Subscribed { existed: false, from: vec![] });
    let resumed = opened(outcomes[3].clone());
    assert_eq!((resumed.sid, resumed.present, resumed.old_owner), (sid, true, None));
    assert_eq!(shard.tables.get(Family::Timer, &[]).unwrap(), None);
    shard.advance(HOUR * 2);
    assert_eq!(shard.due(), []);
}
