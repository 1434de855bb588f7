#!/bin/sh
# The shared library exports vv_ names and nothing else.
set -eu
bad=$(nm -D --defined-only "$1" | awk '{print $NF}' | grep -v '^vv_' || true)
count=$(nm -D --defined-only "$1" | grep -c ' vv_' || true)
if [ -n "$bad" ] || [ "$count" -eq 0 ]; then
    echo "check_exports: $1 exports names outside vv_, or none at all:" >&2
    echo "$bad" >&2
    exit 1
fi
echo "check_exports: $count names, all vv_"
