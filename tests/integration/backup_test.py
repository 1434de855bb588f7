#!/usr/bin/python3
"""`varve backup` against a live varved: backups made while a writer and compaction run hold exactly
the state of their version, are restored to it and to versions between them, share what did not
change, and are refused by name when they are damaged.
"""
import json
import os
import pty
import struct
import subprocess
import sys
import threading
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import BUILD, Messages, TempDir, Varved, method, varve, wait_until  # noqa: E402

PB = Messages()
KEYS = 300


class Writer(threading.Thread):
    """Puts values and remembers the version each one got."""

    def __init__(self, address):
        super().__init__()
        self.address = address
        self.wrote = []  # (version, key, value)
        self.stop = threading.Event()
        self.error = None

    def run(self):
        try:
            with grpc.insecure_channel(self.address) as channel:
                put = method(channel, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)
                i = 0
                while not self.stop.is_set():
                    req = PB.kv.PutRequest(key=b"key-%04d" % (i * 7 % KEYS),
                                           value=b"value %d " % i + b"x" * (i % 700), durability=2)
                    req.table.tenant = "default"
                    req.table.table = "kv"
                    self.wrote.append((put(req, timeout=60).version, req.key, req.value))
                    i += 1
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def state_at(self, version):
        state = {}
        for v, key, value in self.wrote:
            if v <= version:
                state[key.decode()] = value.decode()
        return state


def ok(*args):
    done = varve(*args)
    assert done.returncode == 0, f"varve {' '.join(map(str, args))}: {done}"
    return done.stdout


def fails(code, *args, words=()):
    done = varve(*args)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    for w in words:
        assert w in done.stderr + done.stdout, f"'{w}' is not in: {done}"


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def content(data):
    ok("check", data)
    return {r["key"]: r["value"] for r in rows(ok("scan", "--data", data, "-T", "kv", "-o", "json"))}


def settings(engine, repo):
    return (f"storage.engine={engine}", "storage.memtable_size=64KB",
            "storage.log_segment_size=1MB", "storage.log_limit=4MB", f"backup.dir={repo}",
            "backup.archive_log=true")


def whole_way(tmp, engine):
    data, repo = tmp / engine, tmp / f"{engine}-repo"
    made = []
    with Varved(data, settings(engine, repo)) as server:
        writer = Writer(server.ingest)
        writer.start()
        try:
            for i in range(4):
                want = len(writer.wrote) + 600
                while len(writer.wrote) < want and writer.error is None:
                    writer.stop.wait(0.01)
                args = ("--log-only",) if i == 2 else ()
                made += rows(ok("backup", "create", "--server", server.ingest, "-o", "json", *args))
        finally:
            writer.stop.set()
            writer.join()
        assert writer.error is None, writer.error
        listed = rows(ok("backup", "list", "--server", server.ingest, "-o", "json"))
        assert server.stop() == 0
    assert [r["id"] for r in listed] == [1, 2, 3, 4], listed
    assert [r["kind"] for r in listed] == ["full", "full", "log", "full"], listed
    assert listed == made == rows(ok("backup", "list", "--repo", repo, "-o", "json"))
    ok("backup", "verify", "--repo", repo)
    versions = [int(r["versions"]) for r in listed]
    for i, version in zip((1, 2, 4), (versions[0], versions[1], versions[3])):
        to = tmp / f"{engine}-{i}"
        ok("backup", "restore", str(i), "--repo", repo, "--to", to)
        assert content(to) == writer.state_at(version), (engine, i)
    between = [(versions[0] + versions[1]) // 2, versions[1], versions[2] - 3, versions[3] - 1]
    for version in between:
        to = tmp / f"{engine}-v{version}"
        ok("backup", "restore", "--repo", repo, "--to", to, "--at-version", str(version))
        assert content(to) == writer.state_at(version), (engine, version)
    fails(5, "backup", "restore", "--repo", repo, "--to", tmp / "none", "--at-version",
          str(versions[3] + 1), words=("reaches version",))
    fails(1, "backup", "restore", "--repo", repo, "--to", tmp / f"{engine}-1",
          words=("not empty",))
    return data, repo


def files_can_be_dumped(tmp):
    repo = tmp / "two-repo"
    found = ok("dump", repo / "backup-0000000002").splitlines()
    assert found[0].startswith("backup 2 full ") and found[1].startswith("shard 0 "), found
    assert sum(line.startswith("file ") for line in found) > 2, found
    logs = [f for f in sorted((repo / "files").iterdir()) if f.read_bytes()[:8] == b"VARVEBKL"]
    lines = [ok("dump", f).splitlines() for f in logs]
    assert any(all(e.startswith("entry shard ") for e in part) and part for part in lines), lines
    long = max(logs, key=lambda f: f.stat().st_size)
    for at, name in ((long.stat().st_size - 1, "log"), (40, "head")):
        broken = tmp / f"broken-{name}"
        content = bytearray(long.read_bytes())
        content[at] ^= 1
        broken.write_bytes(content)
        fails(1, "dump", broken, words=("is damaged",))
    run = next(f for f in (tmp / "lsm-repo/files").iterdir() if "-run-" in f.name)
    fails(1, "dump", run, words=("it is a run under another name",))
    identity = struct.pack("<8sIIq", b"VARVEROC", 1, 4, 17)
    (tmp / "IDENTITY").write_bytes(identity + struct.pack("<I", crc32c(identity)))
    assert ok("dump", tmp / "IDENTITY") == "identity of RocksDB's shard 4 format 1 checkpoint 17\n"
    (tmp / "IDENTITY").write_bytes(identity + b"\0\0\0\0")
    fails(1, "dump", tmp / "IDENTITY", words=("checksum",))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def figures(server):
    text = urllib.request.urlopen(f"http://{server.ingest}/metrics").read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines()
            if line.startswith("varve_")}


def transfers(server, rank):
    found = figures(server)
    assert found["varve_compactions_total"] == 0
    return found[f'varve_io_transfers_total{{rank="{rank}"}}']


def copies_rank_behind_reads(tmp):
    with Varved(tmp / "ranked", settings("lsm", tmp / "ranked-repo")) as server:
        for key in ("a", "b"):  # more than a memtable: there is a run to copy
            ok("put", "--server", server.ingest, "-T", "kv", key, "v" * 100000)
        wait_until(lambda: figures(server)["varve_flushes_total"] > 0, 60, "a flush")
        before = transfers(server, "compaction")
        ok("backup", "create", "--server", server.ingest)
        assert transfers(server, "compaction") > before
        assert server.stop() == 0


def of_two_engines(tmp):
    """Past the first table of another engine, which the files of the first backup know nothing of."""
    data, repo = tmp / "two", tmp / "two-repo"
    create = ("backup", "create", "--data", data, "--repo", repo, "--archive-log", "-o", "json")
    ok("put", "--data", data, "-T", "kv", "first", "1")
    before = rows(ok(*create))[0]
    ok("table", "create", "--data", data, "bt", "--engine", "btree")
    for i in range(3):
        ok("put", "--data", data, "-T", "bt", f"key-{i}", str(i))
    after = rows(ok(*create))[0]
    ok("backup", "verify", "--repo", repo)
    ok("backup", "restore", "--repo", repo, "--to", tmp / "two-whole")
    last = int(after["versions"])
    for n, version in enumerate(range(int(before["versions"]), last + 1)):
        to = tmp / f"two-{n}"
        ok("backup", "restore", str(before["id"]), "--repo", repo, "--to", to, "--at-version",
           str(version))
        assert content(to) == {"first": "1"}
        puts = max(0, 3 - (last - version))
        if puts > 0:
            got = rows(ok("scan", "--data", to, "-T", "bt", "-o", "json"))
            assert [r["key"] for r in got] == [f"key-{i}" for i in range(puts)], (version, got)


def on_terminal(*args):
    """The command with its stderr on a terminal: exit code 0, stdout, what was shown."""
    main, side = pty.openpty()
    with subprocess.Popen([str(BUILD / "varve"), *map(str, args)], stdout=subprocess.PIPE,
                          stderr=side, text=True) as process:
        os.close(side)
        shown = b""
        try:
            while part := os.read(main, 65536):
                shown += part
        except OSError:  # how a terminal ends
            pass
        out = process.stdout.read()
        assert process.wait(60) == 0, (args, shown)
    os.close(main)
    return out, shown


def bars(tmp):
    """A bar on a terminal, on a server and on a directory; none on a pipe and with -q."""
    data, repo = tmp / "bars", tmp / "bars-repo"
    whole = b"[" + b"#" * 40 + b"]"
    with Varved(data, (f"backup.dir={repo}",)) as server:
        for i in range(4):
            ok("put", "--server", server.ingest, "-T", "kv", f"k{i}", "v" * 60000)
        create = ("backup", "create", "--server", server.ingest, "-o", "json")
        out, shown = on_terminal(*create)
        assert rows(out)[0]["id"] == 1 and b"copy" in shown and whole in shown, (out, shown)
        out, shown = on_terminal(*create, "-q")
        assert rows(out)[0]["id"] == 2 and shown == b"", (out, shown)
        done = varve(*create)
        assert rows(done.stdout)[0]["id"] == 3 and done.stderr == "", done
        assert server.stop() == 0
    here = (("create", "--data", data), ("verify",), ("restore", "--to", tmp / "bars-back"))
    for verb, *args in here:
        out, shown = on_terminal("backup", verb, "--repo", repo, *args)
        assert out and whole in shown, (verb, out, shown)
    assert content(tmp / "bars-back") == content(data)
    for verb, *args in (here[0], here[1], ("restore", "--to", tmp / "bars-again")):
        done = varve("backup", verb, "--repo", repo, *args)
        assert done.returncode == 0 and done.stderr == "", done


def offline(tmp, data, repo):
    """The same repository, by hand, with the store closed; what did not change is shared."""
    first = rows(ok("backup", "create", "--data", data, "--repo", repo, "-o", "json"))[0]
    second = rows(ok("backup", "create", "--data", data, "--repo", repo, "-o", "json"))[0]
    assert second["new_bytes"] < first["bytes"], (first, second)
    ok("backup", "prune", "--repo", repo, "--keep", "2")
    assert [r["id"] for r in rows(ok("backup", "list", "--repo", repo, "-o", "json"))] == [5, 6]
    ok("backup", "drop", "5", "--repo", repo)
    fails(5, "backup", "drop", "5", "--repo", repo)
    ok("backup", "verify", "--repo", repo)
    to = tmp / "last"
    ok("backup", "restore", "--repo", repo, "--to", to)
    assert content(to) == content(data)


def of_streams(tmp):
    """Messages, positions and what producers sent: in a full backup, an incremental one and one of the log,
    offline and live, and back."""
    data, repo = tmp / "stream", tmp / "stream-repo"
    lines = tmp / "lines"

    def append(first, count, where=data):
        lines.write_text("".join(f"line {i}\n" for i in range(first + count)))
        return ok("stream", "append", "--data", where, "--producer", "p", lines)

    def seen(where):
        ok("check", where)
        values = [r["value"] for r in rows(ok("stream", "read", "--data", where, "-o", "json"))]
        positions = [(r["name"], r["offset"]) for r in rows(ok("stream", "positions", "--data", where, "-o", "json"))]
        return values, positions

    ok("table", "create", "--data", data, "--kind", "stream", "--keep", "30d", "messages")
    wanted = []
    for i in range(3):
        assert f"appended {500} messages" in append(500 * i, 500)
        ok("stream", "read", "--data", data, "--commit", "c", "-n", str(100 + i), "-o", "json")
        wanted.append(seen(data))
        ok("backup", "create", "--data", data, "--repo", repo, "-o", "json")
    made = rows(ok("backup", "list", "--repo", repo, "-o", "json"))
    assert [r["id"] for r in made] == [1, 2, 3], made
    ok("backup", "verify", "--repo", repo)
    for i, want in enumerate(wanted):
        to = tmp / f"stream-{i}"
        ok("backup", "restore", str(i + 1), "--repo", repo, "--to", to)
        assert seen(to) == want, i
        # The producer goes on where it was: nothing is there twice, nothing is missing.
        assert f"appended {1500 - 500 * (i + 1)} messages" in append(1000, 500, to), i
        assert seen(to)[0] == wanted[2][0], i
    table = rows(ok("table", "describe", "--data", tmp / "stream-0", "messages", "-o", "json"))[0]
    assert table["keep_ms"] == 30 * 86_400_000, table
    with Varved(data, settings("lsm", repo)) as server:  # live, and then the log alone
        ok("backup", "create", "--server", server.ingest, "-o", "json")
        ok("put", "--server", server.ingest, "k", "v")
        ok("backup", "create", "--server", server.ingest, "--log-only", "-o", "json")
        assert server.stop() == 0
    ok("backup", "restore", "4", "--repo", repo, "--to", tmp / "stream-live")
    assert seen(tmp / "stream-live") == wanted[2]


def damage(tmp, repo):
    victim = max((repo / "files").iterdir(), key=lambda p: p.stat().st_size)
    whole = victim.read_bytes()
    half = len(whole) // 2
    victim.write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1:])
    fails(1, "backup", "verify", "--repo", repo, words=(victim.name,))
    fails(1, "backup", "restore", "--repo", repo, "--to", tmp / "bad", words=(victim.name,))
    assert not (tmp / "bad" / "VARVE").exists()
    victim.unlink()
    fails(1, "backup", "restore", "--repo", repo, "--to", tmp / "bad", words=(victim.name, "missing"))
    victim.write_bytes(whole)
    ok("backup", "restore", "--repo", repo, "--to", tmp / "bad")


def refusals(tmp):
    with Varved(tmp / "plain") as server:
        fails(1, "backup", "create", "--server", server.ingest, words=("backup.dir",))
        server.stop()
    with Varved(tmp / "unused", (f"backup.dir={tmp}/unused-repo",)) as server:
        assert ok("backup", "list", "--server", server.ingest, "-o", "json") == ""
        server.stop()
    ok("put", "--data", tmp / "timed", "k", "v")
    made = rows(ok("backup", "create", "--data", tmp / "timed", "--repo", tmp / "timed-repo", "-o",
                   "json"))[0]
    fails(5, "backup", "restore", "--repo", tmp / "timed-repo", "--to", tmp / "early", "--at-time",
          "2001-02-03T04:05:06Z", words=("2001-02-03T04:05:06Z lies before", "last change is of "
                                         + made["time"][:10]))
    fails(2, "backup", words=("create, list",))
    fails(2, "backup", "restore", "--repo", tmp / "x", words=("--to",))
    fails(5, "backup", "list", "--repo", tmp / "plain", words=("no repository",))
    fails(1, "backup", "create", "--data", tmp / "plain", "--repo", tmp / "plain")


def engines(tmp):
    """Those of the build."""
    made = varve("table", "create", "--data", tmp / "probe", "t", "--engine", "rocksdb")
    if made.returncode != 0:
        assert "no engine rocksdb" in made.stderr, made
    return ("lsm", "btree") + (("rocksdb",) if made.returncode == 0 else ())


def main():
    with TempDir() as tmp:
        for engine in engines(tmp):
            data, repo = whole_way(tmp, engine)
            if engine == "lsm":
                offline(tmp, data, repo)
                damage(tmp, repo)
        of_streams(tmp)
        of_two_engines(tmp)
        files_can_be_dumped(tmp)
        copies_rank_behind_reads(tmp)
        bars(tmp)
        refusals(tmp)
    print("backup: live backups hold the state of their version, and are restored to it")


if __name__ == "__main__":
    main()
