#!/bin/sh
# The short form of every benchmark: JSON lines on standard output. bench.sh BUILD_DIR
# The full form, with the medians that docs/PERFORMANCE.md holds, is bench/node_figures.py.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
begin=$(date +%s)
# Not in /tmp: that may be memory, where a sync costs nothing.
tmp=$(mktemp -d "$PWD/varve-bench-XXXXXX")
[ "$(stat -f -c %T "$tmp")" != tmpfs ] ||
    echo "bench.sh: $PWD is a tmpfs: figures of synced writes mean nothing here" >&2
trap 'rm -rf "$tmp"' EXIT
"$build/bench/bench_memtable"
"$build/bench/bench_wal" "$tmp/wal" 1
"$build/bench/bench_lsm" 500000 100 "$tmp/lsm"
[ ! -x "$build/bench/bench_db" ] || "$build/bench/bench_db" "$tmp/db" --short
rm -rf "$tmp/wal" "$tmp/lsm" "$tmp/db"
VARVE_BENCH_DIR=$tmp /usr/bin/python3 bench/side/run.py --build "$build"
VARVE_BUILD=$build VARVE_BENCH_DIR=$tmp /usr/bin/python3 bench/node_figures.py --short
echo "bench.sh: $(($(date +%s) - begin)) s" >&2
