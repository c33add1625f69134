//! `Tables` and `Durable` over the families.

use bytes::Bytes;
use causeway_apply::{Durable, Family, Mutations, Tables, TablesError, Visit};
use causeway_model::Position;
use rocksdb::{ColumnFamily, ReadOptions, WriteBatch, WriteOptions};

use crate::Db;
use crate::options::QUEUE_PREFIX;

impl Tables for Db {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        let handle = self.family("get", family)?;
        // Pinned: the one copy is into the answer.
        let value = self.rocks.get_pinned_cf(handle, key).map_err(|source| self.failed("get", family, source))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, family: Family, from: &[u8], upto: &[u8], visit: Visit<'_>) -> Result<(), TablesError> {
        if from >= upto {
            return Ok(());
        }
        let mut rows = self.rocks.raw_iterator_cf_opt(self.family("scan", family)?, range(family, from, upto));
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        // Invalid is either the end or a failure.
        rows.status().map_err(|source| self.failed("scan", family, source))
    }

    fn write(&self, mutations: &Mutations) -> Result<(), TablesError> {
        // Finding a handle is a look-up by name: once a batch, not once a row.
        let families = self.families("write")?;
        // RocksDB takes the batch, so another attempt fills another.
        let written = self.with_space("write", || self.rocks.write_opt(batch(mutations, &families), &unlogged()));
        written.map_err(|source| self.failed("write", Family::Meta, source))
    }
}

impl Durable for Db {
    fn flush(&self) -> Result<(), TablesError> {
        self.flush_all()
    }

    fn set_floor(&self, flushed_first: Position) {
        self.floor.raise(flushed_first);
    }

    fn checkpoint(&self) -> Result<Position, TablesError> {
        self.take_checkpoint()
    }
}

fn batch(mutations: &Mutations, families: &[&ColumnFamily]) -> WriteBatch {
    // RocksDB's own framing of a row is no longer than ours.
    let mut batch = WriteBatch::with_capacity_bytes(mutations.bytes().len() + BATCH_HEADER);
    for mutation in mutations {
        // In the order of their numbers, and all of them.
        let family = families[mutation.family as usize];
        match mutation.value {
            Some(value) => batch.put_cf(family, mutation.key, value),
            None => batch.delete_cf(family, mutation.key),
        }
    }
    batch
}

const BATCH_HEADER: usize = 12;

/// The commit log is the write-ahead log.
pub(crate) fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn range(family: Family, from: &[u8], upto: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(upto);
    if family == Family::Entry {
        // With a prefix extractor a scan is either within one prefix, where filters skip files, or must say that it
        // wants the total order: what RocksDB does otherwise is undefined.
        let one = within_one_prefix(from, upto);
        options.set_prefix_same_as_start(one);
        options.set_total_order_seek(!one);
    }
    options
}

/// Whether every key in `from..upto` begins with the queue id that `from` begins with.
fn within_one_prefix(from: &[u8], upto: &[u8]) -> bool {
    let Some(prefix) = from.first_chunk::<QUEUE_PREFIX>() else { return false };
    if upto.starts_with(prefix) {
        return true;
    }
    // The usual exclusive end of a prefix: the next one, with or without the zeros that it ends in.
    let Some(next) = u128::from_be_bytes(*prefix).checked_add(1).map(u128::to_be_bytes) else { return false };
    let Some((end, zeros)) = next.split_at_checked(upto.len()) else { return false };
    end == upto && zeros.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
