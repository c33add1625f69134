#!/usr/bin/env bash
# Builds RocksDB's static archive once, outside target/, and prints the directory that holds it.
#
# RocksDB is about 35 CPU-minutes of C++. Cargo would pay that again for each profile, flag change and `cargo clean`;
# with ROCKSDB_LIB_DIR and ROCKSDB_STATIC set, librocksdb-sys links the archive instead. The key is everything that
# changes the archive: the crate's version, the target CPU (its C++ flags follow it) and the compression features.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/"/, "", $3); print $3 }' Cargo.lock)
cpu=$(sed -n 's/.*-Ctarget-cpu=\([^"]*\)".*/\1/p' .cargo/config.toml)
key="$version-$(uname -m)-$cpu-lz4-zstd"
cache="${CAUSEWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway}/rocksdb-$key"

mkdir -p "$cache"
exec 9>"$cache/lock"
if ! flock -n 9; then
    echo "rocksdb: another build of it is running; waiting for that one (log: $cache/build.log)" >&2
    flock 9
fi
if [ ! -f "$cache/librocksdb.a" ]; then
    echo "rocksdb: no archive for $key yet: building it once, about 20 minutes on two idle cores" >&2
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
    # Shown as it grows: an object file appears for each of the ~340 sources.
    (
        while sleep 30; do
            done=$(find "$cache/target" -path '*librocksdb-sys*' -name '*.o' 2>/dev/null | wc -l)
            echo "rocksdb: $done of about 340 files compiled"
        done
        # Not on our output: whoever reads it would wait for the last sleep.
    ) >&2 9>&- &
    ticker=$!
    trap 'kill "$ticker" 2>/dev/null || true' EXIT
    if ! cargo build --release --locked -p librocksdb-sys --target-dir "$cache/target" >"$cache/build.log" 2>&1; then
        tail -n 30 "$cache/build.log" >&2
        echo "rocksdb: the build failed; the whole log is $cache/build.log" >&2
        exit 1
    fi
    built=$(find "$cache/target" -path '*librocksdb-sys*/out/librocksdb.a' -print -quit)
    cp "$built" "$cache/librocksdb.a.new"
    mv "$cache/librocksdb.a.new" "$cache/librocksdb.a"
    rm -rf "$cache/target"
    echo "rocksdb: built and cached" >&2
fi
echo "$cache"
