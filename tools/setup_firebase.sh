#!/bin/sh
# Install Firebase's storage emulator for tests/object: some 220 MB below that folder, from npm alone.
# One version of it, since its inside is used. A no-op when it is there; without the
# registry its test is skipped, and says so.
set -eu
cd "$(dirname "$0")/../tests/object"
# shellcheck disable=SC3013
[ node_modules/.package-lock.json -nt package.json ] && exit 0
npm install --no-package-lock --omit=optional --ignore-scripts --no-audit --no-fund \
    --loglevel=error || {
    rm -rf node_modules
    echo "setup_firebase.sh: npm could not install the emulator: its test will be skipped" >&2
}
