use std::time::Duration;

use causeway_model::{ClientId, Epoch, Incarnation, Namespace, PacketId, Position, Qos, Sid, Stamp};

use crate::record::{FlightState, InFlight, LaneProgress, SessionOpen};
use crate::sample::Shard;
use crate::{Family, Outcome, Reason, Record, read};

impl Shard {
    fn lane_of(&mut self, client: &str, owner: u128) -> (Sid, Epoch) {
        let open = SessionOpen {
            namespace: Namespace::default(),
            client: ClientId(client.into()),
            clean_start: false,
            expiry: Duration::from_mins(1),
            owner: Incarnation(owner),
            attempt: 0,
            will: None,
        };
        let Outcome::Opened(opened) = self.one(Record::SessionOpen(open)) else { panic!("not opened") };
        (opened.sid, opened.epoch)
    }

    fn progress(&mut self, (sid, epoch): (Sid, Epoch), cursor: Option<Position>, flights: Vec<InFlight>) -> Outcome {
        self.one(Record::Progress(vec![LaneProgress { sid, epoch, cursor, flights }]))
    }

    fn lane_row(&self, sid: Sid) -> read::Lane {
        read::lane(&self.tables, sid).unwrap().unwrap()
    }

    /// In-flight and parked rows as they are stored, those below the cursor too.
    fn stored(&self, sid: Sid) -> usize {
        let prefix = sid.to_bytes();
        let rows = self.tables.dump();
        rows.iter().filter(|(family, key, _)| *family == Family::Session && key.starts_with(&prefix)).count() - 1
    }
}

fn flight(at: Position, pid: u16, state: FlightState) -> InFlight {
    InFlight { stamp: at.stamp(), position: at, qos: Qos::AtLeastOnce, pid: PacketId::new(pid), state }
}

#[test]
fn the_cursor_moves_forward_only_and_never_past_the_record() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    let at = shard.publish("t");
    assert_eq!(shard.progress(lane, Some(at), vec![]), Outcome::Done);
    assert_eq!(shard.lane_row(lane.0).cursor, at);
    for cursor in [Some(Position(at.0 - 1)), None] {
        assert_eq!(shard.progress(lane, cursor, vec![]), Outcome::Done);
        assert_eq!(shard.lane_row(lane.0).cursor, at);
    }
    let beyond = shard.log.next().plus(1);
    assert_eq!(shard.progress(lane, Some(beyond), vec![]), Outcome::Rejected(Reason::Invalid));
    let early = flight(shard.log.next().plus(1), 1, FlightState::Sent);
    assert_eq!(shard.progress(lane, None, vec![early]), Outcome::Rejected(Reason::Invalid));
}

#[test]
fn lanes_of_another_epoch_or_of_nobody_are_skipped_and_the_rest_takes_effect() {
    let mut shard = Shard::new();
    let old = shard.lane_of("c", 1);
    let other = shard.lane_of("d", 1);
    let new = shard.lane_of("c", 2);
    assert_eq!(old.0, new.0);
    let at = shard.publish("t");
    let lane = |(sid, epoch)| LaneProgress { sid, epoch, cursor: Some(at), flights: vec![] };
    let nobody = (Sid { position: Position(1), ..old.0 }, old.1);
    let outcome = shard.one(Record::Progress(vec![lane(old), lane(nobody), lane(other)]));
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(shard.lane_row(new.0).cursor, new.0.position);
    assert_eq!(shard.lane_row(other.0).cursor, at);
    shard.progress(new, Some(at), vec![]);
    assert_eq!(shard.lane_row(new.0).cursor, at);
}

#[test]
fn what_is_in_flight_is_kept_by_stamp_and_goes_when_the_cursor_passes_it() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    let at: Vec<_> = (0..4).map(|_| shard.publish("t")).collect();
    let flights = vec![
        flight(at[2], 3, FlightState::Received),
        flight(at[0], 1, FlightState::Sent),
        flight(at[1], 2, FlightState::Done),
    ];
    shard.progress(lane, None, flights);
    let expected = [
        flight(at[0], 1, FlightState::Sent),
        flight(at[1], 2, FlightState::Done),
        flight(at[2], 3, FlightState::Received),
    ];
    assert_eq!(shard.lane_row(lane.0).flights, expected);
    let resumed = shard.lane_of("c", 2);
    assert_eq!(shard.lane_row(lane.0).flights, expected, "a resume finds them");
    shard.progress(resumed, Some(at[1]), vec![]);
    assert_eq!(shard.lane_row(lane.0).flights, expected[2..]);
    assert_eq!(shard.stored(lane.0), 1, "rows that the cursor passed are deleted though nobody named them");
    shard.progress(resumed, Some(at[3]), vec![flight(at[2], 3, FlightState::Done)]);
    assert_eq!(shard.stored(lane.0), 0);
}

#[test]
fn many_rows_below_the_cursor_go_a_bounded_number_a_record() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    let at: Vec<_> = (0..100).map(|_| shard.publish("t")).collect();
    let flights = at.iter().map(|at| flight(*at, 1, FlightState::Sent)).collect();
    shard.progress(lane, None, flights);
    let mut left = vec![shard.stored(lane.0)];
    for cursor in &at[95..] {
        shard.progress(lane, Some(*cursor), vec![]);
        assert!(shard.effects.mutations.len() <= super::REAPED + 2);
        assert!(shard.lane_row(lane.0).flights.iter().all(|flight| flight.stamp.position() > *cursor));
        left.push(shard.stored(lane.0));
    }
    assert_eq!(left, [100, 68, 36, 4, 1, 0]);
}

#[test]
fn a_lane_without_rows_in_flight_costs_one_row_and_no_scan() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    for _ in 0..3 {
        let at = shard.publish("t");
        shard.progress(lane, Some(at), vec![flight(at, 1, FlightState::Done)]);
        assert_eq!(shard.effects.mutations.len(), 2, "lane and mark");
    }
}

#[test]
fn parked_deliveries_outlive_the_cursor_until_they_are_done() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    let at: Vec<_> = (0..3).map(|_| shard.publish("t")).collect();
    shard.progress(lane, None, vec![flight(at[0], 1, FlightState::Sent), flight(at[1], 2, FlightState::Sent)]);
    shard.progress(lane, Some(at[2]), vec![flight(at[0], 1, FlightState::Parked)]);
    assert_eq!(shard.lane_row(lane.0).flights, [flight(at[0], 1, FlightState::Parked)]);
    let resumed = shard.lane_of("c", 1);
    assert_eq!(shard.lane_row(lane.0).flights, [flight(at[0], 1, FlightState::Parked)]);
    shard.progress(resumed, None, vec![flight(at[0], 1, FlightState::Done)]);
    assert_eq!(shard.lane_row(lane.0).flights, []);
    assert_eq!(shard.stored(lane.0), 0);
}

#[test]
fn flights_at_the_end_of_the_number_space_are_refused_and_not_lost() {
    let mut shard = Shard::new();
    let lane = shard.lane_of("c", 1);
    let end = InFlight { stamp: Stamp(u64::MAX), ..flight(Position(0), 1, FlightState::Sent) };
    assert_eq!(shard.progress(lane, None, vec![end]), Outcome::Rejected(Reason::Invalid));
    assert_eq!(shard.progress(lane, Some(Position(u64::MAX)), vec![]), Outcome::Rejected(Reason::Invalid));
}
