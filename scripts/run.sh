#!/usr/bin/env bash
# Installs what is missing, builds, and runs the standalone broker in the foreground. Ctrl-C drains and stops it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
ROCKSDB_LIB_DIR=$(scripts/rocksdb.sh)
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
cargo build --locked --release --package causeway-broker
exec target/release/causeway-broker --data "${DATA:-data}" "$@"
