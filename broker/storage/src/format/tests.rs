use std::fmt::Write;

use super::*;
use proptest::prelude::*;

const LINEAGE: Lineage = Lineage(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

fn header() -> Header {
    let mut header = Header {
        kind: BatchKind::Membership,
        term: 0x1112,
        index: 0x2122,
        position: Position(0x3132_3334),
        length: 0x0041_4243,
        committed: 0x2121,
        time: Millis(0x0199_0000_5152),
        body_crc: 0x6162_6364,
        lineage: LINEAGE,
        prev_header_crc: 0x7172_7374,
        header_crc: 0,
    };
    header.seal();
    header
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let gap = if i % 8 == 0 && i > 0 { " " } else { "" };
        write!(hex, "{gap}{byte:02x}").unwrap();
    }
    hex
}

#[test]
fn a_batch_header_has_these_bytes() {
    assert_eq!(
        hex(&header().bytes()),
        "4377420101030000 4342410064636261 1211000000000000 2221000000000000 3433323100000000 \
         2121000000000000 5251000099010000 100f0e0d0c0b0a09 0807060504030201 7473727167855c07"
    );
    assert_eq!(Header::decode(&header().bytes()), Ok(header()));
}

#[test]
fn a_segment_header_has_these_bytes() {
    let prev = Link { term: 0x1112, index: 0x2121, header_crc: 0x4142_4344 };
    let header = SegmentHeader {
        lineage: LINEAGE,
        first: Position(0x3132_3334),
        first_index: 0x2122,
        capacity: 0x07ff_f000,
        prev: Some(prev),
    };
    assert_eq!(
        hex(&header.bytes()),
        "6361757365776179 0200000000000000 100f0e0d0c0b0a09 0807060504030201 3433323100000000 \
         2221000000000000 00f0ff0700000000 1211000000000000 2121000000000000 444342414780c76c"
    );
    assert_eq!(SegmentHeader::decode(&header.bytes()), Ok(header));
}

#[test]
fn the_first_segment_has_nothing_before_it() {
    let header = SegmentHeader { lineage: LINEAGE, first: Position(0), first_index: 0, capacity: 4096, prev: None };
    assert_eq!(SegmentHeader::decode(&header.bytes()), Ok(header));
}

#[test]
fn a_vote_has_these_bytes() {
    let vote = Vote { lineage: LINEAGE, node: 0x1112, term: 0x2122, candidate: 0x3132, committed: true };
    assert_eq!(
        hex(&vote.bytes()),
        "4377560101010000 100f0e0d0c0b0a09 0807060504030201 1211000000000000 2221000000000000 \
         3231000000000000 148c0a6c"
    );
    assert_eq!(Vote::decode(&vote.bytes()), Ok(vote));
}

#[test]
fn segments_are_named_after_their_first_position() {
    assert_eq!(segment_name(Position(4_198_304)), "00000000000004198304");
    assert_eq!(parse_segment_name("00000000000004198304"), Some(Position(4_198_304)));
    assert_eq!(parse_segment_name(&segment_name(Position(u64::MAX))), Some(Position(u64::MAX)));
    for name in [
        "",
        "4198304",
        "0000000000000419830",
        "000000000000041983040",
        "0000000000000419830x",
        "+0000000000004198304",
        "99999999999999999999",
    ] {
        assert_eq!(parse_segment_name(name), None, "{name}");
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let (batch, segment) = (
        header().bytes(),
        SegmentHeader { lineage: LINEAGE, first: Position(9), first_index: 0, capacity: 1, prev: None }.bytes(),
    );
    let vote = Vote { lineage: LINEAGE, node: 1, term: 2, candidate: 3, committed: false }.bytes();
    let flip = |raw: &mut [u8], bit: usize| raw[bit / 8] ^= 1 << (bit % 8);
    for bit in 0..HEADER_BYTES * 8 {
        let mut raw = batch;
        flip(&mut raw, bit);
        assert!(matches!(Header::decode(&raw), Err(Fault::Magic | Fault::HeaderCrc)), "bit {bit}");
        let mut raw = segment;
        flip(&mut raw, bit);
        assert!(matches!(SegmentHeader::decode(&raw), Err(Fault::Magic | Fault::HeaderCrc)), "bit {bit}");
    }
    for bit in 0..VOTE_BYTES * 8 {
        let mut raw = vote;
        flip(&mut raw, bit);
        assert!(Vote::decode(&raw).is_err(), "bit {bit}");
    }
}

#[test]
fn zeros_are_told_from_garbage() {
    assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(Fault::Zeros));
    assert_eq!(Header::decode(&[7; HEADER_BYTES]), Err(Fault::Magic));
    assert_eq!(SegmentHeader::decode(&[0; SEGMENT_FIELD_BYTES]), Err(Fault::Zeros));
}

/// Changes one field and seals again, as a later release or a bug would.
fn resealed(at: usize, byte: u8) -> Result<Header, Fault> {
    let mut raw = header().bytes();
    raw[at] = byte;
    seal(&mut raw);
    Header::decode(&raw)
}

#[test]
fn what_another_release_may_write_is_refused_by_name() {
    assert_eq!(resealed(4, 2), Err(Fault::Version(2)));
    assert_eq!(resealed(6, 1), Err(Fault::Version(1)), "a flag that is not known");
    assert_eq!(resealed(5, 9), Err(Fault::Kind(9)));
    assert!(matches!(resealed(11, 0xff), Err(Fault::Length(_))));
    let mut raw =
        SegmentHeader { lineage: LINEAGE, first: Position(0), first_index: 0, capacity: 1, prev: None }.bytes();
    for other in [1, 3] {
        raw[8] = other;
        seal(&mut raw);
        assert_eq!(SegmentHeader::decode(&raw), Err(Fault::Version(other.into())));
    }
}

#[test]
fn a_segment_whose_first_index_does_not_follow_its_previous_one_is_refused() {
    let prev = Some(Link { term: 1, index: 5, header_crc: 1 });
    let header = SegmentHeader { lineage: LINEAGE, first: Position(9), first_index: 7, capacity: 1, prev };
    assert_eq!(SegmentHeader::decode(&header.bytes()), Err(Fault::Index { expected: 6, found: 7 }));
}

proptest! {
    #[test]
    fn whatever_bytes_are_decoded_there_is_an_answer_and_no_panic(raw in prop::array::uniform32(any::<u8>()), reseal: bool, kind: u8) {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[4] = 1;
        header[5] = kind;
        header[8..40].copy_from_slice(&raw);
        if reseal {
            seal(&mut header);
        }
        if let Ok(decoded) = Header::decode(&header) {
            prop_assert_eq!(decoded.bytes(), header);
        }
    }
}
