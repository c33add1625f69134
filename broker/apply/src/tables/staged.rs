//! Tables as a record sees them: what the run wrote so far, and below it what is in the database.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{Family, Mutations, Tables, TablesError};

/// The value of a row as the next record must see it.
pub(crate) fn get<T: Tables>(
    tables: &T,
    pending: &Mutations,
    family: Family,
    key: &[u8],
) -> Result<Option<Bytes>, TablesError> {
    debug_assert!(family.is_readable(), "apply never reads {family} rows");
    match pending.get(family, key) {
        Some(value) => Ok(value.map(Bytes::copy_from_slice)),
        None => tables.get(family, key),
    }
}

/// The keys of at most `limit` rows with `from <= key < upto`, in order, as the next record must see them.
pub(crate) fn keys<T: Tables>(
    tables: &T,
    pending: &Mutations,
    family: Family,
    (from, upto): (&[u8], &[u8]),
    limit: usize,
) -> Result<Vec<Vec<u8>>, TablesError> {
    debug_assert!(family.is_readable(), "apply never reads {family} rows");
    let mut keys = Vec::new();
    tables.scan(family, from, upto, &mut |key, _| {
        if pending.get(family, key).is_none() {
            keys.push(key.to_vec());
        }
        if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let written = pending.range(family, from, upto).filter(|mutation| mutation.value.is_some());
    keys.extend(written.take(limit).map(|mutation| mutation.key.to_vec()));
    keys.sort_unstable();
    keys.truncate(limit);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Twin;

    type Write = (u8, bool);

    fn fill(mutations: &mut Mutations, writes: &[Write]) {
        for (key, put) in writes {
            match put {
                true => mutations.put(Family::Session, &[*key], &[1]),
                false => mutations.delete(Family::Session, &[*key]),
            }
        }
    }

    proptest! {
        #[test]
        fn pending_rows_hide_what_is_below(
            below in proptest::collection::vec((0..32_u8, any::<bool>()), 0..40),
            above in proptest::collection::vec((0..32_u8, any::<bool>()), 0..40),
            from in 0..32_u8, upto in 0..32_u8, limit in 1..8_usize,
        ) {
            let (tables, mut written, mut pending) = (Twin::new(), Mutations::new(), Mutations::new());
            fill(&mut written, &below);
            tables.write(&written).unwrap();
            fill(&mut pending, &above);
            let mut alive = BTreeSet::new();
            for (key, put) in below.iter().chain(&above) {
                if *put { alive.insert(*key); } else { alive.remove(key); }
            }
            for key in 0..32_u8 {
                let found = get(&tables, &pending, Family::Session, &[key]).unwrap();
                prop_assert_eq!(found.is_some(), alive.contains(&key));
            }
            let found = keys(&tables, &pending, Family::Session, (&[from], &[upto]), limit).unwrap();
            let expected: Vec<Vec<u8>> =
                alive.iter().filter(|k| (from..upto).contains(*k)).take(limit).map(|k| vec![*k]).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
