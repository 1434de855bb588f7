#!/usr/bin/python3
"""Real SIGKILL, real process: rounds of writing, killing at a random moment, restarting, checking.

Law: after every restart each acknowledged write is there with its exact value, a transactional
batch is wholly there or wholly gone, and `varve check` finds nothing wrong at the end. Nothing is
refused before the kill, and each writer is acknowledged at least once in every second round.

VV_KILL_ROUNDS (300) and VV_SEED change how many and which, VV_ENGINE_BTREE=1 takes that engine. The
rounds take the I/O backends in turn, and the one after it recovers. They are split into a store and
a seed for each core, because a round mostly waits. The report of a failure names the seed and the
round; "kill_test.py SEED ROUNDS" repeats one part.
"""
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import Messages, TempDir, Varved, method, varve, wait_until  # noqa: E402

PB = Messages()
ROUNDS = int(os.environ.get("VV_KILL_ROUNDS", "300"))
SEED = int(os.environ.get("VV_SEED", "1"), 0)
ENGINE = "btree" if "VV_ENGINE_BTREE" in os.environ else "lsm"
MAGIC = {"lsm": b"VARVEMAN", "btree": b"VARVETRE"}
BACKENDS = ("posix", "threads", "io_uring")
BATCH = 20
LINES = 8


def record(rid, text):
    r = PB.common.DataRecord()
    r.id.tenant_id.id = "kill"
    r.id.entity_id.id = rid
    r.data.fields["v"].string_value = text
    r.schema.name = "records"
    return r


class Book:
    """What was promised: values by id, acknowledged and merely attempted."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acked = {}
        self.maybe = {}    # batches that got no answer: list of ids -> text
        self.kv = {}
        self.samples = {}  # by tag: [samples acknowledged, samples sent]

    def ack(self, ids, text):
        with self.lock:
            for i in ids:
                self.acked[i] = text


class Writer(threading.Thread):
    """One kind of load until the kill. What goes wrong before it is kept, for the round to raise."""

    def __init__(self, kind, server, book, tag):
        super().__init__()
        self.kind = kind
        self.book = book
        self.tag = tag
        self.killed = threading.Event()
        self.address = server.ingest
        self.channel = grpc.insecure_channel(server.ingest)
        self.acks = 0
        self.error = None

    def run(self):
        try:
            self.kind(self)
            assert self.killed.is_set(), "the calls ended before the kill"
        except (grpc.RpcError, http.client.HTTPException, OSError) as e:
            if not self.killed.is_set():
                self.error = e
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def check(self, where):
        if self.error is not None:
            raise AssertionError(f"{where}: {self.kind.__name__}: {self.error}") from self.error


def stream_writer(w):
    """IngestStream with an ack per group commit; everything up to the acked sequence is promised."""
    call = method(w.channel, "stream_stream", "/storage.IngestionService/IngestStream",
                  PB.ingestion.IngestStreamResponse)
    sent = []

    def requests():
        init = PB.ingestion.IngestStreamRequest()
        init.init.tenant_id.id = "kill"
        init.init.options["ack"] = "batch"
        yield init
        n = 0
        while not w.killed.is_set():
            rid = f"{w.tag}-s{n}"
            n += 1
            sent.append(rid)
            m = PB.ingestion.IngestStreamRequest()
            m.record.CopyFrom(record(rid, "stream " + rid))
            yield m

    done = 0
    for reply in call(requests()):
        if reply.HasField("error"):
            raise AssertionError(f"stream error: {reply.error}")
        if reply.HasField("ack"):
            for rid in sent[done:reply.ack.sequence_number]:
                w.book.ack([rid], "stream " + rid)
            done = max(done, reply.ack.sequence_number)
            w.acks = done


def batch_writer(w):
    """Transactional batches: all or nothing."""
    call = method(w.channel, "unary_unary", "/storage.IngestionService/IngestBatch",
                  PB.ingestion.IngestBatchResponse)
    n = 0
    while not w.killed.is_set():
        ids = [f"{w.tag}-b{n}-{i}" for i in range(BATCH)]
        n += 1
        req = PB.ingestion.IngestBatchRequest(transactional=True)
        req.records.extend(record(i, "batch " + i) for i in ids)
        with w.book.lock:
            w.book.maybe[ids[0]] = ids
        reply = call(req)
        if reply.successful_count != BATCH:
            raise AssertionError(f"batch: {reply}")
        with w.book.lock:
            del w.book.maybe[ids[0]]
            for i in ids:
                w.book.acked[i] = "batch " + i
        w.acks += 1


def kv_writer(w):
    """Overwrites of few keys: the newest acknowledged value, or a later attempted one, must stand."""
    put = method(w.channel, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)
    n = 0
    while not w.killed.is_set():
        key = f"k{n % 7}"
        value = f"{w.tag}:{n}"
        n += 1
        with w.book.lock:
            acked, tried = w.book.kv.get(key, (None, []))
            w.book.kv[key] = (acked, tried + [value])
        req = PB.kv.PutRequest(key=key.encode(), value=value.encode())
        req.table.tenant = "kill"
        req.table.table = "kv"
        put(req)
        with w.book.lock:
            w.book.kv[key] = (value, [])
        w.acks += 1


def sample_writer(w):
    """Line protocol: a request is an entry, samples of two new series whole in it or not at all."""
    conn = http.client.HTTPConnection(w.address, timeout=30)
    counts = w.book.samples.setdefault(w.tag, [0, 0])
    while not w.killed.is_set():
        first = counts[1]
        counts[1] += LINES
        body = "".join(f"kill,tag={w.tag},of={of} v={n} {n}\n"
                       for n in range(first, first + LINES) for of in "ab")
        conn.request("POST", "/write?db=samples&precision=s", body)
        answer = conn.getresponse()
        said = answer.read()
        if answer.status != 204:
            raise AssertionError(f"samples: {answer.status} {said}")
        counts[0] = counts[1]
        w.acks += 1


WRITERS = (stream_writer, batch_writer, kv_writer, sample_writer)


def get_many(channel, ids):
    call = method(channel, "unary_unary", "/storage.QueryService/GetRecords",
                  PB.query.GetRecordsResponse)
    found = {}
    for at in range(0, len(ids), 500):
        req = PB.query.GetRecordsRequest()
        for i in ids[at:at + 500]:
            rid = req.record_ids.add()
            rid.tenant_id.id = "kill"
            rid.entity_id.id = i
        for r in call(req, timeout=30).results:
            if r.found:
                found[r.record_id.entity_id.id] = r.record.data.fields["v"].string_value
    return found


def check_samples(server, book, where):
    """Of each tag of the round: two series that are alike, from the first sample on without a gap."""
    conn = http.client.HTTPConnection(server.query, timeout=60)
    for tag, (acked, sent) in book.samples.items():
        conn.request("GET", "/api/v1/series/query?" + urllib.parse.urlencode(
            {"table": "samples", "match": f'kill_v{{tag="{tag}"}}', "start": 0, "end": 10 ** 9}))
        answer = conn.getresponse()
        said = answer.read()
        if answer.status == 404 and acked == 0:
            continue  # no table yet
        found = [s["points"] for s in json.loads(said)["series"]]
        want = [[n * 1000, n] for n in range(len(found[0]) if found else 0)]
        if len(found) not in (0, 2) or any(points != want for points in found):
            raise AssertionError(f"{where}: samples of {tag} have a gap, or are there in part")
        if not acked <= len(want) <= sent or len(want) % LINES != 0:
            raise AssertionError(f"{where}: {len(want)} samples of {tag}, {acked} acknowledged")
    conn.close()


def check(server, book, where):
    """Hold what is stored against the book; what was checked once is sampled later."""
    with grpc.insecure_channel(server.query) as channel:
        found = get_many(channel, list(book.acked))
        for rid, text in book.acked.items():
            if found.get(rid) != text:
                raise AssertionError(f"{where}: acknowledged {rid} is {found.get(rid)!r}")
        for ids in list(book.maybe.values()):
            there = get_many(channel, ids)
            if len(there) not in (0, len(ids)):
                raise AssertionError(f"{where}: {len(there)} of {len(ids)} of a transaction")
        get = method(channel, "unary_unary", "/varve.v1.Kv/Get", PB.kv.GetResponse)
        for key, (acked, tried) in list(book.kv.items()):
            req = PB.kv.GetRequest(key=key.encode())
            req.table.tenant = "kill"
            req.table.table = "kv"
            try:
                got = get(req, timeout=30)
                now = got.value.decode() if got.found else None
            except grpc.RpcError as e:
                if e.code() != grpc.StatusCode.NOT_FOUND:
                    raise
                now = None
            if now != acked and now not in tried:
                raise AssertionError(f"{where}: {key} is {now!r}, acknowledged {acked!r}")
            book.kv[key] = (now, [])
    check_samples(server, book, where)
    book.maybe.clear()


def write_and_kill(server, book, kinds, where, rng, wait):
    """Write until a random moment, then SIGKILL. With wait the moment comes after each writer's
    first acknowledgement; without, perhaps before any."""
    writers = [Writer(kind, server, book, f"r{where.split()[-1]}") for kind in kinds]
    for w in writers:
        w.start()
    try:
        if wait:
            wait_until(lambda: all(w.acks > 0 or w.error is not None for w in writers), 120,
                       f"{where}: an acknowledgement of every writer")
        time.sleep(rng.uniform(0.01, 0.15))
    finally:
        for w in writers:
            w.killed.set()
        server.kill()
        for w in writers:
            w.join(30)
            w.channel.close()
    for w in writers:
        assert not w.is_alive(), f"{where}: {w.kind.__name__} does not end"
        w.check(where)
    return [w.acks for w in writers]


def one_round(data, book, kinds, n, where, rng, settings):
    backend, other = (f"storage.io_backend={BACKENDS[i % len(BACKENDS)]}" for i in (n, n + 1))
    # Small memtables, so that kills fall into flushes and compactions too.
    with Varved(data, ["storage.memtable_size=256KB", "storage.log_segment_size=1MB",
                       "storage.log_limit=4MB", f"storage.engine={ENGINE}", backend,
                       *settings]) as server:
        acks = write_and_kill(server, book, kinds, where, rng, n % 2 == 0)
    with Varved(data, [other]) as server:
        check(server, book, where)
        if rng.random() < 0.5:
            server.kill()  # a kill right after recovery
        else:
            assert server.stop() == 0, f"{where}: exit code after SIGTERM"
    return acks


def run_rounds(tmp, seed, rounds, kinds=WRITERS, settings=()):
    rng = random.Random(seed)
    total = 0
    acks = [0] * len(kinds)
    data = tmp / "data"
    old = {}
    kv = {}
    samples = {}  # of earlier rounds
    for n in range(rounds):
        book = Book()
        book.kv = kv  # few keys, overwritten in every round
        book.acked.update(rng.sample(sorted(old.items()), min(len(old), 100)))
        book.samples = dict(rng.sample(sorted(samples.items()), min(len(samples), 3)))
        now = one_round(data, book, kinds, n, f"seed {seed} round {n}", rng, settings)
        acks = [a + b for a, b in zip(acks, now)]
        total += len(book.acked)
        old.update(book.acked)
        samples.update(book.samples)
        if len(old) > 20000:
            old = dict(rng.sample(sorted(old.items()), 10000))
    assert min(acks) >= (rounds + 1) // 2, f"seed {seed}: acknowledgements by writer: {acks}"
    result = varve("check", "--data", data)
    assert result.returncode == 0, f"varve check: {result.stdout}{result.stderr}"
    shard = data / "shard-000"
    manifest = shard / (shard / "CURRENT").read_text().split()[0]
    assert manifest.read_bytes()[:8] == MAGIC[ENGINE], f"the store is not of the engine {ENGINE}"
    if "no io_uring here" in (tmp / "data.log").read_text(errors="replace"):
        print("SKIPPED: the rounds of io_uring ran on threads: the kernel refuses rings")
    print(f"{ENGINE}: {rounds} rounds on {', '.join(BACKENDS)} in turn, {total} acknowledged writes "
          f"checked, seed {seed}, acknowledgements {dict(zip((k.__name__ for k in kinds), acks))}")


def a_refusing_server_is_noticed():
    """The test itself: each writer, alone against a server that refuses its writes, fails the run."""
    for kind in WRITERS:
        with TempDir() as tmp:
            try:
                run_rounds(tmp, 1, 1, (kind,), ["ingest.auto_create=false"])
            except AssertionError as e:
                assert kind.__name__ in str(e) and "acknowledgement" not in str(e), str(e)
                continue
        raise SystemExit(f"{kind.__name__}: a server that refuses every write was not noticed")


def main():
    if len(sys.argv) == 3:
        with TempDir() as tmp:
            run_rounds(tmp, int(sys.argv[1], 0), int(sys.argv[2]))
        return
    a_refusing_server_is_noticed()
    parts = min(os.cpu_count() or 1, 4)
    running = [subprocess.Popen([sys.executable, __file__, str(SEED + i),
                                 str((ROUNDS + parts - 1 - i) // parts)]) for i in range(parts)]
    codes = [p.wait() for p in running]
    assert codes == [0] * parts, f"exit codes {codes}"


if __name__ == "__main__":
    main()
