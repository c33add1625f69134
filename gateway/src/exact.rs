//! Sizes in a configuration file, printed so that reading them back gives the same number: `ByteSize` itself rounds to
//! one digit after the point.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer};

/// For `#[serde(with)]`: the size in the largest unit that divides it.
pub fn serialize<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&text(*size))
}

/// For `#[serde(with)]`: whatever `ByteSize` reads, a number of bytes or a text with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    ByteSize::deserialize(deserializer)
}

/// In the largest unit that divides it.
fn text(size: ByteSize) -> String {
    let bytes = size.as_u64();
    let unit = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = unit.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_read_back_as_it_was() {
        for bytes in [0, 1, 1023, 1024, 1536, 4_259_840, 5 << 20, 7 << 30, 1 << 40] {
            let text = text(ByteSize::b(bytes));
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
        assert_eq!(text(ByteSize::b(4_259_840)), "4160 KiB");
    }
}
