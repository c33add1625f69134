#!/usr/bin/env bash
# Everything that proves Causeway, from nothing: cheapest first, so that a mistake shows early.
#
# RocksDB's archive builds in the background from the first second; what needs no C++ is checked meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n==> %s  (%s)\n' "$1" "$(date +%T)"; }

step "system packages"
scripts/setup.sh

step "RocksDB archive, in the background unless cached"
rocksdb_dir=$(mktemp)
scripts/rocksdb.sh >"$rocksdb_dir" &
rocksdb=$!
trap 'kill "$rocksdb" 2>/dev/null || true; rm -f "$rocksdb_dir"' EXIT

step "format"
cargo fmt --all --check

# Crates with RocksDB in their tree; all others build without C++.
needs_rocksdb=(causeway-index causeway-broker causeway-tests)
without=("${needs_rocksdb[@]/#/--exclude=}")

step "lints, without RocksDB"
cargo clippy --locked --workspace "${without[@]}" --all-targets -- -D warnings
cargo clippy --locked --package causeway-gateway --features redis --all-targets -- -D warnings

step "tests, without RocksDB"
cargo test --locked --workspace "${without[@]}"

step "waiting for RocksDB"
wait "$rocksdb"
ROCKSDB_LIB_DIR=$(cat "$rocksdb_dir")
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1

step "lints, with RocksDB"
cargo clippy --locked "${needs_rocksdb[@]/#/--package=}" --all-targets -- -D warnings

step "tests with RocksDB, processes and real clients"
cargo build --locked --package causeway-broker --package causeway-gateway
cargo test --locked "${needs_rocksdb[@]/#/--package=}"

step "all green"
