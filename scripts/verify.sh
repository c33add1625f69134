#!/usr/bin/env bash
# Checks that write nothing into the tree. Tools that are absent are named, not skipped in silence.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
ROCKSDB_LIB_DIR=$(scripts/rocksdb.sh)
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

if command -v cargo-deny >/dev/null; then
    # The advisory database needs a network that CI does not have.
    cargo deny --locked check bans licenses sources
else
    echo "verify: cargo-deny is absent: licences, bans and sources were NOT checked (cargo install cargo-deny)" >&2
fi
if command -v cargo-fuzz >/dev/null; then
    (cd gateway/mqtt && cargo +nightly fuzz run decode -- -max_total_time="${FUZZ_SECONDS:-60}")
else
    echo "verify: cargo-fuzz is absent: the fuzz targets were NOT run (cargo install cargo-fuzz)" >&2
fi
