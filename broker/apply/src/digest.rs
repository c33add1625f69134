//! The running digest: equal on two replicas exactly if every record wrote the same rows in the same order.

/// The digest after a record that wrote these mutations. A record that wrote nothing leaves it.
///
/// The crc sees the rows; multiplying and folding spreads it over 64 bits and makes the order of records count. It
/// finds mistakes and damage, not malice.
pub(crate) fn step(digest: u64, ops: &[u8]) -> u64 {
    if ops.is_empty() {
        return digest;
    }
    let mixed = digest.wrapping_add(u64::from(crc32c::crc32c(ops))).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn the_digest_is_frozen_and_order_counts() {
        assert_eq!(step(0, b""), 0);
        let (ab, ba) = (step(step(0, b"a"), b"b"), step(step(0, b"b"), b"a"));
        assert_ne!(ab, ba);
        assert_eq!(ab, GOLDEN);
    }

    const GOLDEN: u64 = 3_056_726_327_533_974_891;
}
