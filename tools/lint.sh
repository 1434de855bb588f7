#!/bin/sh
# Everything that reads the code without running it: lint.sh [deep]. Fails on the first kind with
# findings, after printing all of that kind. deep, which `make soak` runs, lets the analyser follow
# functions of many paths to its own limit, cppcheck read the tests, and clang compile everything.
set -eu
cd "$(dirname "$0")/.."
sources=$(git ls-files 'src/*.[ch]' 'cmd/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'fuzz/*.[ch]' \
    'bench/*.[ch]' 'examples/*.[ch]')
# examples/eloqstore.cc is EloqStore's own example, as it is.
cpp=$(git ls-files '*.cc' ':!examples/eloqstore.cc')
paths=60000 # steps of the analyser in a function: a quarter of its own limit, a third of its time
tests='_test\.c$'
if [ "${1:-}" = deep ]; then
    paths=225000
    tests='^$'
fi

echo "== clang-format"
# shellcheck disable=SC2086
clang-format --dry-run --Werror $sources $cpp

echo "== layers"
tools/check_layers.py

echo "== documentation"
tools/check_docs.py

echo "== exported names"
[ -f build/build.ninja ] || CC=gcc meson setup build --buildtype=release >/dev/null
ninja -C build --quiet programs
tools/check_exports.sh build/src/db/libvarve.so

echo "== clang-tidy and the warnings of clang"
# The build directory is there for the commands and the generated headers. The unit tests are built
# with clang by the sanitizers' build.
[ -f build-lint/build.ninja ] || CC=clang meson setup build-lint --buildtype=debug >/dev/null
ninja -C build-lint --quiet build.ninja # the list below is that of the present files
ninja -C build-lint -t targets all | sed -nE 's/^(proto\/.*\.[ch]): CUSTOM_COMMAND.*/\1/p' |
    xargs ninja -C build-lint --quiet
[ "${1:-}" != deep ] || ninja -C build-lint --quiet
skip='^$'
if ! [ -f /usr/include/rocksdb/c.h ]; then
    echo "(src/rocks is not read: make setup-rocksdb installs what it includes)"
    skip='^src/rocks/'
fi
# The largest first, or the last one runs alone.
git ls-files 'src/*.c' 'cmd/*.c' | grep -v '_test\.c$' | grep -v "$skip" | xargs ls -S |
    xargs -P "$(nproc)" -n 1 clang-tidy -p build-lint --quiet --warnings-as-errors='*' \
        --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang \
        --extra-arg=max-nodes=$paths 2>/dev/null

echo "== cppcheck"
git ls-files 'src/*.c' 'cmd/*.c' | grep -v "$tests" > build-lint/cppcheck-files.txt
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
    --suppressions-list=tools/cppcheck.txt -D__x86_64__ -D__BYTE_ORDER__=1234 \
    -D__ORDER_LITTLE_ENDIAN__=1234 -j "$(nproc)" -Iinclude -Isrc \
    --file-list=build-lint/cppcheck-files.txt
echo "lint: clean"
