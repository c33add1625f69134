//! One row per entry against one packed row per (queue, batch): what writing and reading cost, and bytes on disk.
//!
//! `cargo bench -p causeway-index --bench rows [-- MESSAGES]` (a million by default). Batches are of 64 messages.
//!
//! ```text
//! one     qid ‖ stamp             → flags, length varint, time u48
//! packed  qid ‖ last stamp        → time u48, count varint, [distance to the last stamp varint, flags, length varint]
//! ```
//!
//! The last stamp in the key lets a reader seek to the first row that has anything for it, as it does with single rows.
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Result;
use causeway_apply::{Durable as _, Family, Mutations, Tables as _, key};
use causeway_index::{Db, Settings};
use causeway_model::{Offset, QueueId};

mod support;
use support::{mix, processor, put_entry, put_mark, queue};

const BATCH: u64 = 64;
const STRIDE: u64 = 300;
/// Entries that a reader asks for.
const PAGE: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    One,
    Packed,
}

fn main() -> Result<()> {
    let messages: u64 = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    println!(
        "   queues layout | write: µs/msg  writer cpu  all cpu | MiB flushed  compacted | page of {PAGE}: µs  entries  ns/entry"
    );
    for queues in [1, 10, messages] {
        for layout in [Layout::One, Layout::Packed] {
            line(layout, messages, queues)?;
        }
    }
    Ok(())
}

fn line(layout: Layout, messages: u64, queues: u64) -> Result<()> {
    let home = tempfile::tempdir()?;
    let db = Db::open(home.path(), &Settings::default())?;
    let mut mutations = Mutations::new();
    let (start, (thread, _)) = (Instant::now(), processor());
    let process = processor().1;
    for batch in 0..messages / BATCH {
        mutations.clear();
        let entries =
            (batch * BATCH..(batch + 1) * BATCH).map(|number| (queue(topic(number, queues, messages)), number));
        match layout {
            Layout::One => entries.for_each(|(queue, number)| put_entry(&mut mutations, queue, number * STRIDE)),
            Layout::Packed => put_packed(&mut mutations, entries),
        }
        put_mark(&mut mutations, batch, (batch + 1) * BATCH * STRIDE);
        db.write(&mutations)?;
    }
    let (wall, writer) = (start.elapsed().as_secs_f64(), processor().0 - thread);
    db.flush()?;
    let all = processor().1 - process;
    let flushed = db.usage().file_bytes as f64 / 1_048_576.0;
    let per = |seconds: f64| seconds * 1e6 / messages as f64;
    print!("{queues:>9} {layout:<6?} | {:>13.2} {:>11.2} {:>8.2} | ", per(wall), per(writer), per(all));
    let (micros, entries) = read(&db, layout, messages, queues)?;
    db.compact()?;
    let compacted = db.usage().file_bytes as f64 / 1_048_576.0;
    let nanos = micros * 1e3 / entries;
    println!("{flushed:>11.1} {compacted:>10.1} | {micros:>15.1} {entries:>8.1} {nanos:>9.0}");
    Ok(())
}

fn topic(number: u64, queues: u64, messages: u64) -> u64 {
    if queues == messages { number } else { mix(number) % queues }
}

fn put_packed(mutations: &mut Mutations, entries: impl Iterator<Item = (QueueId, u64)>) {
    let mut rows = BTreeMap::<QueueId, Vec<u64>>::new();
    entries.for_each(|(queue, number)| rows.entry(queue).or_default().push(number * STRIDE));
    let mut value = Vec::new();
    for (queue, stamps) in rows {
        let last = stamps.last().copied().unwrap_or_default();
        value.clear();
        value.extend([0, 1, 0x93, 0x5f, 0x10, 0x20]);
        put_varint(&mut value, stamps.len() as u64);
        for stamp in stamps {
            put_varint(&mut value, last - stamp);
            value.extend([1, 0xac, 0x02]);
        }
        mutations.put(Family::Entry, &key::entry(queue, Offset(last)), &value);
    }
}

fn put_varint(buf: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buf.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    buf.push(number.to_le_bytes()[0]);
}

fn get_varint(value: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = value.split_first()?;
        *value = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

/// Reads a page of many queues from somewhere within them. Microseconds and entries, both per page.
fn read(db: &Db, layout: Layout, messages: u64, queues: u64) -> Result<(f64, f64)> {
    const PAGES: u64 = 20_000;
    let (mut entries, mut sum) = (0, 0_u64);
    let start = Instant::now();
    for page in 0..PAGES {
        let number = mix(page) % messages;
        let queue = queue(topic(number, queues, messages));
        let from = number * STRIDE;
        let mut left = PAGE;
        let upto = key::beyond(&queue.0);
        db.scan(Family::Entry, &key::entry(queue, Offset(from)), &upto, &mut |key, value| {
            let last = key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            // What a reader does with each: stamp, flags, length.
            let mut take = |stamp: u64, flags: u8, length: u64| {
                if stamp >= from && left > 0 {
                    left -= 1;
                    entries += 1;
                    sum = sum.wrapping_add(stamp).wrapping_add(u64::from(flags)).wrapping_add(length);
                }
            };
            match layout {
                Layout::One => {
                    let (flags, mut rest) = value.split_first().map_or((0, value), |(flags, rest)| (*flags, rest));
                    take(last, flags, get_varint(&mut rest).unwrap_or(0));
                }
                Layout::Packed => {
                    let mut rest = value.get(6..).unwrap_or_default();
                    for _ in 0..get_varint(&mut rest).unwrap_or(0) {
                        let stamp = last - get_varint(&mut rest).unwrap_or(0);
                        let flags = rest.split_off_first().copied().unwrap_or(0);
                        take(stamp, flags, get_varint(&mut rest).unwrap_or(0));
                    }
                }
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / PAGES as f64;
    anyhow::ensure!(entries >= PAGES && sum > 0, "every page has at least the entry that it begins at");
    Ok((micros, entries as f64 / PAGES as f64))
}
