#!/bin/sh
# Install the Debian packages that are missing for the named groups: build, test, lint, bench,
# peers, rocksdb, figures, object. A no-op when they are there. Needs root or sudo only when something is missing.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config python3 libnghttp2-dev libprotobuf-c-dev
 protobuf-c-compiler libprotobuf-dev libyaml-dev libcjson-dev libzstd-dev liblz4-dev libxxhash-dev liburing-dev
 zlib1g-dev libcmocka-dev libnats-dev libsnappy-dev libcurl4-openssl-dev libssl-dev"
test="clang lld llvm-14 libclang-rt-14-dev protobuf-compiler curl procps nghttp2-client python3-grpcio python3-protobuf g++ binutils
 prometheus nats-server openssl e2fsprogs xfsprogs mount util-linux"
lint="clang clang-format clang-tidy cppcheck binutils"
figures="python3-grpcio python3-protobuf protobuf-compiler" # bench/node_figures.py
# The peers of bench/side and of bench/series.
bench="librocksdb-dev liblmdb-dev libleveldb-dev libwiredtiger-dev"
peers="victoria-metrics influxdb prometheus"
rocksdb="librocksdb-dev" # the engine rocksdb
# Object stores and clients of others, for tests/object.
object="radosgw ceph-mon ceph-osd ceph-common swift-proxy swift-account swift-container swift-object memcached
 s3cmd rclone openssl"

need=""
for group in "$@"; do
    case $group in
    build) need="$need $build" ;;
    test)
        need="$need $test"
        command -v node >/dev/null 2>&1 || need="$need nodejs"
        command -v npm >/dev/null 2>&1 || need="$need npm"
        ;;
    lint) need="$need $lint" ;;
    bench) need="$need $bench" ;;
    rocksdb) need="$need $rocksdb" ;;
    object) need="$need $object" ;;
    figures) need="$need $figures" ;;
    peers) need="$need $peers" ;;
    *)
        echo "setup.sh: unknown group '$group': build, test, lint, bench, peers, rocksdb, figures or object" >&2
        exit 2
        ;;
    esac
done

missing=""
for p in $need; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
        missing="$missing $p"
done
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "setup.sh: missing packages, and neither root nor sudo: as root run" >&2
        echo "  apt-get install --no-install-recommends$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# The lists of a fresh system may be empty or old.
$as_root apt-get update -qq
# No service is started by a package: this is a build machine.
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
