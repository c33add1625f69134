#!/usr/bin/env bash
# Measures Causeway and its peers in one run on this machine, prints ratios, and writes docs/benchmarks.md.
#
#   BENCH_SECONDS=5        measured seconds of each timed scenario
#   BENCH_WARMUP=1         seconds of load before that
#   BENCH_SERVERS="…"      which servers, of: causeway causeway-1-gateway causeway-2-gateways
#                          causeway-2-precise mosquitto mosquitto-persist nats nats-sync rumqttd
#   BENCH_SCENARIOS="…"    which scenarios, of those in the list below
#   BENCH_TOPICS=1000000   distinct topics
#   BENCH_CONNECTIONS=10000
#   BENCH_DIR=target/bench where the servers keep their data: the disk that is measured
#   BENCH_OUT=docs/benchmarks.md
#
# Every scenario of every server starts on a fresh process with an empty directory on a free port of the loopback.
# Scenarios are the outer loop: what is compared with each other runs within the same minute or two.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${BENCH_SECONDS:-5}
warm_up=${BENCH_WARMUP:-1}
topics=${BENCH_TOPICS:-1000000}
connections=${BENCH_CONNECTIONS:-10000}
read -ra wanted <<<"${BENCH_SERVERS:-causeway causeway-1-gateway causeway-2-gateways causeway-2-precise mosquitto mosquitto-persist nats nats-sync rumqttd}"
read -ra scenarios <<<"${BENCH_SCENARIOS:-p2p-qos1 p2p-qos0 p2p-qos2 fanout-qos0 fanout-qos1 fanout-1000 publish-1 publish-20 publish-100 topics connect durable}"
out=${BENCH_OUT:-docs/benchmarks.md}
cache="${CAUSEWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway}"

mkdir -p "${BENCH_DIR:-target/bench}"
work=$(mktemp -d "$(realpath "${BENCH_DIR:-target/bench}")/run.XXXXXX")
results=$work/results.jsonl
load=target/release/causeway-load
rumqttd=$cache/peers/bin/rumqttd
server_pid=

say() { echo "bench: $*" >&2; }

# ── one server at a time ─────────────────────────────────────────────────────────────────────────────────────────────

# A port that nobody answers on, below those that the system gives to outgoing connections.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# The start functions: NAME DIR PORT. Each writes its configuration into DIR and becomes the server.

start_causeway() {
    exec target/release/causeway-broker --data "$1/data" --mqtt "127.0.0.1:$2" --admin "127.0.0.1:$(free_port)"
}

# A broker without protocols, and gateways before it: the first on PORT, a second one on a port of its own. It writes
# what the measurements need: the processes to DIR/pids, the second gateway's address to DIR/also. With a fourth argument
# it is what the brokers tell gateways of: broadcast (the default) or precise.
start_gateways() {
    local link gateway
    link=127.0.0.1:$(free_port)
    printf '%s\n' "data = \"$1/data\"" '[mqtt]' 'bind = []' '[link]' "bind = \"$link\"" '[admin]' 'bind = "127.0.0.1:0"' >"$1/broker.toml"
    printf '%s\n' '[link]' "delivery = \"${4:-broadcast}\"" >"$1/gateway.toml"
    trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
    trap 'exit 143' TERM
    target/release/causeway-broker --config "$1/broker.toml" &
    echo $! >"$1/pids"
    # The first one last: whoever waits for it finds all of them.
    for ((gateway = $3; gateway >= 1; gateway--)); do
        local port=$2
        if [ "$gateway" -gt 1 ]; then
            port=$(free_port)
            echo "127.0.0.1:$port" >"$1/also"
        fi
        target/release/causeway-gateway --config "$1/gateway.toml" --name "gateway-$gateway" --broker "$link" --mqtt "127.0.0.1:$port" --admin 127.0.0.1:0 &
        echo $! >>"$1/pids"
        [ "$gateway" -eq 1 ] || "$load" wait --target "127.0.0.1:$port" --timeout 60 >/dev/null
    done
    wait
}

start_causeway_1_gateway() { start_gateways "$1" "$2" 1; }

start_causeway_2_gateways() { start_gateways "$1" "$2" 2; }

start_causeway_2_precise() { start_gateways "$1" "$2" 2 precise; }

start_mosquitto() {
    printf '%s\n' "listener $2 127.0.0.1" 'allow_anonymous true' >"$1/conf"
    exec mosquitto -c "$1/conf"
}

# All that mosquitto has for durability, and no bound on what an offline session may have waiting.
start_mosquitto_persist() {
    printf '%s\n' "listener $2 127.0.0.1" 'allow_anonymous true' "user $(id -un)" \
        'persistence true' "persistence_location $1/" 'max_queued_messages 0' >"$1/conf"
    exec mosquitto -c "$1/conf"
}

nats_conf() {
    cat <<CONF
listen: "127.0.0.1:$(free_port)"
server_name: bench
jetstream { store_dir: "$1/data"$3 }
mqtt { listen: "127.0.0.1:$2" }
CONF
}

start_nats() {
    nats_conf "$1" "$2" '' >"$1/conf"
    exec nats-server -c "$1/conf"
}

# Syncs before it acknowledges, as Causeway does.
start_nats_sync() {
    nats_conf "$1" "$2" ', sync_interval: always' >"$1/conf"
    exec nats-server -c "$1/conf"
}

# Its own example configuration, but for the number of connections.
start_rumqttd() {
    cat >"$1/conf.toml" <<CONF
id = 0
[router]
id = 0
max_connections = 100010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:$2"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 100
dynamic_filters = true
CONF
    exec "$rumqttd" --config "$1/conf.toml"
}

# start SERVER DIR PORT [WHAT]: sets server_pid; returns when the server answers. With WHAT, how long that took is a result.
start() {
    "start_${1//-/_}" "$2" "$3" >>"$2/log" 2>&1 &
    server_pid=$!
    # Its end is ours to notice, without a word from the shell.
    disown "$server_pid"
    local record=()
    [ $# -lt 4 ] || record=(--json "$results" --label "$1" --what "$4")
    if ! "$load" wait --target "127.0.0.1:$3" --pid "$server_pid" --timeout 60 "${record[@]}" >"$2/wait" 2>&1; then
        say "$1 does not start:"
        tail -n 5 "$2/log" "$2/wait" >&2
        stop
        return 1
    fi
    [ $# -lt 4 ] || cat "$2/wait"
}

# stop [SIGNAL]: ends the server that runs, if one does.
stop() {
    [ -n "$server_pid" ] || return 0
    kill "-${1:-TERM}" "$server_pid" 2>/dev/null || true
    for _ in {1..100}; do
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$server_pid" 2>/dev/null || true
    # Of a system of several, what its shell could not end any more.
    [ ! -e "$dir/pids" ] || xargs kill -KILL <"$dir/pids" 2>/dev/null || true
    server_pid=
}

clean_up() {
    stop KILL
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────────

build() {
    local packages=(--package causeway-load)
    if [[ " ${wanted[*]} " == *" causeway"* ]]; then
        ROCKSDB_LIB_DIR=$(scripts/rocksdb.sh)
        export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
        packages+=(--package causeway-broker --package causeway-gateway)
    fi
    say "building (release)"
    cargo build --locked --release --quiet "${packages[@]}"
}

install_peers() {
    # Debian keeps servers where only root's PATH looks.
    PATH=$PATH:/usr/sbin
    # A server that was not here before must not stay running: it would hold the port that `make run` wants.
    local server fresh=()
    for server in mosquitto nats-server; do command -v "$server" >/dev/null || fresh+=("$server"); done
    scripts/setup.sh mosquitto nats-server
    if command -v systemctl >/dev/null; then
        for server in "${fresh[@]}"; do systemctl disable --quiet --now "$server" 2>/dev/null || true; done
    fi
    if [[ " ${wanted[*]} " == *" rumqttd "* ]] && [ ! -x "$rumqttd" ]; then
        say "building rumqttd 0.20.0 once, about 3 minutes (log: $cache/peers/rumqttd.log)"
        mkdir -p "$cache/peers"
        cargo install rumqttd --version 0.20.0 --root "$cache/peers" --target-dir "$cache/peers/target" \
            >"$cache/peers/rumqttd.log" 2>&1 || true
        rm -rf "$cache/peers/target"
    fi
}

# Whether SERVER can run here; says so if it cannot.
available() {
    case $1 in
        causeway*) return 0 ;;
        mosquitto | mosquitto-persist) command -v mosquitto >/dev/null || { say "mosquitto is absent: left out"; return 1; } ;;
        nats) command -v nats-server >/dev/null || { say "nats-server is absent: left out"; return 1; } ;;
        nats-sync)
            command -v nats-server >/dev/null || return 1
            nats_conf "$work" 1 ', sync_interval: always' >"$work/nats-sync.conf"
            nats-server -t -c "$work/nats-sync.conf" >/dev/null 2>&1 ||
                { say "$(nats-server --version) cannot sync before it acknowledges: nats-sync left out"; return 1; }
            ;;
        rumqttd) [ -x "$rumqttd" ] || { say "rumqttd is absent and did not build: left out"; return 1; } ;;
        *) say "unknown server '$1'"; exit 2 ;;
    esac
}

version_of() {
    case $1 in
        causeway) echo "commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- || echo ', with local changes')" ;;
        causeway-1-gateway) echo "the same commit: a broker without protocols and one \`causeway-gateway\` before it" ;;
        causeway-2-gateways) echo "the same with two gateways; connections are spread over both" ;;
        causeway-2-precise) echo "the same two gateways, each told of what it has subscribers of (\`delivery = \"precise\"\`)" ;;
        mosquitto) mosquitto -h | sed -n '1s/mosquitto version //p' ;;
        mosquitto-persist) echo "the same with \`persistence true\`, unlimited queues" ;;
        nats) echo "$(nats-server --version | sed 's/.*v//'), JetStream on files; writes are synced at intervals, not before PUBACK" ;;
        nats-sync) echo "the same with \`sync_interval: always\`" ;;
        rumqttd) echo "0.20.0, in memory" ;;
    esac
}

# ── scenarios ────────────────────────────────────────────────────────────────────────────────────────────────────────

# run_load SCENARIO ARGUMENT…: one measurement of the running server; a failure is a result too, and the run goes on.
run_load() {
    "$load" "$@" --target "127.0.0.1:$port" --json "$results" --label "$server" || say "$server: see above; going on"
}

measure() {
    local pid processes=()
    for pid in $(cat "$dir/pids" 2>/dev/null || echo "$server_pid"); do processes+=(--pid "$pid"); done
    run_load "$@" "${processes[@]}"
}

# The same over all servers of the system.
measure_spread() {
    local also=()
    [ ! -e "$dir/also" ] || also=(--also "$(cat "$dir/also")")
    measure "$@" "${also[@]}"
}

# What a server is there to be compared in: gateways cost a hop, so what a hop has no part in is left out.
takes_part() {
    case $1:$2 in
        causeway-1-gateway:p2p-qos[01] | causeway-1-gateway:publish-*) return 0 ;;
        causeway-2-*:p2p-qos[01] | causeway-2-*:fanout-1000) return 0 ;;
        causeway-*) return 1 ;;
        causeway:fanout-1000) return 0 ;;
        *:fanout-1000) return 1 ;;
        *) return 0 ;;
    esac
}

measure_disk() {
    "$load" disk --dir "$work" --label disk | tee -a "$work/disk"
}

timed=(--seconds "$seconds" --warm-up "$warm_up")

scenario() {
    case $1 in
        p2p-qos0) measure_spread p2p --qos 0 --window 50 "${timed[@]}" ;;
        p2p-qos1) measure_spread p2p --qos 1 --window 20 "${timed[@]}" ;;
        p2p-qos2) measure_spread p2p --qos 2 --window 20 "${timed[@]}" ;;
        fanout-qos0) measure_spread fanout --qos 0 "${timed[@]}" ;;
        fanout-qos1) measure_spread fanout --qos 1 "${timed[@]}" ;;
        fanout-1000) measure_spread fanout --subscribers 1000 --qos 1 "${timed[@]}" ;;
        publish-*) measure publish --window "${1#publish-}" "${timed[@]}" ;;
        connect) measure connect --connections "$connections" ;;
        topics) many_topics ;;
        durable) durable ;;
        *) say "unknown scenario '$1'"; exit 2 ;;
    esac
}

# As many messages to ten topics and to many; then, where they are kept without subscribers, how long it takes to open.
many_topics() {
    measure topics --topics 10 --messages "$topics"
    restart_empty || return 0
    measure topics --topics "$topics" --messages "$topics"
    if [ "$server" = causeway ]; then
        stop KILL
        start "$server" "$dir" "$port" "open after $topics topics and kill -9" || return 0
    fi
}

restart_empty() {
    stop
    rm -rf "$dir"
    mkdir "$dir"
    start "$server" "$dir" "$port"
}

# An offline session, acknowledged messages, kill -9, restart, and what the session then gets.
durable() {
    measure durable --messages 20000
    stop KILL
    start "$server" "$dir" "$port" || return 0
    run_load drain --messages 20000
}

# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────

machine() {
    echo "- CPU: $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores; load generator and server share them"
    echo "- Memory: $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "- Kernel: $(uname -sr)"
    echo "- Disk: $(df --output=fstype "$work" | tail -n 1) on $(df --output=source "$work" | tail -n 1)"
    echo "- Load average when the run began: $started_load"
}

page() {
    cat <<PAGE
# Benchmarks

Written by \`make bench\` on $(date -u +%Y-%m-%d); ${seconds} s a timed scenario after ${warm_up} s of warm-up. Figures of
one machine and one run: compare within a row, not with another page. A row moves by about 20 % from run to run.

$(machine)

| server | version |
|---|---|
$(for server in "${servers[@]}"; do echo "| $server | $(version_of "$server") |"; done)

What the disk takes by itself to make 4 KiB durable in a zero-filled file, before and after the run:

$(sed -n 's/.*synced/- synced/p' "$work/disk")

## Compared

In brackets: how many times as good Causeway is; above 1 it is better, be it a rate, a time or a size. Causeway
acknowledges after fdatasync; the others acknowledge from memory, or (nats) from the page cache. In \`publish\` and in
\`topics\` nobody subscribes: Causeway keeps the messages all the same, the others drop them.

$("$load" table "$results" --base causeway)

## Inside

$(cat "$work/inside")

## To repeat

    make bench                                          # everything, about $((${#servers[@]} * 3)) minutes
    BENCH_SECONDS=20 BENCH_SERVERS="causeway rumqttd" BENCH_SCENARIOS="p2p-qos1" BENCH_OUT=/dev/stdout make bench
    target/release/causeway-load --help                 # one scenario against any server
PAGE
}

# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────

started_load=$(cut -d ' ' -f 1-3 /proc/loadavg)
# Each connection is a descriptor in the load tool and one in the server.
ulimit -n "$(ulimit -Hn)"
install_peers
build
servers=()
for server in "${wanted[@]}"; do
    if available "$server"; then servers+=("$server"); fi
done
say "servers: ${servers[*]}"

measure_disk
step=0
for scenario in "${scenarios[@]}"; do
    for server in "${servers[@]}"; do
        takes_part "$server" "$scenario" || continue
        step=$((step + 1))
        say "[$step] $scenario: $server"
        dir=$work/$step
        port=$(free_port)
        mkdir "$dir"
        if start "$server" "$dir" "$port"; then
            scenario "$scenario"
            stop
        fi
        rm -rf "$dir"
    done
done

measure_disk

# What no client sees: alone on the machine by now.
inside() {
    cargo bench --locked --quiet --package causeway-link --bench notify | sed 's/^/- /'
    echo
    echo "Lookup, a million entries; items are queries, but for the last:"
    echo
    cargo bench --locked --quiet --package causeway-compute --bench lookup | grep -Ev 'alloc|[0-9] [MK]?B |^ *│? *│? +[0-9]+ +│' | sed 's/^/    /'
}
say "inside: notify and lookup"
inside >"$work/inside"

page >"$work/page.md"
cat "$work/page.md" >"$out"
sed -n '/^## Compared/,/^## All/p' "$work/page.md" | grep '^|'
say "written: $out"
