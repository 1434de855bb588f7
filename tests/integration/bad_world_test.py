#!/usr/bin/python3
"""varved in a bad world: a full disk, a read-only directory, two servers on one directory, a store
of a newer version, a flipped bit in every kind of file, bad configurations. Each gives a clear error
that names cause and place; nothing is lost, nothing crashes.

The full disk and the read-only directory need root for a mount; without it they are skipped, aloud.
"""
import contextlib
import ctypes
import http.client
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import BUILD, Messages, TempDir, Varved, method, varve, wait_until  # noqa: E402

PB = Messages()


def put(channel, key, value, **kwargs):
    req = PB.kv.PutRequest(key=key, value=value)
    req.table.tenant = "bad"
    req.table.table = "kv"
    return method(channel, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)(
        req, timeout=30, **kwargs)


def get(channel, key):
    req = PB.kv.GetRequest(key=key)
    req.table.tenant = "bad"
    req.table.table = "kv"
    return method(channel, "unary_unary", "/varve.v1.Kv/Get", PB.kv.GetResponse)(req, timeout=30)


def start_fails(data, want_code, *words, settings=()):
    """varved must end by itself, with this code and all these words in its log."""
    server = Varved(data, settings, wait=False)
    code = server.process.wait(60)
    text = server.log_path.read_text(errors="replace")
    server._close()
    server.log_path.unlink()
    assert code == want_code, f"exit code {code} instead of {want_code}: {text}"
    for w in words:
        assert w in text, f"'{w}' is not in: {text}"


@contextlib.contextmanager
def tmpfs(path, options):
    """A small file system of its own; yields False where it cannot be mounted."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)],
                          capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(path)], check=True)


def bad_configurations(tmp):
    def run(*args, env=None):
        return subprocess.run([str(BUILD / "varved"), *args], capture_output=True, text=True,
                              timeout=30, check=False, env=dict(os.environ, **(env or {})))
    f = tmp / "c.yaml"
    f.write_text("server:\n  prot: 8080\n")
    done = run("--config", str(f), "--check-config")
    assert done.returncode == 2, done
    assert f"{f}:2:3: unknown key 'server.prot'; did you mean 'server.port'?" in done.stderr, done
    for args, word in ((["--set", "server.port=x"], "whole number"),
                       (["--set", "nope.nope=1"], "did you mean"),
                       (["--config", str(tmp / "absent.yaml")], "No such file"),
                       (["--set", "server.host=0.0.0.0"], "server.allow_anonymous"),
                       (["--set", "storage.memtable_size=400MB"], "storage.memory_limit"),
                       (["surplus"], "surplus"), (["--nonsense"], "usage")):
        done = run(*args, "--check-config")
        assert done.returncode == 2 and word in done.stderr, (args, done)
    done = run("--check-config", env={"VARVE_SERVER_PROT": "1"})
    assert done.returncode == 2 and "VARVE_SERVER_PORT" in done.stderr, done
    done = run("--print-config", "--set", "server.port=1234")
    assert done.returncode == 0 and "port: 1234" in done.stdout, done
    f.write_text(done.stdout)
    assert run("--config", str(f), "--print-config").stdout == done.stdout


def two_servers_on_one_directory(tmp):
    with Varved(tmp / "two") as server:
        pid = str(server.process.pid)
        other = tmp / "link"
        os.symlink(tmp / "two", other)
        start_fails(other, 3, "BUSY", pid)
        for key in ("server.port", "query.port"):
            port = server.ports["ingest"]
            start_fails(tmp / "port", 2, f"{key}: ", f"127.0.0.1:{port}", "Address already in use",
                        settings=[f"{key}={port}"])
            assert not (tmp / "port").exists(), "no store is made"
        done = varve("scan", "--data", tmp / "two")
        assert done.returncode != 0 and pid in done.stderr, done
        assert server.stop() == 0


def a_file_where_the_directory_should_be(tmp):
    (tmp / "file").write_text("not a store")
    start_fails(tmp / "file", 3, "file")
    (tmp / "foreign").mkdir()
    (tmp / "foreign" / "precious.txt").write_text("mine")
    shutil.copy(tmp / "foreign" / "precious.txt", tmp / "foreign" / "VARVE")
    start_fails(tmp / "foreign", 3)
    assert (tmp / "foreign" / "precious.txt").read_text() == "mine"


def the_log_can_lie_elsewhere(tmp):
    elsewhere = os.path.relpath(tmp / "log", os.getcwd())
    for round_number in range(2):
        with Varved(tmp / "data", [f"storage.wal_directory={elsewhere}"]) as server:
            with grpc.insecure_channel(server.ingest) as channel:
                if round_number == 1:
                    assert get(channel, b"k0").value == b"v"
                put(channel, b"k%d" % round_number, b"v")
            start_fails(tmp / "guest", 3, "BUSY", settings=[f"storage.wal_directory={elsewhere}"])
            server.kill()
    start_fails(tmp / "guest", 3, "belongs to another store",
                settings=[f"storage.wal_directory={elsewhere}"])
    assert list((tmp / "log").glob("*.seg")) and (tmp / "data" / "wal").is_symlink()
    start_fails(tmp / "data", 3, "points to", settings=[f"storage.wal_directory={tmp}/other"])
    (tmp / "log").rename(tmp / "unmounted")
    (tmp / "log").mkdir()
    start_fails(tmp / "data", 3, "is its disk mounted",
                settings=[f"storage.wal_directory={elsewhere}"])
    assert not list((tmp / "log").glob("*.seg")), "no log is made in its place"


def fill(data, count=400, engine="lsm"):
    """A store with every kind of file: runs, a manifest, log behind the checkpoint. The settings
    keep the log small, so that flips find something."""
    with Varved(data, ["storage.memtable_size=128KB", "storage.log_segment_size=256KB",
                       f"storage.engine={engine}"]) as server:
        with grpc.insecure_channel(server.ingest) as channel:
            for i in range(count):
                put(channel, b"k%05d" % i, b"value %05d " % i * 100)
            method(channel, "unary_unary", "/varve.v1.Admin/Checkpoint",
                   PB.admin.CheckpointResponse)(PB.admin.CheckpointRequest(), timeout=60)
            for i in range(count, count + 50):
                put(channel, b"k%05d" % i, b"value %05d " % i * 100)
        server.kill()
    return {b"k%05d" % i: b"value %05d " % i * 100 for i in range(count + 50)}


class Slice(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class TableOptions(ctypes.Structure):
    """vv_table_options of varve/db.h."""
    _fields_ = [("size", ctypes.c_size_t), ("kind", ctypes.c_int), ("retention", ctypes.c_int64),
                ("if_not_exists", ctypes.c_bool), ("value_threshold", ctypes.c_uint64),
                ("compression", ctypes.c_int)]


def fill_apart(data, count=60):
    """A store whose values lie in files of their own: the library alone makes such tables."""
    lib = ctypes.CDLL(str(BUILD / "libvarve.so"))
    db, table = ctypes.c_void_p(), ctypes.c_void_p()
    how = TableOptions(ctypes.sizeof(TableOptions), 1, -1, False, 1000, 0)
    want = {b"k%05d" % i: b"value %05d " % i * 300 for i in range(count)}
    assert lib.vv_db_open(str(data).encode(), None, ctypes.byref(db), None) == 0
    assert lib.vv_table_create(db, b"bad", b"kv", ctypes.byref(how), ctypes.byref(table), None) == 0
    lib.vv_put.argtypes = [ctypes.c_void_p, Slice, Slice, ctypes.c_void_p]
    for key, value in want.items():
        assert lib.vv_put(table, Slice(key, len(key)), Slice(value, len(value)), None) == 0
    assert lib.vv_checkpoint(db, None) == 0
    lib.vv_table_close(table)
    assert lib.vv_db_close(db, None) == 0
    return want


def tree_files(store):
    """The kinds of file that only a store of the engine btree has. What a data file holds beyond the
    pages of the newest tree is nothing: a flip there is found by nobody and harms nobody."""
    shard = store / "shard-000"
    return {"current": [shard / "CURRENT"],
            "manifest": [shard / (shard / "CURRENT").read_text().split()[0]],
            "data": sorted(shard.glob("data-*"))}


def value_files(store):
    return {"value": sorted(store.glob("shard-*/val-*"))}


def live_files(store):
    """{kind: [path]} of the files that count: what a killed flush or compaction left is not one of
    them, nor is a log file that was never begun."""
    kinds = {"store": [store / "VARVE"], "ring": [store / "wal/ring"], "segment": [],
             "current": [], "manifest": [], "run": []}
    for path in sorted((store / "wal").glob("*.seg")):
        if path.read_bytes()[:8] == b"VARVEWAL":
            kinds["segment"].append(path)
    for current in sorted(store.glob("shard-*/CURRENT")):
        manifest = current.parent / current.read_text().split()[0]
        kinds["current"].append(current)
        kinds["manifest"].append(manifest)
        live = set()
        for verb, number in re.findall(r"^ +(add|remove) run (\d+)", varve("dump", manifest).stdout,
                                       re.M):
            (live.add if verb == "add" else live.remove)(int(number))
        kinds["run"] += [current.parent / f"run-{n:012}" for n in sorted(live)]
    assert all(kinds.values()), kinds
    return kinds


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def xxh3(data, seed):
    function = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
    function.restype = ctypes.c_uint64
    return function(data, ctypes.c_size_t(len(data)), ctypes.c_uint64(seed))


def make_newer(kind, path):
    """Give a file a format version of the future, under a checksum that is right: docs/format."""
    data = bytearray(path.read_bytes())
    at = len(data) - 4096 if kind == "run" else 0
    data[at + 8:at + 12] = struct.pack("<I", 0x7fff)
    if kind == "run":
        seed = ~int(path.name[4:]) & 0xffffffffffffffff
        data[-8:] = struct.pack("<Q", xxh3(bytes(data[-4096:-8]), seed))
    elif kind == "value":
        seed = ~int(path.name[4:]) & 0xffffffffffffffff
        data[120:128] = struct.pack("<Q", xxh3(bytes(data[:120]), seed))
    else:
        crc_at = {"store": 68, "ring": 4092, "segment": 4092, "manifest": 60}[kind]
        data[crc_at:crc_at + 4] = struct.pack("<I", crc32c(data[:crc_at]))
    path.write_bytes(data)


def newer_stores_are_refused(tmp):
    """One kind of file at a time: check and the server name the file, the version and what to do."""
    fill(tmp / "new")
    fill(tmp / "tree", 100, engine="btree")
    fill_apart(tmp / "apart")
    files = [(tmp / "new", kind, paths) for kind, paths in live_files(tmp / "new").items()]
    files += [(tmp / "tree", kind, paths) for kind, paths in tree_files(tmp / "tree").items()]
    files += [(tmp / "apart", kind, paths) for kind, paths in value_files(tmp / "apart").items()]
    for store, kind, paths in files:
        if kind in ("current", "data"):  # a line, and pages, without a version: the manifest has it
            continue
        copy = tmp.parent / "n"  # short: a sentence has room for 240 bytes, the path included
        shutil.copytree(store, copy)
        target = copy / paths[-1].relative_to(store)
        make_newer(kind, target)
        words = [str(target.relative_to(copy)), "version 32767", "version 1", "use the version of"]
        done = varve("check", "--data", copy)
        assert done.returncode == 1, f"{target.name} of a newer version: {done}"
        for w in words:
            assert w in done.stdout, f"'{w}' is not in: {done.stdout}"
        start_fails(copy, 3, *words)
        shutil.rmtree(copy)


def leftovers_are_told_and_go(tmp):
    """Files that no manifest names are no damage: check says what they are, the next open removes
    them."""
    fill(tmp / "left", 100)
    orphan = tmp / "left/shard-000/run-000000000999"
    shutil.copy(live_files(tmp / "left")["run"][0], orphan)
    done = varve("check", "--data", tmp / "left")
    assert done.returncode == 0 and "no damage found" in done.stdout, done
    line = [text for text in done.stdout.splitlines() if "run-000000000999" in text]
    assert len(line) == 1 and "no manifest names it" in line[0] and "next open" in line[0], done
    assert orphan.exists()
    with Varved(tmp / "left") as server:
        assert server.stop() == 0
    assert not orphan.exists()
    done = varve("check", "--data", tmp / "left")
    assert done.returncode == 0 and "no manifest" not in done.stdout, done


def one_flipped_bit_in_each_file_kind(tmp):
    """Detected by check or harmless to every answer; a server never gives a wrong value."""
    rng = random.Random(int(os.environ.get("VV_SEED", "7"), 0))
    flip_each(tmp, "flip", fill(tmp / "flip"), live_files(tmp / "flip"), rng)
    want = fill(tmp / "tree", 200, engine="btree")
    flip_each(tmp, "tree", want, tree_files(tmp / "tree"), rng)
    want = fill_apart(tmp / "apart")
    flip_each(tmp, "apart", want, value_files(tmp / "apart"), rng)


def flip_each(tmp, store, want, kinds, rng):
    assert all(kinds.values()), kinds
    detected = total = 0
    for path in (rng.choice(paths) for paths in kinds.values() for _ in range(3)):
        copy = tmp / "flipped"
        shutil.copytree(tmp / store, copy)
        target = copy / path.relative_to(tmp / store)
        data = bytearray(target.read_bytes())
        used = len(bytes(data).rstrip(b"\0")) or 1
        bit = rng.randrange(used * 8)
        data[bit // 8] ^= 1 << bit % 8
        target.write_bytes(data)
        found = varve("check", "--data", copy).returncode
        assert found in (0, 1), (path, bit, found)
        total += 1
        detected += found
        with Varved(copy, wait=False) as server:
            try:
                server.wait_ready()
                answers_are_right(server, want, rng.sample(sorted(want), 60), found, (path, bit))
            except RuntimeError:  # it does not start
                assert found, f"{path} bit {bit}: check finds nothing, the server refuses it"
        shutil.rmtree(copy)
    assert detected > 0
    print(f"   {store}: {len(kinds)} kinds of file, {detected} of {total} flips found by check")


def answers_are_right(server, want, keys, found, where):
    with grpc.insecure_channel(server.ingest) as channel:
        for key in keys:
            try:
                got = get(channel, key)
            except grpc.RpcError as e:
                assert e.code() in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.INTERNAL), e
                continue
            assert not got.found or got.value == want[key], (where, key)
            assert got.found or found, f"{where}: {key} is gone, unnoticed"


def fill_the_disk(channel, acked, salt):
    """Put until a write is refused, which must say why, where and what to do; it is not kept."""
    for i in range(4000):
        key, value = b"%s%06d" % (salt, i), random.Random(i).randbytes(30000)
        try:
            put(channel, key, value)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
            for words in ("the disk is full: free some space", "/data/"):
                assert words in e.details(), f"'{words}' is not in: {e.details()}"
            assert not get(channel, key).found, "it was refused"
            return e.details()
        acked[key] = value
    raise AssertionError("40 MB took 120 MB")


def a_full_disk_refuses_and_recovers(tmp):
    """Writes return in the same process, reads never stop, a restart finds everything; whether files
    of a shard or the log meet the full disk first. Twice each: the first time may leave something behind."""
    small = ["storage.memtable_size=256KB", "storage.log_segment_size=1MB", "storage.log_limit=4MB"]
    large = ["storage.memtable_size=64MB", "storage.log_segment_size=1MB", "storage.log_limit=200MB"]
    for settings, words in ((small, "/shard-000/"), (large, "/wal/")):
        with tmpfs(tmp / "full", "size=40m") as mounted:
            if not mounted:
                print("SKIPPED a_full_disk: no right to mount")
                return
            fill_and_make_room(tmp / "full", settings, words)
        (tmp / "full").rmdir()


def fill_and_make_room(mount, settings, words):
    acked = {}
    with Varved(mount / "data", settings) as server:
        with grpc.insecure_channel(server.ingest) as channel:
            for size, salt in ((60, b"a"), (120, b"b")):
                why = fill_the_disk(channel, acked, salt)
                print(f"   {len(acked)} writes before the disk was full: {why}")
                assert words in why, f"'{words}' is not in: {why}"
                for key in random.Random(1).sample(sorted(acked), 100):
                    assert get(channel, key).value == acked[key], "reads go on"
                status = method(channel, "unary_unary", "/varve.v1.Admin/Status",
                                PB.admin.StatusResponse)(PB.admin.StatusRequest(), timeout=30)
                assert status.version and server.process.poll() is None
                subprocess.run(["mount", "-o", f"remount,size={size}m", str(mount)], check=True)
                wait_until(lambda s=salt: writes_return(channel, acked, s), 30, "writes return")
            for key, value in acked.items():
                assert get(channel, key).value == value, f"{key} was acknowledged"
        server.kill()
    assert varve("check", "--data", mount / "data").returncode == 0
    with Varved(mount / "data", settings) as server:
        with grpc.insecure_channel(server.ingest) as channel:
            for key, value in acked.items():
                assert get(channel, key).value == value, f"{key} was acknowledged"
        assert server.stop() == 0


def writes_return(channel, acked, salt):
    """Enough of them to need new log segments and flushes."""
    for i in range(60):
        key, value = b"after %s%d" % (salt, i), random.Random(i).randbytes(30000)
        try:
            put(channel, key, value)
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
            return False
        acked[key] = value
    return True


def an_import_stops_at_a_full_disk(tmp):
    """At the first line that is not there, without holes behind it, also with --skip-bad."""
    rows = tmp / "rows.csv"
    rows.write_text("id,text\n" + "".join(
        f"r{i:06d},{os.urandom(2000).hex()}\n" for i in range(18000)))
    small = ("storage.memtable_size=1MB", "storage.log_segment_size=1MB", "storage.log_limit=4MB")
    for at, size in (("import-there", 48), ("import-here", 100)):
        with tmpfs(tmp / at, f"size={size}m") as mounted:
            if not mounted:
                print("SKIPPED an_import_stops_at_a_full_disk: no right to mount")
                return
            data = tmp / at / "data"
            if at == "import-here":
                import_and_look(["--data", data], tmp / at, rows)
                continue
            with Varved(data, small) as server:
                import_and_look(["--server", server.ingest], tmp / at, rows)
                assert server.stop() == 0


def import_and_look(where, mount, rows):
    done = varve("import", *where, "--no-timestamp", "--skip-bad", "-q", rows)
    subprocess.run(["mount", "-o", "remount,size=300m", str(mount)], check=True)
    got = varve("query", *where, "-S", "_id", "-o", "csv").stdout.split()[1:]
    assert done.returncode == 1 and done.stdout == f"{len(got)}\n", (len(got), done)
    stopped = re.search(r"rows\.csv:(\d+): the import stopped here: ", done.stderr)
    assert stopped, done
    # All before the line is there and the line is not. What was on its way then may have met room.
    before = int(stopped[1]) - 2
    want = [f"r{i:06d}" for i in range(before + 1)]
    assert 0 < before < 17000 and got[:before] == want[:before] and want[before] not in got, done
    assert len(got) == before or where[0] == "--server", done


def a_read_only_directory_is_named(tmp):
    mount = tmp / "ro"
    with tmpfs(mount, "size=64m") as mounted:
        if not mounted:
            print("SKIPPED a_read_only_directory: no right to mount")
            return
        with Varved(mount / "data", ["storage.log_segment_size=1MB"]) as server:
            with grpc.insecure_channel(server.ingest) as channel:
                put(channel, b"k", b"v")
            assert server.stop() == 0
        log = tmp / "ro.log"
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        done = subprocess.run([str(BUILD / "varved"), "--data", str(mount / "data"), "--set",
                               "server.port=0", "--set", "query.port=0"], capture_output=True,
                              text=True, timeout=30, check=False)
        log.write_text(done.stderr)
        assert done.returncode == 3 and "Read-only file system" in done.stderr, done


def write_lines(conn, lines):
    conn.request("POST", "/write?db=flood&precision=s", lines)
    answer = conn.getresponse()
    return answer.status, answer.read().decode()


def flood(address, tag, wrong):
    """New series by the thousand; each request is taken or asked to come again."""
    conn = http.client.HTTPConnection(address, timeout=60)
    for r in range(20):
        status, said = write_lines(conn, "".join(
            f"attack,of={tag}-{r}-{i},pad={'x' * 40} v={i} 5\n" for i in range(1000)))
        if status not in (204, 503) or (status == 503 and "memory_limit" not in said):
            wrong.append((status, said))
    conn.close()


def a_flood_of_series_is_bounded(tmp):
    """Far more series than memory has room for: what they take is bounded, the others go on, and
    when the flood is over new ones are taken again."""
    os.environ.pop("MALLOC_PERTURB_", None)  # it writes to memory that is only reserved
    with Varved(tmp / "data", ["storage.memory_limit=64MB"]) as server:
        conn = http.client.HTTPConnection(server.ingest, timeout=60)
        assert write_lines(conn, "known,of=a v=1 1\n")[0] == 204
        wrong = []
        floods = [threading.Thread(target=flood, args=(server.ingest, f"t{t}", wrong))
                  for t in range(8)]
        for f in floods:
            f.start()
        for second in range(2, 12):  # in the midst of it
            wait_until(lambda s=second: write_lines(conn, f"known,of=a v={s} {s}\n")[0] == 204, 60,
                       "room for a sample of a series that is there")
        for f in floods:
            f.join()
        assert not wrong, wrong[:3]
        wait_until(lambda: write_lines(conn, "known,of=b v=1 1\n")[0] == 204, 60,
                   "room for a new series")
        conn.request("GET", "/api/v1/series/query?table=flood&match=known_v&start=0&end=100")
        assert conn.getresponse().read().count(b",") > 11
        conn.request("GET", "/metrics")
        figures = conn.getresponse().read().decode()
        conn.close()

        def figure(name):
            return float(re.search(rf"^{re.escape(name)} (\S+)$", figures, re.M).group(1))
        assert figure('varve_series{tenant="default"}') > 10000, "it was no flood"
        assert figure('varve_memory_part_bytes{part="index"}') < 16e6
        assert figure("varve_memory_used_bytes") < 1.1 * 64e6
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 128e3, "twice the limit"
        assert server.stop() == 0


def main():
    cases = [bad_configurations, two_servers_on_one_directory, a_file_where_the_directory_should_be,
             the_log_can_lie_elsewhere, newer_stores_are_refused, leftovers_are_told_and_go,
             one_flipped_bit_in_each_file_kind,
             a_full_disk_refuses_and_recovers, an_import_stops_at_a_full_disk,
             a_read_only_directory_is_named, a_flood_of_series_is_bounded]
    only = sys.argv[1:]
    with TempDir() as tmp:
        for case in cases:
            if only and case.__name__ not in only:
                continue
            sub = pathlib.Path(tmp) / case.__name__
            sub.mkdir()
            case(sub)
            print(f"ok {case.__name__}")


if __name__ == "__main__":
    main()
