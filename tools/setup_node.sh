#!/bin/sh
# Install the node clients of the interop tests, exactly as locked. A no-op when they are there.
set -eu
cd "$(dirname "$0")/../tests/interop"
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent
