#!/bin/sh
# Everything that reads the code without running it. Fails on the first kind with findings, after
# printing all of that kind.
set -eu
cd "$(dirname "$0")/.."
sources=$(git ls-files 'src/*.[ch]' 'cmd/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'fuzz/*.[ch]' \
    'bench/*.[ch]' 'examples/*.[ch]')
# examples/eloqstore.cc is EloqStore's own example, as it is.
cpp=$(git ls-files '*.cc' ':!examples/eloqstore.cc')

echo "== clang-format"
# shellcheck disable=SC2086
clang-format --dry-run --Werror $sources $cpp

echo "== layers"
tools/check_layers.py

echo "== documentation"
tools/check_docs.py

echo "== build with clang, exported names"
# The tests are built with clang by the sanitizers' build.
[ -f build-lint/build.ninja ] || CC=clang meson setup build-lint --buildtype=debug >/dev/null
ninja -C build-lint --quiet programs
tools/check_exports.sh build-lint/src/db/libvarve.so

echo "== clang-tidy"
# Tests and benchmarks are read by the compilers; the analyser's time goes to what is shipped.
skip='^$'
if ! [ -f /usr/include/rocksdb/c.h ]; then
    echo "(src/rocks is not read: make setup-rocksdb installs what it includes)"
    skip='^src/rocks/'
fi
git ls-files 'src/*.c' 'cmd/*.c' | grep -v '_test\.c$' | grep -v "$skip" |
    xargs -P "$(nproc)" -n 1 clang-tidy -p build-lint --quiet --warnings-as-errors='*' 2>/dev/null

echo "== cppcheck"
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
    --suppressions-list=tools/cppcheck.txt -D__x86_64__ -D__BYTE_ORDER__=1234 \
    -D__ORDER_LITTLE_ENDIAN__=1234 -j "$(nproc)" -Iinclude -Isrc src cmd
echo "lint: clean"
