#!/bin/sh
# The short form of every benchmark: JSON lines on standard output. bench.sh BUILD_DIR
# The full form, with the medians that docs/PERFORMANCE.md holds, is bench/node_figures.py.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/varve-bench.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
"$build/bench/bench_memtable"
"$build/bench/bench_wal" "$tmp/wal" 1
"$build/bench/bench_lsm" 500000 100 "$tmp/lsm"
[ ! -x "$build/bench/bench_db" ] || "$build/bench/bench_db" "$tmp/db" --short
rm -rf "$tmp/wal" "$tmp/lsm" "$tmp/db"
VARVE_BENCH_DIR=$tmp /usr/bin/python3 bench/side/run.py --build "$build"
if /usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null; then
    VARVE_BUILD=$build VARVE_BENCH_DIR=$tmp /usr/bin/python3 bench/node_figures.py --short
else
    echo "bench.sh: the figures of a whole node need python3-grpcio: make setup-test" >&2
fi
