#!/bin/sh
# Install the node clients of the interop tests, exactly as locked. A no-op when they are there.
# Without the registry (or behind a certificate that npm does not know) their tests are skipped, and
# say so; everything else needs none of them.
set -eu
cd "$(dirname "$0")/../tests/interop"
[ node_modules/.package-lock.json -nt package-lock.json ] && exit 0
npm ci --no-audit --no-fund --loglevel=error || {
    rm -rf node_modules
    echo "setup_node.sh: npm could not install the node clients: their tests will be skipped" >&2
}
