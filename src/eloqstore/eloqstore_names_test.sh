#!/bin/sh
# libeloqstore.so gives exactly the functions of include/eloqstore.h.
set -eu
got=$(nm -D --defined-only "$1" | awk '{print $3}' | sort | tr '\n' ' ')
want="eloqstore_free eloqstore_new eloqstore_new_with_options eloqstore_read eloqstore_start \
eloqstore_stop eloqstore_write "
[ "$got" = "$want" ] || { echo "libeloqstore.so gives: $got"; exit 1; }
