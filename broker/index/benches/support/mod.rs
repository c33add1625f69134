//! What both benches share: queues, marks, and what the process has used.

use std::fs;

use causeway_apply::{Family, Mutations, key};
use causeway_model::{Offset, QueueId};

/// Spreads numbers as a keyed hash does, and the same way in each run.
pub(crate) fn mix(number: u64) -> u64 {
    let a = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

pub(crate) fn queue(topic: u64) -> QueueId {
    let halves = [mix(2 * topic), mix(2 * topic + 1)].map(u64::to_be_bytes);
    QueueId(halves.concat().try_into().unwrap_or_default())
}

/// The applied mark that every batch carries.
pub(crate) fn put_mark(mutations: &mut Mutations, index: u64, position: u64) {
    let numbers = [index, 1, position, index, mix(index), 0].map(u64::to_be_bytes).concat();
    mutations.put(Family::Meta, &key::APPLIED, &[&[1], &numbers[..]].concat());
}

/// A row of one entry as apply writes it for a plain message of some 300 bytes.
pub(crate) fn put_entry(mutations: &mut Mutations, queue: QueueId, position: u64) {
    let value = [1, 0xac, 0x02, 0, 1, 0x93, 0x5f, 0x10, 0x20];
    mutations.put(Family::Entry, &key::entry(queue, Offset(position)), &value);
}

/// Seconds of processor time: this thread's, and the whole process's with RocksDB's flushes and compactions.
pub(crate) fn processor() -> (f64, f64) {
    let thread = read("/proc/thread-self/schedstat");
    let thread = thread.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9;
    let process = read("/proc/self/stat");
    let fields: Vec<f64> =
        process.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Fields 14 and 15 of the line, in hundredths; the state is a letter, which the parse dropped.
    let process = fields.get(10..12).map_or(0.0, |ticks| ticks.iter().sum::<f64>() / 100.0);
    (thread, process)
}

/// What the kernel says; nothing where it says nothing.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
