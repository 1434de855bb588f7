#!/bin/sh
# The main job on real data: stream sensor readings in over gRPC, query them, kill the server with
# SIGKILL in the middle of a second load, start it again, and prove that nothing acknowledged is lost.
# Usage: demo.sh BUILD_DIR. Works in ./varve-demo-XXXXXX, which goes at the end, and on free ports; exits 0
# when all held. Not in /tmp: that may be memory, where a sync costs nothing.
set -eu
build=$(cd "${1:-build}" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
varve=$build/varve
tmp=$(mktemp -d "$here/varve-demo-XXXXXX")
pid=

finish() {
    code=$?
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    if [ $code -eq 0 ]; then
        rm -rf "$tmp"
    else
        echo "demo: failed; its files are in $tmp" >&2
    fi
}
trap finish EXIT
trap 'exit 1' INT TERM

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

fail() {
    echo "demo: $*" >&2
    exit 1
}

start() {
    : >"$tmp/out"
    "$build/varved" --data "$tmp/data" --set server.port=0 --set query.port=0 \
        >"$tmp/out" 2>>"$tmp/log" &
    pid=$!
    n=0
    while [ "$(grep -c '^listening' "$tmp/out")" -lt 2 ]; do
        kill -0 "$pid" 2>/dev/null || { tail -3 "$tmp/log" >&2; fail "varved did not start"; }
        n=$((n + 1))
        [ $n -lt 1200 ] || fail "varved did not listen within a minute"
        sleep 0.05
    done
    server=$(awk '$2 == "ingest" {print $3}' "$tmp/out")
    query=$(awk '$2 == "query" {print $3}' "$tmp/out")
}

[ "$(stat -f -c %T "$tmp")" != tmpfs ] ||
    echo "demo: $here is a tmpfs: what is synced here does not survive a power failure" >&2

say "1. Start varved on an empty directory"
start
echo "serving on $server (ingest) and $query (query), pid $pid"

say "2. Stream the sensor files in: one gRPC IngestStream, acknowledged after each group commit"
# One stream of sensor,timestamp,value out of all files.
{
    echo "sensor,timestamp,value"
    find "$here/examples/data" -name '*.csv' | LC_ALL=C sort | while read -r f; do
        awk -v s="$(basename "$f" .csv)" 'NR > 1 {print s "," $0}' "$f"
    done
} >"$tmp/readings.csv"
"$varve" import --server "$server" --tenant demo --table readings --id '{sensor}/{_line}' \
    --timestamp timestamp --timestamp-unit ms "$tmp/readings.csv"

say "3. Ask: the readings and means of some sensors"
"$varve" query --server "$query" --tenant demo --table readings --where 'sensor contains temp' \
    --agg count --agg 'avg(value) as mean' --agg 'min(value) as lowest' \
    --agg 'max(value) as highest' --group-by sensor
say "   the five warmest moments in the kitchen"
"$varve" query --server "$query" --tenant demo --table readings \
    --where 'sensor = kitchen_temp_c' --order-by -value --limit 5 --select _timestamp,sensor,value
say "   taxi rides on the evening of 1 November 2014, found through the index by time"
"$varve" query --server "$query" --tenant demo --table readings --since 2014-11-01T20:00:00Z \
    --until 2014-11-01T23:00:00Z --where 'sensor = nyc_taxi' --select _timestamp,value --stats

say "4. A second load, sixteen times as large, and SIGKILL in the middle of it"
awk 'NR > 1 {line[NR] = $0} END {for (r = 1; r <= 16; r++) for (i = 2; i <= NR; i++)
    print r "/" line[i]}' "$tmp/readings.csv" >"$tmp/more.body"
{ echo "sensor,timestamp,value"; cat "$tmp/more.body"; } >"$tmp/more.csv"
rm "$tmp/more.body"
"$varve" import --server "$server" --tenant demo --table more --id '{sensor}/{_line}' \
    --timestamp timestamp --timestamp-unit ms "$tmp/more.csv" >"$tmp/import.out" 2>"$tmp/import.err" &
import=$!
sleep 1.5
kill -9 "$pid" || fail "varved was gone before it was killed"
wait "$pid" 2>/dev/null || true
pid=
if wait "$import"; then
    fail "the second load ended before the kill"
fi
cat "$tmp/import.out"
acked=$(awk '/^imported/ {print $2; exit}' "$tmp/import.out")
[ -n "$acked" ] && [ "$acked" -gt 0 ] || { cat "$tmp/import.err" >&2; fail "nothing was acknowledged"; }
echo "killed with SIGKILL; the client holds acknowledgements for the first $acked records"

say "5. Start again and look for each acknowledged record"
start
awk '/msg="store open"/ {l = $0} END {print l}' "$tmp/log"
# Ids as the import made them: sensor/line of the file, in order; the header is line 1.
awk -F, -v n="$acked" 'NR > 1 && NR <= n + 1 {print $1 "/" NR}' "$tmp/more.csv" |
    LC_ALL=C sort >"$tmp/acked"
"$varve" query --server "$query" --tenant demo --table more --select _id --output csv |
    tail -n +2 | tr -d '"' | LC_ALL=C sort >"$tmp/stored"
missing=$(LC_ALL=C comm -23 "$tmp/acked" "$tmp/stored" | wc -l)
echo "$(wc -l <"$tmp/acked") acknowledged, $(wc -l <"$tmp/stored") stored, $missing missing"
[ "$missing" -eq 0 ] || fail "acknowledged records are gone; see acked and stored in $tmp"

say "6. Stop, verify every byte of the store, and sum up"
kill -TERM "$pid"
wait "$pid" || fail "varved did not stop cleanly"
pid=
"$varve" check --data "$tmp/data"
records=$(wc -l <"$tmp/stored")
bytes=$(du -sb "$tmp/data" | cut -f1)
echo "first load:    $(($(wc -l <"$tmp/readings.csv") - 1)) records"
sed -n 's/^imported \([0-9]*\) .* (\([0-9]*\)\/s).*/second load:   \1 records acknowledged, \2 a second, each on disk before its answer/p' "$tmp/import.out"
echo "on disk:       $bytes bytes, the pre-written log included"
echo
echo "demo: nothing acknowledged was lost ($acked of $acked there, $records stored)"
