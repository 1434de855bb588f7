#!/usr/bin/python3
"""Every key of the configuration reaches the part of varved that it is about: each is set to
something that is not its default, and its effect is looked for from outside.

What other tests set stays with them: hosts, ports, memory, log and message limits, durability,
drain_timeout, auto_create, the two directories.
"""
import fcntl
import http.client
import json
import os
import pathlib
import re
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, varve, wait_until  # noqa: E402


def metric(server, name):
    conn = http.client.HTTPConnection(server.ingest, timeout=30)
    conn.request("GET", "/metrics")
    text = conn.getresponse().read().decode()
    conn.close()
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M).group(1))


def post(conn, path, message):
    conn.request("POST", path, json.dumps(message))
    answer = conn.getresponse()
    return answer.status, json.loads(answer.read())


def answers(server):
    try:
        return metric(server, "varve_connections") == 1
    except OSError:  # closed at once: there are too many
        return False


def threads(server, prefix):
    names = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/comm")
    return sum(name.read_text().startswith(prefix) for name in names)


def descriptors(server):
    """{number: what it is} of the files the server has open."""
    found = {}
    for fd in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found[fd.name] = os.readlink(fd)
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def write_files(server, values=40, rounds=1, size=50000):
    """Flushed files of values that compress. Rounds interleave their keys, so that a compaction has
    to write what it reads."""
    for r in range(rounds):
        conn = http.client.HTTPConnection(server.ingest, timeout=60)
        for i in range(values):
            body = b"value %05d of round %d " % (i, r) * (size // 25)
            conn.request("PUT", f"/api/v1/kv/t/kv/k{i:05}{r:03}?durability=none", body)
            answer = conn.getresponse()
            answer.read()
            assert answer.status == 204, answer.status
        conn.close()
        checkpoint(server)


def checkpoint(server):
    import grpc
    with grpc.insecure_channel(server.ingest) as channel:
        channel.unary_unary("/varve.v1.Admin/Checkpoint")(b"", timeout=60)


def read_all(server, values=40, rounds=1):
    conn = http.client.HTTPConnection(server.ingest, timeout=60)
    for r in range(rounds):
        for i in range(values):
            conn.request("GET", f"/api/v1/kv/t/kv/k{i:05}{r:03}")
            answer = conn.getresponse()
            assert answer.status == 200 and answer.read().startswith(b"value %05d of" % i)
    conn.close()


def threads_are_as_many_as_asked(tmp):
    asked = {"server.loops": ("vv-loop", 3), "query.threads": ("vv-pool", 5),
             "storage.background_threads": ("varve-work", 4), "ingest.workers": ("varve-extr", 6)}
    # Whoever commits applies too: of seven that may, six are threads of their own.
    asked["storage.apply_threads"] = ("varve-apply-", 7)
    fewer = {"storage.apply_threads": 1}
    given = [f"{key}={n}" for key, (_, n) in asked.items()] + ["storage.shards=8"]
    with Varved(tmp / "data", given) as server:
        for key, (prefix, n) in asked.items():
            # One more keeps point reads going, four wait for the object store.
            extra = 5 if key == "query.threads" else 0
            n += extra - fewer.get(key, 0)
            wait_until(lambda p=prefix, want=n: threads(server, p) == want, 20,
                       f"{n} threads {prefix} by {key}")  # each gives itself its name
        assert server.stop() == 0


def connections_and_streams_are_bounded(tmp):
    with Varved(tmp / "data", ["server.max_connections=3", "server.max_streams=7",
                               "server.idle_timeout=1s"]) as server:
        held = [socket.create_connection(("127.0.0.1", server.ports["ingest"])) for _ in range(3)]
        one_more = socket.create_connection(("127.0.0.1", server.ports["ingest"]))
        one_more.settimeout(20)
        assert one_more.recv(1) == b""
        # The preface is answered by SETTINGS; 3 is MAX_CONCURRENT_STREAMS.
        held[0].sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">HBBBI", 0, 0, 4, 0, 0))
        held[0].settimeout(20)
        head = held[0].recv(9, socket.MSG_WAITALL)
        size = struct.unpack(">I", b"\0" + head[:3])[0]
        body = held[0].recv(size, socket.MSG_WAITALL)
        assert head[3] == 4 and dict(struct.iter_unpack(">HI", body))[3] == 7, body
        # Half of a request, nothing at all, SETTINGS alone: none is kept for long.
        held[1].sendall(b"GET /hea")
        for conn in held[1:]:
            conn.settimeout(8)  # without the key it would be ten seconds at least
            while conn.recv(4096) != b"":
                pass
        held[0].settimeout(8)
        while held[0].recv(4096) != b"":
            pass
        for conn in held:
            conn.close()
        wait_until(lambda: answers(server), 20, "room for a connection")
        assert metric(server, "varve_connections_refused_total") >= 1
        # A connection that rests after an answer.
        rests = http.client.HTTPConnection(server.ingest, timeout=20)
        rests.request("GET", "/health")
        rests.getresponse().read()
        assert rests.sock.recv(1) == b""
        assert server.stop() == 0


def transactions_are_bounded(tmp):
    with Varved(tmp / "data", ["transactions.max_open=3", "transactions.max_per_connection=2",
                               "transactions.idle_timeout=500ms"]) as server:
        conns = [http.client.HTTPConnection(server.ingest, timeout=20) for _ in range(2)]
        begin = "/api/v1/txn/begin"
        status, first = post(conns[0], begin, {})
        assert status == 200 and first["idleTimeoutMs"] == "500", first
        assert post(conns[0], begin, {})[0] == 200
        status, why = post(conns[0], begin, {})
        assert status == 429 and "max_per_connection" in why["error"]["message"], why
        assert post(conns[1], begin, {})[0] == 200
        status, why = post(conns[1], begin, {})
        assert status == 429 and "max_open" in why["error"]["message"], why
        wait_until(lambda: post(conns[1], begin, {})[0] == 200, 20, "an idle transaction to end")
        assert post(conns[0], "/api/v1/txn/commit", {"txn": first["txn"]})[0] == 404
        assert server.stop() == 0


def stores_are_made_as_asked(tmp):
    with Varved(tmp / "data", ["storage.shards=3", "storage.engine=btree",
                               "ingest.queue_size=3MB"]) as server:
        assert metric(server, "varve_shards") == 3
        assert metric(server, "varve_ingest_queue_limit_bytes") == 3 << 20
        done = varve("table", "create", "--server", server.ingest, "made", "-o", "json")
        assert json.loads(done.stdout)["engine"] == "btree", done
        assert server.stop() == 0
    assert len(list((tmp / "data").glob("shard-*"))) == 3


def caches_are_bounded(tmp):
    cached = {}
    for size in ("1MB", "64MB"):
        with Varved(tmp / size, [f"storage.cache_size={size}", "storage.compression=false"]) as server:
            write_files(server, 100)
            read_all(server, 100)
            cached[size] = metric(server, 'varve_memory_part_bytes{part="cache"}')
            assert server.stop() == 0
    assert cached["1MB"] < 2 << 20 < 4 << 20 < cached["64MB"], cached


def files_are_compressed_as_asked(tmp):
    size = {}
    for key in ("storage.compression=true", "storage.compression=false"):
        with Varved(tmp / key, [key, "storage.memtable_size=1MB"]) as server:
            write_files(server, 20, rounds=8)
            wait_until(lambda: metric(server, "varve_compactions_total") > 0, 30, "a compaction")
            read_all(server, 20, rounds=8)
            size[key] = metric(server, "varve_compaction_written_bytes_total") / \
                metric(server, "varve_compaction_read_bytes_total")
            assert server.stop() == 0
    assert size["storage.compression=true"] < 0.9 < size["storage.compression=false"], size
    for key in ("storage.value_compression=true", "storage.value_compression=false"):
        with Varved(tmp / key, [key, "storage.engine=btree"]) as server:
            write_files(server, 300, rounds=2, size=1500)
            read_all(server, 300, rounds=2)
            size[key] = metric(server, "varve_flush_bytes_total")
            assert server.stop() == 0
    assert size["storage.value_compression=true"] < 0.7 * size["storage.value_compression=false"], size


def files_are_read_as_asked(tmp):
    for backend in ("posix", "threads", "io_uring"):
        with Varved(tmp / backend, [f"storage.io_backend={backend}"]) as server:
            write_files(server)
            read_all(server)
            rings = [d for d in descriptors(server).values() if "io_uring" in d]
            refused = "no io_uring here" in server.log_path.read_text()
            pool = threads(server, "io\n")  # iou-... are the kernel's own
            assert server.stop() == 0
        assert refused or (rings != []) == (backend == "io_uring"), (backend, rings)
        assert (pool > 0) == (backend == "threads" or refused), (backend, pool)
    for direct in ("true", "false"):
        with Varved(tmp / f"direct-{direct}", [f"storage.direct_io={direct}"]) as server:
            write_files(server)
            read_all(server)
            flags = [int(re.search(r"flags:\s+(\d+)", pathlib.Path(
                f"/proc/{server.process.pid}/fdinfo/{n}").read_text()).group(1), 8)
                for n, name in descriptors(server).items() if "/run-" in name]
            assert flags != [] and all((f & os.O_DIRECT != 0) == (direct == "true") for f in flags), \
                (direct, flags)
            assert server.stop() == 0


def compaction_keeps_to_its_budget(tmp):
    budget = 1 << 20
    began = time.monotonic()
    with Varved(tmp / "data", ["storage.compaction_budget=1MB", "storage.memtable_size=1MB",
                               "storage.compression=false"]) as server:
        write_files(server, 20, rounds=5)
        wait_until(lambda: metric(server, "varve_compactions_total") > 0, 60, "a compaction")
        merged = metric(server, "varve_compaction_read_bytes_total")
        longest = time.monotonic() - began
        assert server.stop() == 0
    assert merged > 3 << 20, merged
    assert merged <= budget * longest + (1 << 20), (merged, longest)  # and what it may save up


def descriptors_are_bounded(tmp):
    held = {}
    for most in ("16", "auto"):
        with Varved(tmp / most, [f"storage.max_open_files={most}"]) as server:
            write_files(server, 1, rounds=30, size=400000)  # each value lies in a file of its own
            read_all(server, 1, rounds=30)
            held[most] = sum(re.search(r"/(run|val)-\d+$", name) is not None
                             for name in descriptors(server).values())
            assert server.stop() == 0
    assert 0 < held["16"] <= 16 < 30 <= held["auto"], held


def rows(*args):
    done = varve(*args, "-o", "json")
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def backups_go_where_asked(tmp):
    """Into backup.dir; with the log of what lies between two of them, or without."""
    for archive in ("true", "false"):
        data, repo = tmp / f"data-{archive}", tmp / f"repo-{archive}"
        with Varved(data, [f"backup.dir={repo}", f"backup.archive_log={archive}"]) as server:
            made = []
            for r in range(2):
                write_files(server, 10, rounds=r + 1)
                made += rows("backup", "create", "--server", server.ingest)
            assert server.stop() == 0
        assert [b["id"] for b in rows("backup", "list", "--repo", repo)] == [1, 2]
        between = str(int(made[1]["versions"]) - 3)
        done = varve("backup", "restore", "--repo", repo, "--to", tmp / f"to-{archive}",
                     "--at-version", between)
        assert (done.returncode == 0) == (archive == "true"), (archive, done)


def archives_come_and_go_as_asked(tmp):
    seen = set()
    with Varved(tmp / "data", ["storage.engine=btree", "storage.archive_interval=50ms",
                               "storage.num_retained_archives=2"]) as server:
        def one_more():
            write_files(server, 1)
            kept = rows("archive", "list", "--server", server.ingest)
            assert len(kept) <= 2 and all(a["periodic"] == "yes" for a in kept), kept
            seen.update(a["archive"] for a in kept)
            return len(seen) >= 4
        wait_until(one_more, 60, "four periodic archives")
        assert server.stop() == 0


def trees_take_the_space_asked_for(tmp):
    """Pages leave their old files in the background: what is asked for is there some time later."""
    def written_over(factor, then):
        data = tmp / f"factor-{factor}"
        with Varved(data, ["storage.engine=btree", f"storage.file_amplify_factor={factor}"]) as server:
            for _ in range(12):  # the same keys again
                write_files(server, 20, size=20000)
            then(data)
            assert server.stop() == 0
        return size(data)

    def size(data):
        total = 0
        for f in data.rglob("data-*"):
            try:
                total += f.stat().st_size
            except FileNotFoundError:  # removed meanwhile
                pass
        return total

    wide = written_over(20, lambda _: None)
    written_over(1, lambda data: wait_until(lambda: size(data) * 3 < wide, 60, "a small tree"))


def samples_go_where_asked(tmp):
    def ask(method, path, body=None):
        conn.request(method, path, body)
        answer = conn.getresponse()
        return answer.status, answer.read().decode()

    def remote_write(name, ms):
        """One sample of remote write; snappy, as a literal."""
        time_bytes = bytearray()
        while ms > 0x7F:
            time_bytes.append(ms & 0x7F | 0x80)
            ms >>= 7
        sample = b"\x09" + struct.pack("<d", 7) + b"\x10" + bytes(time_bytes) + bytes([ms])
        label = b"\x0a\x08__name__\x12" + bytes([len(name)]) + name
        series = b"\x0a" + bytes([len(label)]) + label + b"\x12" + bytes([len(sample)]) + sample
        message = b"\x0a" + bytes([len(series)]) + series
        return bytes([len(message), (len(message) - 1) << 2]) + message

    with Varved(tmp / "data", ["series.table=plant/numbers", "series.historian_table=plant/tags",
                               "series.max_per_tenant=3"]) as server:
        conn = http.client.HTTPConnection(server.ingest, timeout=30)
        # The table that a request does not name.
        status, text = ask("POST", "/api/v1/write", remote_write(b"up", 1700000000000))
        assert status == 204, (status, text)
        status, text = ask("GET", "/api/v1/series/latest?tenant=plant&table=numbers")
        assert status == 200 and '"__name__":"up"' in text, text
        assert ask("GET", "/api/v1/series/latest")[1] == text
        # That of the sensors.
        assert ask("GET", "/api/v1/query?sensor=s7&start=0&end=9")[0] == 404
        assert ask("POST", "/write?tenant=plant&db=tags&precision=ms", "x,sensor=s7 v=1.5 5")[0] == 204
        status, text = ask("GET", "/api/v1/query?sensor=s7&start=0&end=9")
        assert status == 200 and '"value":1.5' in text, text
        # Series of a tenant: of four the first is its third, the others are refused by name.
        body = "".join(f"m,n={n} v=1 5\n" for n in range(4))
        status, text = ask("POST", "/write?tenant=plant&db=many", body)
        assert status != 204 and "series_max" in text, (status, text)
        assert ask("GET", "/api/v1/series/list?tenant=plant&table=many")[1].count('"id"') == 1
        assert ask("POST", "/write?tenant=plant&db=many", "m,n=0 v=2 6")[0] == 204  # there already
        conn.close()
        assert server.stop() == 0


def lines_have_the_form_asked_for(tmp):
    for form in ("json", "logfmt"):
        with Varved(tmp / form, [f"log.format={form}", "log.level=info"]) as server:
            assert server.stop() == 0
        lines = server.log_path.read_text().splitlines()
        assert any("serving" in line for line in lines), lines
        for line in lines:
            assert (form == "json") == line.startswith("{"), line
            assert form == "logfmt" or json.loads(line)["level"] in ("info", "warn"), line


def main():
    cases = [threads_are_as_many_as_asked, connections_and_streams_are_bounded,
             transactions_are_bounded, stores_are_made_as_asked, caches_are_bounded,
             files_are_compressed_as_asked, files_are_read_as_asked, compaction_keeps_to_its_budget,
             descriptors_are_bounded, backups_go_where_asked, archives_come_and_go_as_asked,
             trees_take_the_space_asked_for, samples_go_where_asked, lines_have_the_form_asked_for]
    only = sys.argv[1:]
    with TempDir() as tmp:
        for case in cases:
            if only and case.__name__ not in only:
                continue
            sub = pathlib.Path(tmp) / case.__name__
            sub.mkdir()
            began = time.monotonic()
            case(sub)
            print(f"ok {case.__name__} ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    main()
