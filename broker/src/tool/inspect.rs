//! `log inspect`: segments, batches and records as a person reads them. Takes no lock and repairs nothing.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use causeway_apply::Record;
use causeway_model::{Message, Position};
use causeway_storage::format::SEGMENT_HEADER_BYTES;
use causeway_storage::io::{Fs, Mode};
use causeway_storage::{Batch, BatchKind, Disk, Found, Inspection, SegmentFile, format::segment_name, inspect};

/// What to show.
pub(crate) struct View {
    /// Nothing before the batch that holds this position.
    pub(crate) from: Position,
    /// At most so many batches.
    pub(crate) batches: usize,
    /// Their records too.
    pub(crate) records: bool,
}

/// Prints the log of a broker's data directory.
pub(crate) fn run(data: &Path, view: &View, out: &mut dyn Write) -> Result<()> {
    let dir = data.join("log");
    let log = inspect(Arc::new(Disk), &dir).with_context(|| format!("no log in {}", dir.display()))?;
    let (mut left, mut damaged) = (view.batches, false);
    let firsts: Vec<Position> = log.segments().collect();
    for (number, first) in firsts.iter().enumerate() {
        // The segment that holds `from` is the last one that starts at or below it.
        if firsts.get(number + 1).is_some_and(|next| *next <= view.from) {
            continue;
        }
        let file = log.segment(*first)?;
        segment(&file, out)?;
        let end = batches(&log, *first, view, &mut left, out)?;
        let whole = match (end, firsts.get(number + 1)) {
            (End::Cut, _) => true,
            (End::At(at), Some(next)) => at == *next,
            (End::At(at), None) => zeros_from(&file.path, at.0 - first.0 + SEGMENT_HEADER_BYTES)?,
            (End::Damaged, _) => false,
        };
        if let (false, End::At(at)) = (whole, end) {
            writeln!(out, "  {at:>14}  DAMAGED: no batch here, and there is more behind it")?;
        }
        damaged |= !whole;
        if left == 0 {
            writeln!(out, "… more: --from or --batches shows it")?;
            break;
        }
    }
    let segments: Vec<String> = firsts.iter().map(|first| segment_name(*first)).collect();
    for file in log.files.iter().filter(|file| !segments.contains(&file.name)) {
        writeln!(out, "beside the segments: {}", file.name)?;
    }
    if damaged {
        bail!(
            "the log is damaged; if the broker was at work just now, its last batch may have been half written: look again"
        );
    }
    Ok(())
}

fn segment(file: &SegmentFile, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "segment {} ({} bytes): ", file.path.display(), file.len)?;
    match &file.header {
        Ok(header) => writeln!(
            out,
            "lineage {}, first position {}, first index {}",
            header.lineage, header.first, header.first_index
        ),
        Err(fault) => writeln!(out, "DAMAGED header: {fault}"),
    }
}

/// How the batches of a segment end.
#[derive(Clone, Copy)]
enum End {
    /// Enough was shown.
    Cut,
    /// There is no batch from here on.
    At(Position),
    /// Something is not whole.
    Damaged,
}

/// Whether a file has nothing but zeros from here on, as the unused part of a segment has.
fn zeros_from(path: &Path, mut offset: u64) -> Result<bool> {
    let file = Disk.open(path, Mode::Read)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = file.read_at(&mut chunk, offset)?;
        if read == 0 {
            return Ok(true);
        }
        if chunk.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += read as u64;
    }
}

fn batches(log: &Inspection, first: Position, view: &View, left: &mut usize, out: &mut dyn Write) -> Result<End> {
    let found = match log.batches(first) {
        Ok(found) => found,
        Err(error) => {
            writeln!(out, "  cannot be read: {error}")?;
            return Ok(End::Damaged);
        }
    };
    for step in found {
        match step? {
            Found::Batch(found) if found.end() <= view.from => {}
            Found::Batch(_) if *left == 0 => return Ok(End::Cut),
            Found::Batch(found) => {
                *left -= 1;
                batch(&found, view.records, out)?;
            }
            Found::End(at) => {
                writeln!(out, "  {at:>14}  end")?;
                return Ok(End::At(at));
            }
            Found::Damage(at, fault) => {
                writeln!(out, "  {at:>14}  DAMAGED: {fault}")?;
                return Ok(End::Damaged);
            }
        }
    }
    // Batches up to the segment's very end.
    Ok(End::Cut)
}

fn batch(batch: &Batch, records: bool, out: &mut dyn Write) -> io::Result<()> {
    let header = &batch.header;
    let kind = match header.kind {
        BatchKind::Data => "data",
        BatchKind::Blank => "blank",
        BatchKind::Membership => "membership",
    };
    writeln!(
        out,
        "  {:>14}  batch {kind}: index {}, term {}, time {}, {} records, {} bytes",
        header.position,
        header.index,
        header.term,
        header.time,
        batch.records().count(),
        header.length,
    )?;
    if records {
        for (position, payload) in batch.records() {
            match Record::decode(&payload) {
                Ok(record) => writeln!(out, "  {position:>14}    {}", describe(&record))?,
                Err(error) => writeln!(out, "  {position:>14}    {} bytes: {error}", payload.len())?,
            }
        }
    }
    Ok(())
}

/// One record on one line: its kind and what it names.
fn describe(record: &Record) -> String {
    let kind = record.kind();
    match record {
        Record::Message(stored) => {
            let Message { topic, qos, retain, publisher, body, .. } = &stored.message;
            let retain = if *retain { ", retain" } else { "" };
            format!(
                "{kind} to {topic}, QoS {}{retain}, {} bytes, from {:?}",
                qos.number(),
                body.len(),
                &*publisher.client.0
            )
        }
        Record::Trim(trim) => format!("{kind} below {}", trim.first),
        Record::Interest(interest) => {
            let verb = if interest.add { "add" } else { "remove" };
            format!("{kind} {verb} {} for {:?}", interest.filter, interest.owner)
        }
        Record::SessionOpen(open) => format!(
            "{kind} of {:?}, clean start {}, expiry {} s, owner {}",
            &*open.client.0,
            open.clean_start,
            open.expiry.as_secs(),
            open.owner
        ),
        Record::SessionClose(close) => format!("{kind} of {}, {:?}", close.sid, close.reason),
        Record::SessionAbandon(abandon) => {
            format!("{kind} of {:?}, opening {} of {}", &*abandon.client.0, abandon.attempt, abandon.owner)
        }
        Record::SessionExpire(expire) => format!("{kind} of {}, {} filters", expire.sid, expire.filters.len()),
        Record::Subscribe(subscribe) => {
            format!("{kind} {} for {}, QoS {}", subscribe.filter, subscribe.sid, subscribe.options.qos.number())
        }
        Record::Unsubscribe(unsubscribe) => format!("{kind} {} for {}", unsubscribe.filter, unsubscribe.sid),
        Record::Progress(lanes) => {
            let flights: usize = lanes.iter().map(|lane| lane.flights.len()).sum();
            format!("{kind} of {} lanes, {flights} deliveries", lanes.len())
        }
        Record::TopicPut(put) => format!("{kind} {}, {} queues", put.name, put.queues),
        Record::TopicDrop(drop) => format!("{kind} {}", drop.name),
        Record::ClusterInit(init) => {
            format!("{kind} lineage {}, level {}, shard {}", init.lineage, init.level, init.shard)
        }
        Record::Gateway(gateway) => format!("{kind} {} {:?}", gateway.incarnation, gateway.event),
        Record::FeatureLevel(raise) => format!("{kind} {}", raise.level),
        Record::Check(check) => format!("{kind} at {}, digest {:016x}", check.position, check.digest),
    }
}
