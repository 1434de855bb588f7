#!/usr/bin/python3
"""A server that ends at each point between an append and the commit of a position, one after another.

Producers with sequences append to a table with rules, in batches that go to a store of files at
once; a consumer commits what it has read. varved ends itself, as by SIGKILL, at the point of
VV_POINT_END (src/base/point.h), is started with the next point, and everybody sends again what was
not answered. So each start is the recovery from one crash and runs into the next.

Law, after each start: every message that was acknowledged is there once, in the order of its
producer, with its bytes; poison is among the dead letters once; the position stands where its last
acknowledged commit put it, or where one without an answer did. At the end, by the objects: each
offset is in one of them, no other object is left, every byte verifies, and a directory made of the
objects alone has the same messages.

points_test.py [POINT[:N] ...]; a build with test_hooks.
"""
import http.client
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import Messages, TempDir, Varved, method, varve  # noqa: E402

PB = Messages()
EXIT = 86  # VV_POINT_EXIT
POINTS = [
    # an append: read, its attributes made, its place given, in the log, durable, answered
    "stream.decoded:9", "stream.extracted:9", "stream.reserved:9", "db.before_append:20",
    "db.after_append:20", "wal.ring_header:20", "wal.ring_batch:20", "wal.before_write:12",
    "wal.after_write:12", "stream.written:9", "server.before_write:15", "server.after_write:15",
    # a batch: chosen, made, announced, stored, called stored, gone from local files
    "tier.cut:2", "tier.built:3", "tier.after_intent:1", "tier.after_intent:3", "tier.before_put:2",
    "object.file.synced:1", "object.file.synced:4", "object.file.summed:2", "object.file.summed:3",
    "object.file.named:2", "object.file.named:3", "tier.after_put:1", "tier.after_put:3",
    "tier.before_done:2", "tier.after_done:1", "tier.before_local:2", "tier.after_local:1",
    # batches become one; what they were goes
    "tier.merge_built:1", "tier.before_remove:1", "object.file.unsummed:1",
    "tier.after_remove:1", "tier.after_bury:1",
    # a position
    "stream.before_commit:2", "stream.after_commit:2",
]
RULES = "n = json $.n int\nok = json $.ok int required\n"
SETTINGS = ["storage.backend=file", "processing.batch_size=25", "processing.batch_timeout_ms=20",
            "processing.local_age=0s", "processing.grace=100ms", "storage.log_segment_size=1MB",
            "storage.shards=2"]
PRODUCERS = 3  # of partitions 0, 1, 0


def is_poison(n):
    return n % 10 == 7


def text_of(producer, n):
    good = {} if is_poison(n) else {"ok": 1}
    return json.dumps({"p": producer, "n": n, **good, "pad": "x" * (n * 7 % 200)})


def next_of(n, poison):
    """The first number from n on that is poison, or is not."""
    while is_poison(n) != poison:
        n += 1
    return n


class Book:
    """What was promised, by whom; what was found so far."""

    def __init__(self):
        self.acked = [0] * PRODUCERS    # messages of a producer that were acknowledged
        self.pending = [0] * PRODUCERS  # sent behind them without an answer
        self.next = {}                  # (producer, is it poison): the next number that was not seen
        self.at = {}                    # (table, partition): read up to here
        self.trimmed = 0                # of partition 1: asked for
        self.position = 0               # acknowledged
        self.trying = 0                 # asked for


class Client(threading.Thread):
    """Calls until the server is gone. What else goes wrong is kept for the test to raise."""

    def __init__(self, work, server, book, *args):
        super().__init__()
        self.work = lambda: work(self, book, *args)
        self.ingest = server.ingest
        self.conn = http.client.HTTPConnection(server.ingest, timeout=30)
        self.error = None

    def run(self):
        try:
            self.work()
        except (OSError, http.client.HTTPException, grpc.RpcError):
            pass  # the end; what was on its way has no answer
        except Exception as e:  # pylint: disable=broad-except
            self.error = e
        self.conn.close()

    def call(self, verb, path, body=None, ok=(200,)):
        self.conn.request(verb, "/api/v1/stream" + path, body)
        answer = self.conn.getresponse()
        said = answer.read().decode()
        assert answer.status in ok, f"{verb} {path}: {answer.status} {said}"
        return said


def produce(c, book, p):
    while True:
        first = book.acked[p]
        book.pending[p] = book.pending[p] or 1 + first % 5
        count = book.pending[p]
        body = "\n".join(json.dumps({"value": text_of(p, n)}) for n in range(first, first + count))
        said = json.loads(c.call("POST", f"/append?table=events&partition={p % 2}&producer=p{p}"
                                         f"&sequence={first}", body))
        alive = sum(not is_poison(n) for n in range(first, first + count))
        assert said["count"] == alive, (said, first, count)
        book.acked[p] = first + count
        book.pending[p] = 0
        time.sleep(0.008)


def consume(c, book):
    while True:
        lines = c.call("GET", f"/read?table=events&from={book.position}&limit=20").splitlines()
        if lines:
            book.trying = json.loads(lines[-1])["offset"] + 1
            c.call("POST", f"/positions?table=events&name=reader&offset={book.trying}")
            book.position = book.trying
        time.sleep(0.01)


def trim(c, book):
    """What was looked at of partition 1 may go."""
    with grpc.insecure_channel(c.ingest) as channel:
        book.trimmed = book.at["events", 1]
        ask = PB.stream.PositionRequest(partition=1, offset=book.trimmed)
        ask.table.table = "events"
        method(channel, "unary_unary", "/varve.v1.Stream/Trim", PB.stream.TrimResponse)(ask, timeout=30)


# ---- what is there ----


def look(book, table, partition, lines):
    """Messages of a partition from where the last look ended: dense, each producer's in order."""
    for line in lines:
        m = json.loads(line)
        told = json.loads(m["value"])
        p, n = told["p"], told["n"]
        kind = p, is_poison(n)
        assert m["offset"] == book.at.get((table, partition), 0), (table, partition, book.at, m)
        assert n == book.next.get(kind, next_of(0, kind[1])), (table, partition, book.next, m)
        assert m["value"] == text_of(p, n) and p % 2 == partition, (table, partition, m)
        assert is_poison(n) == (table == "events.dead") == ("_dead_reason" in m.get("attributes", {})), m
        book.at[table, partition] = m["offset"] + 1
        book.next[kind] = next_of(n + 1, kind[1])


def check_producer(book, p, where):
    """All of an append is there, or none."""
    for end in {book.acked[p], book.acked[p] + book.pending[p]}:
        if all(book.next.get((p, kind), next_of(0, kind)) == next_of(end, kind) for kind in (False, True)):
            return
    raise AssertionError(f"{where}: producer {p}: {book.acked[p]} were acknowledged, {book.pending[p]} "
                         f"on their way; there: {book.next}")


def check(server, book, where):
    c = Client(lambda *_: None, server, book)
    for table in ("events", "events.dead"):
        for partition in (0, 1):
            at = book.at.get((table, partition), 0)
            look(book, table, partition, c.call(
                "GET", f"/read?table={table}&partition={partition}&from={at}", ok=(200,)).splitlines())
    for p in range(PRODUCERS):
        check_producer(book, p, where)
    said = json.loads(c.call("GET", "/positions?table=events"))["positions"]
    at = said[0]["offset"] if said else 0
    assert at in (book.position, book.trying), f"{where}: the position is {at}, {vars(book)}"
    book.position = book.trying = at
    c.conn.close()


# ---- lives ----


def live(server, book, point, before):
    """What is there, then everybody at work, until the server is gone."""
    clients = []
    try:
        check(server, book, f"{before}, then {point}")
        works = [(produce, p) for p in range(PRODUCERS)] + [(consume,)]
        for work, *args in [(trim,), *works] if point.startswith("tier.after_bury") else works:
            clients.append(Client(work, server, book, *args))
            clients[-1].start()
            if work == trim:  # before objects have what comes, too
                clients[-1].join()
        server.process.wait(30)
    except (OSError, http.client.HTTPException):
        server.process.wait(30)  # gone while we looked
    except subprocess.TimeoutExpired:
        said = [str(c.error) for c in clients if c.error is not None]
        raise AssertionError(f"{point} was not reached: is it a build with test_hooks? "
                             f"{said}") from None
    finally:
        server.process.kill()
        for c in clients:
            c.join()
    for c in clients:
        if c.error is not None:
            raise AssertionError(f"{point}: {c.error}") from c.error


def one_life(data, settings, point, book, before):
    """From a start, which recovers from the point before, to the end at this one."""
    try:
        server = Varved(data, settings, env=dict(os.environ, VV_POINT_END=point))
    except RuntimeError as e:
        assert f"ended with {EXIT} " in str(e), e
        return  # while it recovered
    with server:
        live(server, book, point, before)
        code = server.process.wait()
        assert code == EXIT, f"{point}: exit code {code}"


def run(*args):
    done = varve(*args)
    assert done.returncode == 0, f"{args}: {done.returncode} {done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check_objects(data, bucket, tmp, book):
    """Every offset in one object, nothing else there; the objects alone have the messages."""
    store = ["--backend", "file", "--bucket", bucket]
    names = []
    for table in ("events", "events.dead"):  # each also removes what is due of the other
        run("archive", "--data", data, "--table", table, *store, "run", "--local", "0")
    for table in ("events", "events.dead"):
        where = ["--data", data, "--table", table]
        rows = run("archive", *where, "list", "-o", "json")
        assert {r["state"] for r in rows} <= {"stored", "dying"}, rows
        names += [r["object"] for r in rows]
        for partition in (0, 1):
            at = 0
            own = [r for r in rows if (r["partition"], r["state"]) == (partition, "stored")]
            for r in sorted(own, key=lambda r: r["first"]):
                assert r["first"] == at or at == 0 < r["first"] <= book.trimmed, (table, partition, r, at)
                at = r["next"]
            assert at == book.at[table, partition], (table, partition, at, book.at)
        run("archive", *where, *store, "verify", "--whole")
    found = [str(f.relative_to(bucket / "messages")) for f in (bucket / "messages").rglob("*.varve")]
    assert sorted(found) == sorted(names), set(found) ^ set(names)
    run("check", data)
    run("archive", "attach", "--data", tmp / "attached", *store)
    for table in ("events", "events.dead"):
        for partition in (0, 1):  # below its first offset objects wait for their grace to end
            args = ["--table", table, *store, "export", "--partition", partition]
            here = run("archive", "--data", data, *args)
            there = run("archive", "--data", tmp / "attached", *args, "--from", here[0]["offset"])
            assert [(m["offset"], m["value"]) for m in here] == [
                (m["offset"], m["value"]) for m in there], (table, partition)


def main():
    points = sys.argv[1:] or POINTS
    began = time.monotonic()
    book = Book()
    with TempDir() as tmp:
        data, bucket = tmp / "data", tmp / "bucket"
        settings = SETTINGS + [f"storage.bucket={bucket}"]
        (tmp / "rules").write_text(RULES)
        with Varved(data, settings) as server:
            assert server.stop() == 0
        for table in (["events", "--extract", tmp / "rules"], ["events.dead"]):
            run("table", "create", "--data", data, "--kind", "stream", "--partitions", 2, *table)
        before = "nothing"
        for point in points:
            one_life(data, settings, point, book, before)
            before = point
        with Varved(data, settings) as server:
            check(server, book, before)
            assert server.stop() == 0
        check_objects(data, bucket, tmp, book)
    print(f"{len(points)} ends, {sum(book.acked)} messages acknowledged and found once, "
          f"{time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
