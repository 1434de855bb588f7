#!/usr/bin/python3
"""`varve import-eloqstore` over stores in EloqStore's form that are built here byte by byte: every
entry of every partition arrives, damage is told by file, page and reason, nothing is changed.
"""
import csv
import ctypes
import ctypes.util
import os
import pathlib
import shutil
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, varve  # noqa: E402

PAGE = 4096
NONE = 0xffffffff
U64 = (1 << 64) - 1
xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0").XXH3_64bits
xxh.restype = ctypes.c_uint64
xxh.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def sealed(body, tail=b""):
    """A page of everything behind the sum; tail lies at its end."""
    body = body.ljust(PAGE - 8 - len(tail), b"\0") + tail
    return struct.pack("<Q", xxh(body, len(body))) + body


def leaf(entries):
    """(key, value, flags, expires_ms) in order: a restart every 16, the prefix shared between."""
    out, restarts, last, base = b"", [], b"", 0
    for i, (key, value, flags, expires) in enumerate(entries):
        if i % 16 == 0:
            restarts.append(19 + len(out))
            last, base = b"", 0
        shared = len(os.path.commonprefix([last, key]))
        stamp = 1000 + i
        out += varint(shared) + varint(len(key) - shared) + varint(len(value) << 4 | flags)
        out += key[shared:] + value + (varint(expires) if flags & 2 else b"")
        out += varint((stamp - base) << 1)
        last, base = key, stamp
    tail = b"".join(struct.pack("<H", r) for r in restarts) + struct.pack("<H", len(restarts))
    return sealed(struct.pack("<BHII", 2, 19 + len(out) + len(tail), NONE, NONE) + out + tail)


def index(children):
    """(separator, page id) with the left-most first; deltas with the sign in the lowest bit."""
    out, restarts, last, base = b"", [], b"", 0
    for i, (key, child) in enumerate(children[1:]):
        if i % 16 == 0:
            restarts.append(15 + len(out))
            last, base = b"", 0
        shared = len(os.path.commonprefix([last, key]))
        delta = (child - base) << 1 if child >= base else (base - child) << 1 | 1
        out += varint(shared) + varint(len(key) - shared) + key[shared:] + varint(delta)
        last, base = key, child
    tail = b"".join(struct.pack("<H", r) for r in restarts) + struct.pack("<H", len(restarts))
    return sealed(struct.pack("<BHI", 1, 15 + len(out) + len(tail), children[0][1]) + out + tail)


def overflow(part, following=()):
    tail = b"".join(struct.pack("<I", p) for p in following) + bytes([len(following)])
    return sealed(struct.pack("<BH", 3, len(part)) + part, tail)


def record(generation, root, payload):
    body = struct.pack("<III", root, NONE, len(payload)) + payload
    total = xxh(body, len(body))
    if generation == 6:  # one piece of 1 MiB at most here
        total = total * 0x9e3779b97f4a7c15 & U64
    out = struct.pack("<Q", total) + body
    return out if generation == 1 else out + bytes(-len(out) % 4096)


def snapshot(generation, root, places):
    mapping = b"".join(varint(p << 3 | 1) for p in places)
    if generation == 1:
        return record(1, root, varint(1000) + mapping)
    return record(6, root, varint(1000) + varint(0) + struct.pack("<I", len(mapping)) + mapping +
                  struct.pack("<I", 4) + b"\x04main")


def make_partition(where, generation, prefix, big):
    """50 leaves of 40 entries and one value of 20 overflow pages; returns what must be read."""
    where.mkdir(parents=True)
    want, pages, children = {}, [], []
    parts = [big[i * 4000:(i + 1) * 4000] for i in range(20)]
    assert b"".join(parts) == big
    for n in range(50):
        entries = []
        for i in range(40):
            key, value = b"%s%03d-%03d" % (prefix, n, i), b"value %d of leaf %d" % (i, n)
            if i == 7:
                entries.append((key, value, 2, int(time.time() * 1000) - 1000))  # expired
                continue
            if i == 8:
                entries.append((key, value, 2, int(time.time() * 1000) + 3600_000))
            elif n == 20 and i == 20:
                value = big
                entries.append((key, struct.pack("<16I", *range(100, 116)), 1, 0))
            else:
                entries.append((key, value, 0, 0))
            want[key] = value
        pages.append(leaf(entries))
        children.append((b"%s%03d" % (prefix, n), n))
    ids = list(range(50)) + list(range(100, 120)) + [99]
    pages += [overflow(part, range(116, 120) if i == 15 else ()) for i, part in enumerate(parts)]
    pages.append(index(children))
    # Files of 32 pages, in the order of the list turned round.
    places = [0] * 120
    for at, n in enumerate(reversed(ids)):
        places[n] = at
    data = b"".join(reversed(pages))
    suffix = "" if generation == 1 else "_main_2"
    for f in range(0, len(data), 32 * PAGE):
        (where / f"data_{f // (32 * PAGE)}{suffix}").write_bytes(data[f:f + 32 * PAGE])
    (where / f"manifest{suffix}").write_bytes(snapshot(generation, 99, places))
    return want


def contents(tree):
    return {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def load(*args, code=0, words=()):
    done = varve("import-eloqstore", *args, "--file-size", "128K")
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    for w in words:
        assert w in done.stderr + done.stdout, f"'{w}' is not in: {done}"
    return done


def stored(data, table):
    csv.field_size_limit(1 << 24)
    done = varve("scan", "--data", data, "--table", table, "-o", "csv")
    assert done.returncode == 0, done
    rows = list(csv.DictReader(done.stdout.splitlines()))
    return {r["key"].encode(): r["value"].encode() for r in rows}


def both_generations(tmp):
    big = bytes(97 + i * i % 26 for i in range(80000))
    for generation in (1, 6):
        src, data = tmp / f"eloq{generation}", tmp / f"data{generation}"
        users = make_partition(src / "users.0", generation, b"a", big)
        users |= make_partition(src / "users.12", generation, b"b", big)
        logs = make_partition(src / "app.logs.3", generation, b"l", big)
        before = contents(src)
        load("--data", data, src, words=["imported 5850 entries of 3 partitions",
                                         "150 expired ones skipped"])
        assert stored(data, "users") == users and stored(data, "app.logs") == logs
        assert contents(src) == before
        load("--data", data, "-q", src / "users.0", words=["1950\n"])  # again: the same keys
        assert stored(data, "users") == users
        load("--data", data, "--table", "one", src / "users.0")
        assert len(stored(data, "one")) == 1950
        load("--data", data, "--table", "two", src, code=1, words=["app.logs.3 and users."])


def files_by_name(tmp):
    """Another branch, another manifest than the newest, another machine's page size."""
    big = bytes(97 + i * i % 26 for i in range(80000))
    src, data = tmp / "named/users.0", tmp / "named-data"
    want = make_partition(src, 6, b"a", big)
    for path in list(src.iterdir()):
        path.rename(src / path.name.replace("_main_", "_side_"))
    load("--data", data, src, code=5, words=["main"])
    load("--data", data, "--branch", "nope", src, code=5, words=["nope"])
    load("--data", data, "--branch", "side", src, words=["imported 1950 entries"])
    assert stored(data, "users") == want
    shutil.copy(src / "manifest_side_2", src / "manifest_side_2_tag")
    (src / "manifest_side_2").write_bytes(b"no manifest")
    load("--data", data, "--table", "kept", "--manifest", "manifest_side_2_tag", src,
         words=["imported 1950 entries"])
    assert stored(data, "kept") == want
    load("--data", data, "--manifest", "manifest_nope", src, code=1, words=["manifest_nope"])
    load("--data", data, "--host-page-size", "5000", "--manifest", "manifest_side_2_tag", src, code=1,
         words=["5000"])
    load("--data", data, "--table", "wide", "--host-page-size", "16K", "--manifest",
         "manifest_side_2_tag", src)
    assert stored(data, "wide") == want


def damage_is_named(tmp):
    src, data = tmp / "eloq6" / "users.0", tmp / "data-damaged"
    f = src / "data_1_main_2"
    sound = f.read_bytes()
    f.write_bytes(sound[:5 * PAGE + 77] + bytes([sound[5 * PAGE + 77] ^ 1]) + sound[5 * PAGE + 78:])
    done = load("--data", data, src, code=1,
                words=["users.0: page ", "data_1_main_2: the page at offset 20480: its sum is"])
    left = stored(data, "users")  # what lies before the damage
    assert f"imported {len(left)} entries" in done.stdout and 0 < len(left) < 1950, done
    f.unlink()
    load("--data", data, src, code=1, words=["data_1 is missing"])
    f.write_bytes(sound)
    load("--data", data, src)
    manifest = src / "manifest_main_2"
    sound = manifest.read_bytes()
    manifest.write_bytes(sound + b"torn")
    load("--data", data, src, words=["the last manifest record is damaged and was left out"])
    manifest.write_bytes(sound[:30] + b"?" + sound[31:])
    load("--data", data, src, code=1, words=["manifest_main_2: the record at offset 0: its sum"])
    manifest.unlink()
    load("--data", data, src, code=5, words=["neither manifest nor manifest_main_<term>"])


def wrong_usage_is_told(tmp):
    src, data = tmp / "eloq1", tmp / "data1"
    load(src, code=2, words=["--data DIR is needed"])
    load("--data", data, code=2, words=["one DIR"])
    done = varve("import-eloqstore", "--data", data, "--file-size", "5K", src)
    assert done.returncode == 2 and "power of two of pages" in done.stderr, done
    done = varve("import-eloqstore", "--data", data, "--page-size", "5000", src)
    assert done.returncode != 0 and "a page of 5000 bytes" in done.stderr, done
    done = load("--data", data, tmp / "nowhere", code=5)
    assert "nowhere" in done.stderr, done
    (tmp / "plain").mkdir()
    load("--data", data, tmp / "plain", code=1, words=["with --table"])
    done = varve("put", "--data", data, "x", "y")
    assert done.returncode == 0, done
    assert varve("table", "create", "--data", data, "rec", "--kind", "record").returncode == 0
    load("--data", data, "--table", "rec", src / "users.0", code=1, words=["another kind"])


def main():
    with TempDir() as path:
        tmp = pathlib.Path(path)
        both_generations(tmp)
        files_by_name(tmp)
        damage_is_named(tmp)
        wrong_usage_is_told(tmp)
    print("ok: two generations, three partitions each, damage")


if __name__ == "__main__":
    main()
