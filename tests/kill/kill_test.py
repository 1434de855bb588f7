#!/usr/bin/python3
"""Real SIGKILL, real process: rounds of writing, killing at a random moment, restarting, checking.

Law: after every restart each acknowledged write is there with its exact value, a transactional
batch is wholly there or wholly gone, and `varve check` finds nothing wrong at the end.

VV_KILL_ROUNDS (300) and VV_SEED change how many and which. The rounds are split into a store and a
seed for each core, because a round mostly waits. The report of a failure names the seed and the
round; "kill_test.py SEED ROUNDS" repeats one part.
"""
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import Messages, TempDir, Varved, method, varve  # noqa: E402

PB = Messages()
ROUNDS = int(os.environ.get("VV_KILL_ROUNDS", "300"))
SEED = int(os.environ.get("VV_SEED", "1"), 0)
BATCH = 20


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

    def ack(self, ids, text):
        with self.lock:
            for i in ids:
                self.acked[i] = text


def stream_writer(channel, book, tag, stop):
    """IngestStream with an ack per group commit; everything up to the acked sequence is promised."""
    call = method(channel, "stream_stream", "/storage.IngestionService/IngestStream",
                  PB.ingestion.IngestStreamResponse)
    sent = []

    def requests():
        init = PB.ingestion.IngestStreamRequest()
        init.init.tenant_id.id = "kill"
        init.init.options["ack"] = "batch"
        yield init
        n = 0
        while not stop.is_set():
            rid = f"{tag}-s{n}"
            n += 1
            sent.append(rid)
            m = PB.ingestion.IngestStreamRequest()
            m.record.CopyFrom(record(rid, "stream " + rid))
            yield m

    done = 0
    try:
        for reply in call(requests()):
            if reply.HasField("error"):
                raise AssertionError(f"stream error: {reply.error}")
            if reply.HasField("ack"):
                for rid in sent[done:reply.ack.sequence_number]:
                    book.ack([rid], "stream " + rid)
                done = max(done, reply.ack.sequence_number)
    except grpc.RpcError:
        pass


def batch_writer(channel, book, tag, stop):
    """Transactional batches: all or nothing."""
    call = method(channel, "unary_unary", "/storage.IngestionService/IngestBatch",
                  PB.ingestion.IngestBatchResponse)
    n = 0
    while not stop.is_set():
        ids = [f"{tag}-b{n}-{i}" for i in range(BATCH)]
        n += 1
        req = PB.ingestion.IngestBatchRequest(transactional=True)
        req.records.extend(record(i, "batch " + i) for i in ids)
        with book.lock:
            book.maybe[ids[0]] = ids
        try:
            reply = call(req)
        except grpc.RpcError:
            return
        if reply.successful_count != BATCH:
            raise AssertionError(f"batch: {reply}")
        with book.lock:
            del book.maybe[ids[0]]
            for i in ids:
                book.acked[i] = "batch " + i


def kv_writer(channel, book, tag, stop):
    """Overwrites of few keys: the newest acknowledged value, or a later attempted one, must stand."""
    put = method(channel, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)
    n = 0
    while not stop.is_set():
        key = f"k{n % 7}"
        value = f"{tag}:{n}"
        n += 1
        with book.lock:
            acked, tried = book.kv.get(key, (None, []))
            book.kv[key] = (acked, tried + [value])
        req = PB.kv.PutRequest(key=key.encode(), value=value.encode())
        req.table.tenant = "kill"
        req.table.table = "kv"
        try:
            put(req)
        except grpc.RpcError:
            return
        with book.lock:
            book.kv[key] = (value, [])


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
    book.maybe.clear()


def run_rounds(seed, rounds):
    rng = random.Random(seed)
    total = 0
    with TempDir() as tmp:
        data = tmp / "data"
        old = {}
        kv = {}
        for n in range(rounds):
            book = Book()
            book.kv = kv  # few keys, overwritten in every round
            book.acked.update(rng.sample(sorted(old.items()), min(len(old), 100)))
            # Small memtables, so that kills fall into flushes and compactions too.
            with Varved(data, ["storage.memtable_size=256KB", "storage.log_segment_size=1MB",
                               "storage.log_limit=4MB"]) as server:
                stop = threading.Event()
                channels = [grpc.insecure_channel(server.ingest) for _ in range(3)]
                threads = [threading.Thread(target=f, args=(c, book, f"r{n}", stop))
                           for f, c in zip((stream_writer, batch_writer, kv_writer), channels)]
                for t in threads:
                    t.start()
                time.sleep(rng.uniform(0.01, 0.15))
                server.kill()
                stop.set()
                for t in threads:
                    t.join(30)
                for c in channels:
                    c.close()
            where = f"seed {seed} round {n}"
            with Varved(data) as server:
                check(server, book, where)
                if rng.random() < 0.5:
                    server.kill()  # a kill right after recovery
                else:
                    assert server.stop() == 0, f"{where}: exit code after SIGTERM"
            total += len(book.acked)
            old.update(book.acked)
            if len(old) > 20000:
                old = dict(rng.sample(sorted(old.items()), 10000))
        result = varve("check", "--data", data)
        assert result.returncode == 0, f"varve check: {result.stdout}{result.stderr}"
    print(f"{rounds} rounds, {total} acknowledged writes checked, seed {seed}")


def main():
    if len(sys.argv) == 3:
        run_rounds(int(sys.argv[1], 0), int(sys.argv[2]))
        return
    parts = min(os.cpu_count() or 1, 4)
    running = [subprocess.Popen([sys.executable, __file__, str(SEED + i),
                                 str((ROUNDS + parts - 1 - i) // parts)]) for i in range(parts)]
    codes = [p.wait() for p in running]
    assert codes == [0] * parts, f"exit codes {codes}"


if __name__ == "__main__":
    main()
