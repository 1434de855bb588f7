#!/bin/sh
# libeloqstore.so gives exactly the functions of include/eloqstore.h; some linkers add three marks of
# their own.
set -eu
got=$(nm -D --defined-only "$1" | awk '{print $3}' |
    grep -vE '^(__bss_start|_edata|_end)$' | sort | tr '\n' ' ')
want="eloqstore_free eloqstore_new eloqstore_new_with_options eloqstore_read eloqstore_start \
eloqstore_stop eloqstore_write "
[ "$got" = "$want" ] || { echo "libeloqstore.so gives: $got"; exit 1; }
