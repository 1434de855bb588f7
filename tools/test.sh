#!/bin/sh
# Build and run the tests: test.sh [all|asan|tsan|object]. Closes with one line that counts them.
set -eu
cd "$(dirname "$0")/.."
what=${1:-all}
dirs=""

# configure DIR CC TARGET FLAGS...: TARGET "" leaves building to run. A build of tests links two
# hundred programs, in half of the time by gold, which is in binutils; not clang's, for gold warns of
# each name that a sanitizer keeps to itself.
configure() {
    dir=$1
    compiler=$2
    target=$3
    shift 3
    [ -f "$dir/build.ninja" ] || (
        [ "$dir" != build-test ] || ! command -v ld.gold >/dev/null || export CC_LD=gold
        CC=$compiler meson setup "$dir" "$@" >/dev/null
    ) || { cat "$dir/meson-logs/meson-log.txt"; exit 1; }
    [ -z "$target" ] || ninja -C "$dir" --quiet "$target"
    dirs="$dirs $dir"
}

failed=0
# run DIR SUITES...: builds what the suites need and runs them. One more at a time than there are
# cores: those with whole processes mostly wait.
run() {
    dir=$1
    shift
    meson test -C "$dir" --num-processes $(($(nproc) + 1)) --timeout-multiplier 15 \
        --print-errorlogs "$@" || failed=1
}

if [ "$what" = all ]; then
    tools/setup_node.sh
    configure build-test gcc all -Dtest_hooks=true --buildtype=debugoptimized -Drocksdb=auto
    configure build gcc programs --buildtype=release
    ln -sf cmd/varved/varved cmd/varve/varve src/db/libvarve.so src/db/libvarve.so.0 build/
    # Seeds of the crash walks, kills of the server: `make soak` takes many.
    VV_CRASH_SEEDS=2 VV_KILL_ROUNDS=200 run build-test
fi
if [ "$what" = all ] || [ "$what" = asan ]; then
    configure build-asan clang "" -Dtest_hooks=true --buildtype=debugoptimized \
        -Db_sanitize=address,undefined -Db_lundef=false
    if [ "$what" = all ]; then # the plain build has run the whole sizes; make asan does here
        export VV_CRASH_SEEDS=1 VV_CRASH_STEP=5 VV_FAULT_STEP=32 VV_ALLOC_STEP=61 VV_FLIP_STEP=37 VV_QUESTIONS=8 VV_SUITE_PERCENT=8
    fi
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        ASAN_OPTIONS=detect_stack_use_after_return=1 \
        run build-asan --suite unit --suite fuzz
fi
if [ "$what" = object ]; then
    configure build-test gcc all -Dtest_hooks=true --buildtype=debugoptimized -Drocksdb=auto
    run build-test --suite object --verbose
fi
if [ "$what" = tsan ]; then
    configure build-tsan clang "" -Dtest_hooks=true --buildtype=debugoptimized \
        -Db_sanitize=thread -Db_lundef=false
    # What runs on one thread has little to show here.
    VV_CRASH_SEEDS=1 VV_FAULT_STEP=20 VV_SUITE_PERCENT=10 TSAN_OPTIONS=halt_on_error=1 \
        run build-tsan --suite unit
fi
# shellcheck disable=SC2086
tools/test_summary.py $dirs
exit $failed
