#!/bin/sh
# libFuzzer on every decoder: FUZZ_SECONDS each (60). New input is kept in the build directory.
set -eu
cd "$(dirname "$0")/.."
[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dtest_hooks=true -Dfuzzers=true \
    --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args=-fsanitize=fuzzer-no-link >/dev/null
ninja -C build-fuzz --quiet
for source in fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    mkdir -p "build-fuzz/found/$name"
    echo "== $name"
    "build-fuzz/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=1024 -timeout=10 \
        -artifact_prefix="build-fuzz/found/$name-" -print_final_stats=1 -verbosity=0 \
        "build-fuzz/found/$name" "fuzz/corpus/${name#fuzz_}"
done
