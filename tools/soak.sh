#!/bin/sh
# The long forms: memory under load (ten minutes), power cuts, model, isolation, SIGKILL rounds, the
# sanitizers at full size, fuzzing and the analyser to its limit. Hours, not minutes. VV_SEED draws
# other cases; SOAK_FACTOR (10) scales the push sizes. SOAK=memory runs the first alone,
# SOAK=nats the ten minutes of a stream from NATS;
# VV_SOAK_SECONDS=60 makes it a minute. tests/README.md has the sizes.
set -eu
cd "$(dirname "$0")/.."
factor=${SOAK_FACTOR:-10}
if [ "${SOAK:-all}" = memory ]; then
    make --no-print-directory build
    exec tests/soak/memory_soak.py --svg build/memory-soak.svg
fi
if [ "${SOAK:-all}" = nats ]; then
    make --no-print-directory build
    ninja -C build --quiet tests/nats/nats_feed
    exec tests/soak/nats_soak.py
fi
[ -f build-test/build.ninja ] || CC=gcc meson setup build-test -Dtest_hooks=true \
    --buildtype=debugoptimized -Drocksdb=auto >/dev/null
ninja -C build-test --quiet
make --no-print-directory build
tests/soak/memory_soak.py --svg build/memory-soak.svg
ninja -C build --quiet tests/nats/nats_feed
tests/soak/nats_soak.py || [ $? -eq 77 ]
VV_CUTS=$((100000 * factor)) VV_CRASH_SECONDS=$((3600 * factor)) VV_MODEL_OPS=$((1000000 * factor)) \
    VV_TXN_CUTS=$((6000 * factor)) VV_TXN_OPS=$((400000 * factor)) VV_TXNS=$((100000 * factor)) \
    meson test -C build-test --no-rebuild --timeout-multiplier 0 --print-errorlogs \
    --suite crash --suite model --suite isolation
VV_CRASH_SEEDS=$((6 * factor)) VV_ALLOC_STEP=1 VV_WAL_ROUNDS=$((3 * factor)) \
    meson test -C build-test --no-rebuild --timeout-multiplier 0 --print-errorlogs \
    lsm_crash btree_crash lsm_fault btree_fault wal_crash
VV_FSCUT_ROUNDS=$((300 * factor)) meson test -C build-test --no-rebuild --timeout-multiplier 0 \
    --print-errorlogs --suite fscut
VV_FLIP_STEP=1 VV_FLIP_ALL=1 VV_KILLS=$((500 * factor)) meson test -C build-test --no-rebuild \
    --timeout-multiplier 0 --print-errorlogs --suite damage
VV_KILL_ROUNDS=$((300 * factor)) tests/kill/kill_test.py
VV_ENGINE_BTREE=1 VV_KILL_ROUNDS=$((300 * factor)) tests/kill/kill_test.py
tools/test.sh asan
tools/test.sh tsan
FUZZ_SECONDS=$((60 * factor)) tools/fuzz.sh
tools/lint.sh deep
