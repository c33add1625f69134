//! The rows that a run of records puts and deletes, in order, in one growing buffer.
//!
//! ```text
//! op = family u8 ‖ key length u32 ‖ value length u32 (all ones: delete) ‖ key ‖ value      (integers big-endian)
//! ```
//!
//! One buffer has three uses: the database fills its batch from it, the digest runs over each record's part of it, and
//! apply looks up what earlier records of the run wrote. Only the families that apply may read are indexed for that;
//! putting an entry costs its bytes and nothing else.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{FAMILIES, Family};

const HEADER: usize = 9;
const DELETED: u32 = u32::MAX;
/// Capacity kept by [`Mutations::clear`]; a rare larger run gives its memory back.
const KEPT_BYTES: usize = 32 << 20;

/// Ordered puts and deletes; see the module.
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    ops: Vec<u8>,
    count: usize,
    index: Index,
}

/// One put (`value` is some) or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutation<'a> {
    /// The family.
    pub family: Family,
    /// The row's key.
    pub key: &'a [u8],
    /// Its new value, or none to delete it.
    pub value: Option<&'a [u8]>,
}

impl Mutations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a row. The value replaces any earlier one.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.push(family, key, Some(value));
    }

    /// Deletes a row; nothing happens where there is none.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.push(family, key, None);
    }

    fn push(&mut self, family: Family, key: &[u8], value: Option<&[u8]>) {
        let at = self.ops.len();
        // A key or value is a part of one record, and those are at most 64 MiB: the lengths always fit.
        let key_len = u32::try_from(key.len()).unwrap_or(DELETED - 1);
        let value_len = value.map_or(DELETED, |v| u32::try_from(v.len()).unwrap_or(DELETED - 1));
        let mut header = [0; HEADER];
        header[0] = family as u8;
        header[1..5].copy_from_slice(&key_len.to_be_bytes());
        header[5..].copy_from_slice(&value_len.to_be_bytes());
        self.ops.reserve(HEADER + key.len() + value.map_or(0, <[u8]>::len));
        self.ops.extend_from_slice(&header);
        self.ops.extend_from_slice(key);
        self.ops.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
        if family.is_readable() {
            self.index.insert(family, key, at);
        }
    }

    /// What this run last did to a row: `None` = nothing, `Some(None)` = deleted it. Never knows of families that
    /// apply may not read.
    pub fn get(&self, family: Family, key: &[u8]) -> Option<Option<&[u8]>> {
        let at = *self.index.family(family)?.get(key)?;
        self.at(at).map(|mutation| mutation.value)
    }

    /// What this run last did to each row with `from <= key < upto` that it touched, in order of the keys.
    pub fn range<'a>(&'a self, family: Family, from: &[u8], upto: &[u8]) -> impl Iterator<Item = Mutation<'a>> {
        // An empty or reversed range would panic.
        let rows = self.index.family(family).filter(|_| from < upto);
        let range = (Bound::Included(from), Bound::Excluded(upto));
        let offsets = rows.into_iter().flat_map(move |rows| rows.range::<[u8], _>(range));
        offsets.filter_map(|(_, at)| self.at(*at))
    }

    fn at(&self, at: usize) -> Option<Mutation<'_>> {
        decode(self.ops.get(at..)?).map(|(mutation, _)| mutation)
    }

    /// All of them in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.ops }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their encoded form, which grows as they are added: the digest runs over it.
    pub fn bytes(&self) -> &[u8] {
        &self.ops
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.ops.shrink_to(KEPT_BYTES);
        self.count = 0;
        self.index.0.iter_mut().for_each(BTreeMap::clear);
    }
}

impl<'a> IntoIterator for &'a Mutations {
    type Item = Mutation<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over [`Mutations`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Mutation<'a>;
    fn next(&mut self) -> Option<Mutation<'a>> {
        let (mutation, rest) = decode(self.rest)?;
        self.rest = rest;
        Some(mutation)
    }
}

fn decode(ops: &[u8]) -> Option<(Mutation<'_>, &[u8])> {
    let (header, rest) = ops.split_first_chunk::<HEADER>()?;
    let [family, k0, k1, k2, k3, v0, v1, v2, v3] = *header;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes([k0, k1, k2, k3]) as usize)?;
    let length = u32::from_be_bytes([v0, v1, v2, v3]);
    let family = Family::from_number(family)?;
    if length == DELETED {
        return Some((Mutation { family, key, value: None }, rest));
    }
    let (value, rest) = rest.split_at_checked(length as usize)?;
    Some((Mutation { family, key, value: Some(value) }, rest))
}

/// The newest op of each key in the families that apply may read, ordered so that ranges can be walked.
#[derive(Clone, Debug, Default)]
struct Index([BTreeMap<Box<[u8]>, usize>; FAMILIES.len()]);

impl Index {
    fn family(&self, family: Family) -> Option<&BTreeMap<Box<[u8]>, usize>> {
        self.0.get(family as usize)
    }

    fn insert(&mut self, family: Family, key: &[u8], at: usize) {
        let Some(rows) = self.0.get_mut(family as usize) else { return };
        match rows.get_mut(key) {
            Some(newest) => *newest = at,
            None => drop(rows.insert(key.into(), at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::FAMILIES;

    type Row = (Family, Vec<u8>, Option<Vec<u8>>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let family = proptest::sample::select(FAMILIES.as_slice());
        let key = proptest::collection::vec(0..4_u8, 0..4);
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8));
        proptest::collection::vec((family, key, value), 0..400)
    }

    fn fill(mutations: &mut Mutations, rows: &[Row]) {
        for (family, key, value) in rows {
            match value {
                Some(value) => mutations.put(*family, key, value),
                None => mutations.delete(*family, key),
            }
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_and_the_newest_of_a_readable_key_is_found(first in rows(), rows in rows()) {
            let mut mutations = Mutations::new();
            fill(&mut mutations, &first);
            mutations.clear();
            prop_assert!(mutations.is_empty());
            fill(&mut mutations, &rows);
            let out: Vec<Row> =
                mutations.iter().map(|m| (m.family, m.key.to_vec(), m.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(mutations.len(), rows.len());
            prop_assert_eq!(&out, &rows);
            let newest: BTreeMap<_, _> = rows.iter().map(|(f, k, v)| ((*f, k), v.as_deref())).collect();
            for ((family, key), value) in &newest {
                prop_assert_eq!(mutations.get(*family, key), family.is_readable().then_some(*value));
            }
            prop_assert_eq!(mutations.get(Family::Meta, b"never put"), None);
            let range: Vec<_> = mutations.range(Family::Meta, &[1], &[3]).map(|m| (m.key, m.value)).collect();
            let expected: Vec<_> = newest
                .iter()
                .filter(|((f, k), _)| *f == Family::Meta && (&[1][..]..&[3]).contains(&k.as_slice()))
                .map(|((_, k), v)| (k.as_slice(), *v))
                .collect();
            prop_assert_eq!(range, expected);
        }
    }

    #[test]
    fn the_encoding_is_frozen_since_digests_run_over_it() {
        let mut mutations = Mutations::new();
        mutations.put(Family::Entry, b"k", b"vv");
        mutations.delete(Family::Session, b"key");
        assert_eq!(mutations.bytes(), b"\x02\0\0\0\x01\0\0\0\x02kvv\x06\0\0\0\x03\xff\xff\xff\xffkey");
    }
}
