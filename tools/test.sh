#!/bin/sh
# Build and run the tests: test.sh [all|asan|tsan|object]. Closes with one line that counts them.
set -eu
cd "$(dirname "$0")/.."
what=${1:-all}
dirs=""

# configure DIR CC TARGET FLAGS...: TARGET "" leaves building to run. A build of tests links three
# hundred programs, in half of the time and less by other linkers: gold, which is in binutils, and lld
# for clang's, since gold warns of each name that a sanitizer keeps to itself. Of a failure the lines
# are wanted, not the variables.
configure() {
    dir=$1
    compiler=$2
    target=$3
    shift 3
    linker=lld
    lines=-gline-tables-only
    [ "$compiler" != gcc ] || { linker=gold; lines=-g1; }
    [ -f "$dir/build.ninja" ] || (
        case $* in
        *buildtype=release*) ;;
        *)
            ! command -v ld.$linker >/dev/null || export CC_LD=$linker
            set -- "$@" -Dc_args=$lines
            ;;
        esac
        CC=$compiler meson setup "$dir" "$@" >/dev/null
    ) || { cat "$dir/meson-logs/meson-log.txt"; exit 1; }
    rm -f "$dir"/meson-logs/testlog*.json
    [ -z "$target" ] || ninja -C "$dir" --quiet "$target"
    dirs="$dirs $dir"
}

failed=0
# run DIR SUITES...: builds what the suites need and runs them, one more at a time than there are cores.
run() {
    dir=$1
    shift
    meson test -C "$dir" --num-processes $(($(nproc) + 1)) --timeout-multiplier 15 \
        --print-errorlogs "$@" || failed=1
}

# The suites of whole processes: these wait for disks and each other for most of their time. They run
# beside all that computes, and what they said comes when they are through. Object stores are apart
# where make test-object follows (VARVE_OBJECT_APART).
processes="integration interop kill nats fscut"
[ -n "${VARVE_OBJECT_APART:-}" ] || processes="$processes object"
beside=""
# shellcheck disable=SC2317
stop_beside() {
    [ -z "$beside" ] || kill "$beside" 2>/dev/null || true
}
run_beside() {
    # shellcheck disable=SC2046,SC2086
    VV_KILL_ROUNDS=200 meson test -C build-test --no-rebuild --logbase testlog-processes \
        --num-processes "$(nproc)" --timeout-multiplier 15 --print-errorlogs \
        $(printf -- '--suite %s ' $processes) >build-test/processes.out 2>&1 &
    beside=$!
    trap stop_beside EXIT
}
end_beside() {
    wait "$beside" || failed=1
    beside=""
    cat build-test/processes.out
}

if [ "$what" = all ]; then
    tools/setup_node.sh &
    node=$!
    configure build-test gcc all -Dtest_hooks=true --buildtype=debugoptimized -Drocksdb=auto
    configure build gcc programs --buildtype=release
    ln -sf cmd/varved/varved cmd/varve/varve src/db/libvarve.so src/db/libvarve.so.0 build/
    wait "$node"
    ninja -C build-test --quiet meson-test-prereq # what is not built for itself
    run_beside
    # Seeds of the crash walks: `make soak` takes many.
    # shellcheck disable=SC2046,SC2086
    VV_CRASH_SEEDS=2 run build-test $(printf -- '--no-suite %s ' $processes object)
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
[ "$what" != all ] || end_beside
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
