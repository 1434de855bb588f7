#!/usr/bin/python3
"""A mixed load against varved under a memory limit: its resident memory stays under it.

    memory_soak.py [--seconds 600] [--limit 256] [--svg FILE]

Ingest batches, single and batched puts with overwrites, deletes of keys and ranges, large values,
range scans, queries that sort, transactions; flushes and compactions follow from them. Once a
second the resident set of the process is read. It must not pass storage.memory_limit: code,
libraries, stacks and what the allocator loses included (docs/memory.md). Every value read is
checked against its key. A refusal (RESOURCE_EXHAUSTED, ABORTED) is an answer and counted; every
kind of work must have been done. Nothing depends on how much gets done in the time.

The last line is one JSON object; with --svg the samples are drawn.
"""
import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import ROOT, Messages, TempDir, Varved, method  # noqa: E402

PB = Messages()
MIB = 1 << 20
RECORDS = 500
PART = 'varve_memory_part_bytes{part="'
TOKENS = 4000
KEYS = 200_000
ANSWERS = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED,
           grpc.StatusCode.UNAVAILABLE)
SERIES = (("RSS", "#b3261e", 2), ("counted by the limit", "#1f5fa8", 1.5))


def batch_template():
    """An IngestBatch whose ids hold a token of eight bytes, to be replaced in the encoded form."""
    req = PB.ingestion.IngestBatchRequest()
    for i in range(RECORDS):
        r = req.records.add()
        r.id.tenant_id.id = "soak"
        r.id.entity_id.id = f"rAAAAAAAA-{i:04d}"
        r.data.fields["site"].string_value = f"site-{i % 17}"
        r.data.fields["value"].number_value = i * 1.5
        r.data.fields["text"].string_value = "x" * (i % 120)
        r.schema.name = "records"
    return req.SerializeToString()


def value_of(key, size, rng):
    return key + b"=" + rng.randbytes(size // 2).hex().encode()


def table(req):
    req.table.tenant = "soak"
    req.table.table = "kv"
    return req


class Load(threading.Thread):
    """One kind of work until the end. What is wrong is kept for the main thread."""

    def __init__(self, kind, server, seed, stop):
        super().__init__(daemon=True)
        self.kind = kind
        self.stop = stop
        self.rng = random.Random(f"{seed}-{kind.__name__}")
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        self.ingest = grpc.insecure_channel(server.ingest, options)
        self.query = grpc.insecure_channel(server.query, options)
        self.done = 0
        self.refused = 0
        self.error = None

    def run(self):
        step = self.kind(self)
        while not self.stop.is_set():
            try:
                next(step)
                self.done += 1
            except grpc.RpcError as e:
                step = self.kind(self)
                if e.code() not in ANSWERS:
                    self.error = e
                    return
                self.refused += 1
                self.stop.wait(0.05)
            except Exception as e:  # pylint: disable=broad-except
                self.error = e
                return

    def key(self):
        return b"k%06d" % self.rng.randrange(KEYS)

    def check(self, key, value):
        if not value.startswith(key + b"="):
            raise AssertionError(f"{key!r} holds {value[:40]!r}")


def ingest_batches(load):
    call = load.ingest.unary_unary("/storage.IngestionService/IngestBatch",
                                   response_deserializer=PB.ingestion.IngestBatchResponse.FromString)
    template = batch_template()
    n = 0
    while True:
        reply = call(template.replace(b"AAAAAAAA", b"%08d" % (n % TOKENS)), timeout=120)
        if reply.successful_count != RECORDS:
            raise AssertionError(f"batch: {reply.status}")
        n += 1
        yield


def overwrites(load):
    call = method(load.query, "unary_unary", "/varve.v1.Kv/Batch", PB.kv.BatchResponse)
    while True:
        req = PB.kv.BatchRequest(durability=PB.kv.DURABILITY_OS)
        for _ in range(100):
            put = table(req.operations.add().put)
            put.key = load.key()
            put.value = value_of(put.key, load.rng.choice((60, 400, 400, 3000)), load.rng)
        for _ in range(10):
            table(req.operations.add().delete).key = load.key()
        call(req, timeout=120)
        yield


def points(load):
    put = method(load.query, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)
    get = method(load.query, "unary_unary", "/varve.v1.Kv/Get", PB.kv.GetResponse)
    while True:
        key = load.key()
        put(table(PB.kv.PutRequest(key=key, value=value_of(key, 100, load.rng),
                                   durability=PB.kv.DURABILITY_OS)), timeout=120)
        for _ in range(5):
            key = load.key()
            got = get(table(PB.kv.GetRequest(key=key)), timeout=120)
            if got.found:
                load.check(key, got.value)
        yield


def large_values(load):
    put = method(load.query, "unary_unary", "/varve.v1.Kv/Put", PB.kv.PutResponse)
    get = method(load.query, "unary_unary", "/varve.v1.Kv/Get", PB.kv.GetResponse)
    while True:
        key = b"large%02d" % load.rng.randrange(20)
        put(table(PB.kv.PutRequest(key=key, value=value_of(key, load.rng.choice((MIB, 6 * MIB)),
                                                           load.rng))), timeout=120)
        got = get(table(PB.kv.GetRequest(key=key)), timeout=120)
        load.check(key, got.value)
        yield
        load.stop.wait(0.2)


def range_deletes(load):
    call = method(load.query, "unary_unary", "/varve.v1.Kv/Delete", PB.kv.DeleteResponse)
    while True:
        begin = load.key()
        call(table(PB.kv.DeleteRequest(key=begin, range_end=begin[:5] + b"~")), timeout=120)
        yield
        load.stop.wait(0.5)


def scans(load):
    call = method(load.query, "unary_stream", "/varve.v1.Kv/Scan", PB.kv.ScanResponse)
    while True:
        last = b""
        for page in call(table(PB.kv.ScanRequest(begin=load.key(), limit=20_000)), timeout=120):
            for e in page.entries:
                load.check(e.key, e.value)
                if e.key <= last:
                    raise AssertionError(f"{e.key!r} after {last!r}")
                last = e.key
        yield


def queries(load):
    call = method(load.query, "unary_unary", "/storage.QueryService/Query", PB.query.QueryResponse)
    while True:
        req = PB.query.QueryRequest(limit=2000)
        req.tenant_id.id = "soak"
        req.schema.name = "records"
        f = req.filters.add(column="site", operator="=")
        f.value.string_value = f"site-{load.rng.randrange(17)}"
        order = req.order_by.add()
        order.column = "value"
        for r in call(req, timeout=120).records:
            if r.data.fields["site"].string_value != f.value.string_value:
                raise AssertionError(f"a record of {r.data.fields['site']}")
        yield
        load.stop.wait(0.5)


def transactions(load):
    txn = {}
    for name in ("Begin", "Get", "Put", "Commit"):
        reply = PB.kv.GetResponse if name == "Get" else \
            getattr(PB.txn, "TxnWriteResponse" if name == "Put" else f"Txn{name}Response")
        txn[name] = method(load.query, "unary_unary", f"/varve.v1.Txn/{name}", reply)
    while True:
        tid = txn["Begin"](PB.txn.TxnBeginRequest(durability=PB.kv.DURABILITY_OS), timeout=120).txn
        for _ in range(10):
            key = load.key()
            got = txn["Get"](table(PB.txn.TxnGetRequest(txn=tid, key=key)), timeout=120)
            if got.found:
                load.check(key, got.value)
            txn["Put"](table(PB.txn.TxnPutRequest(txn=tid, key=key,
                                                  value=value_of(key, 200, load.rng))), timeout=120)
        txn["Commit"](PB.txn.TxnCommitRequest(txn=tid), timeout=120)
        yield


KINDS = (ingest_batches, overwrites, points, large_values, range_deletes, scans, queries,
         transactions)


def metrics(server):
    with urllib.request.urlopen(f"http://{server.query}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def rss_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("the server is gone")


def draw(path, samples, limit, title):
    """The samples as one picture: RSS and what the limit counts, over time, with the bound."""
    width, height, left, bottom, top = 860, 380, 60, 40, 50
    span = max(samples[-1][0], 1)
    high = limit * 1.25

    def x(t):
        return left + (width - left - 20) * t / span

    def y(b):
        return height - bottom - (height - bottom - top) * b / high

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="20" font-size="14">{title}</text>']
    for mib in range(0, int(high / MIB) + 1, 64):
        out.append(f'<path d="M{left} {y(mib * MIB):.1f}H{width - 20}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y(mib * MIB) + 4:.1f}" text-anchor="end">{mib}</text>')
    for i in range(6):
        t = span * i / 5
        out.append(f'<text x="{x(t):.1f}" y="{height - bottom + 18}" text-anchor="middle">'
                   f'{t:.0f}</text>')
    out.append(f'<path d="M{left} {y(limit):.1f}H{width - 20}" stroke="#444" '
               'stroke-dasharray="6 4"/>'
               f'<text x="{width - 24}" y="{y(limit) - 5:.1f}" text-anchor="end">'
               'storage.memory_limit</text>')
    for i, (name, color, thick) in enumerate(SERIES):
        line = " ".join(f"{x(s[0]):.1f},{y(s[1 + i]):.1f}" for s in samples)
        out.append(f'<polyline points="{line}" fill="none" stroke="{color}" '
                   f'stroke-width="{thick}"/>'
                   f'<text x="{left + 10 + 70 * i}" y="40" fill="{color}">{name}</text>')
    out.append(f'<text x="{left}" y="{height - 6}">seconds; MiB</text></svg>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


def soak(server, args, loads, stop):
    samples = []
    began = time.monotonic()
    while time.monotonic() - began < args.seconds:
        time.sleep(1)
        rss = rss_of(server.process.pid)
        m = metrics(server)
        samples.append((time.monotonic() - began, rss, m["varve_memory_used_bytes"],
                        {k[len(PART):-2]: int(v) for k, v in m.items() if k.startswith(PART)}))
        for load in loads:
            if load.error is not None:
                raise AssertionError(f"{load.kind.__name__}: {load.error}") from load.error
        if rss > args.limit * MIB and not args.free:
            raise AssertionError(f"RSS of {rss} bytes after {samples[-1][0]:.0f} s: over the limit "
                                 f"of {args.limit} MiB")
    stop.set()
    return samples


def report(server, args, idle, samples, loads):
    m = metrics(server)
    top = max(samples, key=lambda s: s[1])
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True, check=False).stdout.strip()
    summary = {
        "bench": "memory_soak", "date": datetime.date.today().isoformat(), "commit": commit,
        "seconds": args.seconds, "limit_mib": args.limit,
        "rss_idle": idle, "rss_max": top[1], "rss_last": samples[-1][1],
        "counted_max": int(max(s[2] for s in samples)),
        "parts_then": max(samples, key=lambda s: s[2])[3],
        "parts_at_rss_max": top[3],
        "over_counted_max": int(max(s[1] - s[2] for s in samples)),
        "done": {load.kind.__name__: load.done for load in loads},
        "refused": {load.kind.__name__: load.refused for load in loads if load.refused},
        "flushes": m["varve_flushes_total"], "compactions": m["varve_compactions_total"],
        "disk_bytes": m["varve_disk_size_bytes"], "user_bytes": m["varve_user_bytes_total"],
    }
    print(json.dumps(summary))
    if args.svg:
        draw(args.svg, samples, args.limit * MIB,
             f"varved, storage.memory_limit={args.limit}MB, {args.seconds} s of mixed load, "
             f"{summary['date']}, {commit}")
    for load in loads:
        if load.done == 0:
            raise AssertionError(f"{load.kind.__name__} was never done")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=int, default=int(os.environ.get("VV_SOAK_SECONDS", "600")))
    p.add_argument("--limit", type=int, default=256, help="storage.memory_limit in MiB")
    p.add_argument("--seed", default=os.environ.get("VV_SEED", "1"))
    p.add_argument("--svg", help="draw the samples into this file")
    p.add_argument("--free", action="store_true", help="measure only: RSS is not held to the bound")
    args = p.parse_args()
    with TempDir() as tmp, Varved(tmp / "data", [f"storage.memory_limit={args.limit}MB"]) as server:
        idle = rss_of(server.process.pid)
        stop = threading.Event()
        loads = [Load(kind, server, args.seed, stop) for kind in KINDS]
        for load in loads[:2]:
            next(load.kind(load))  # the first write makes its table
        for load in loads:
            load.start()
        samples = soak(server, args, loads, stop)
        for load in loads:
            load.join()
        report(server, args, idle, samples, loads)
        assert server.stop(120) == 0


if __name__ == "__main__":
    main()
