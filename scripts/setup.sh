#!/usr/bin/env bash
# Installs the system packages that are missing, and only those. Debian 12; elsewhere it says what to install.
#
#   g++ make            compile and link
#   libclang1-14 libclang-common-14-dev
#                       read RocksDB's C header for its Rust binding (no clang, no cmake)
#   mosquitto-clients   the real clients of the tests and of the README's first steps
#   redis-server        the lookup that may be kept in Redis is tested against it; each test starts its own
set -euo pipefail

packages=(g++ make libclang1-14 libclang-common-14-dev mosquitto-clients redis-server "$@")

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: this is no Debian; please install what these packages stand for: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root once: apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
# Programs are wanted, not services: redis-server would start one on its port.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
