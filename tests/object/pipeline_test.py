#!/usr/bin/python3
"""Messages from gRPC to a real object store, while varved and the store are killed again and again.

Law: each message that was acknowledged is in exactly one object, in order per producer, at the offset
that was answered; offsets have no gap. Held against it are the JSON lines beside the objects, fetched
by a client of others; a store made out of the objects alone; and a read through varved from offset 0.
While the store is away the directory keeps to processing.waiting_size, appends are refused with a
sentence, /ready says why; all of that ends with the outage.

pipeline_test.py ceph|swift starts that store alone; peers_test.py goes on with its own. VARVE_BUILD is
a build with the hooks (-Dtest_hooks=true): some kills are at points of the code (VV_POINT_END).
"""
import base64
import collections
import ctypes
import ctypes.util
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
import peers  # noqa: E402
from clients import Rclone, S3cmd, installed, make_bucket  # noqa: E402
from tool import CLEAN  # noqa: E402
from varvelib import Messages, TempDir, Varved, method, varve, wait_until  # noqa: E402

BUCKET = "varve-pipeline"
TABLES = {"events": 2, "plain": 1, "large": 1}  # partitions
LINES = ("events", "large")  # those with JSON lines beside their objects
WAITING = 512 << 10
POINT_EXIT = 86
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
         grpc.StatusCode.UNKNOWN)
Row = collections.namedtuple("Row", "partition offset value")


class Node:
    """varved, which comes and goes; its data stay."""

    def __init__(self, tmp, peer, messages):
        self.tmp, self.peer, self.pb = tmp, peer, messages
        self.server = None
        self.address = None  # None: it is down

    def settings(self, waiting):
        keys = {"storage.backend": "s3", "storage.bucket": BUCKET, "storage.endpoint": self.peer.endpoint,
                "storage.region": "us-east-1", "storage.request_timeout_ms": 3000,
                "storage.breaker_open_ms": 200, "storage.tier_cache_size": "1MB",
                "storage.memory_limit": "64MB", "storage.log_segment_size": "1MB",
                "storage.log_limit": "4MB", "storage.memtable_size": "1MB", "storage.shards": 2,
                "server.max_message_size": "12MB", "retry.max_retries": 1,
                "retry.initial_backoff_ms": 10, "retry.max_backoff_ms": 50,
                "processing.batch_timeout_ms": 100, "processing.batch_bytes": "256KB",
                "processing.local_age": "0s", "processing.grace": "100ms", "processing.uploads": 4,
                "processing.failures_max": 2, "processing.waiting_size": waiting}
        return [f"{k}={v}" for k, v in keys.items()]

    def start(self, point="", waiting=64 << 20):
        """point: where this one is to end, "NAME:N"."""
        env = CLEAN | self.keys() | ({"VV_POINT_END": point} if point else {})
        self.server = Varved(self.tmp / "data", self.settings(waiting), env=env)
        self.address = self.server.ingest

    def keys(self):
        return {"AWS_ACCESS_KEY_ID": self.peer.access, "AWS_SECRET_ACCESS_KEY": peers.SECRET}

    def kill(self):
        self.address = None
        self.server.kill()

    def await_end(self, point):
        """It ends by itself, where it was told to."""
        code = self.server.process.wait(90)
        self.address = None
        self.server._close()
        assert code == POINT_EXIT, f"varved ended with {code}, not at {point}"

    def stop(self):
        self.address = None
        assert self.server.stop() == 0, "the exit code after SIGTERM"

    def end(self):
        if self.server is not None:
            self.server.__exit__(None, None, None)

    def disk(self):
        """Bytes that the directory takes; files go while we look."""
        total = 0
        for where, _, names in os.walk(self.tmp / "data"):
            for name in names:
                try:
                    total += os.stat(os.path.join(where, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total

    def varve(self, *words):
        done = varve(*words, env=CLEAN | self.keys())
        assert done.returncode == 0, f"{words}: {done}"
        return done.stdout

    def store_options(self):
        return ["--backend", "s3", "--bucket", BUCKET, "--endpoint", self.peer.endpoint, "--region",
                "us-east-1"]


class Producer(threading.Thread):
    """Appends numbered messages, each batch until it is acknowledged, whatever happens meanwhile."""

    def __init__(self, node, table, name, batches=None, size=(20, 300), count=(1, 20)):
        super().__init__(daemon=True)
        self.node, self.table, self.tag = node, table, name
        self.batches, self.size, self.count = batches, size, count
        self.rng = random.Random(name)
        self.done = threading.Event()
        self.error = None
        self.acked = []     # values, in order
        self.places = []    # (partition, first offset, index of the first value)
        self.refusals = []  # sentences
        self.channel = None

    def run(self):
        try:
            while not self.done.is_set() and self.batches != 0:
                if self.batches is not None:
                    self.batches -= 1
                self.append_one()
                time.sleep(0.01)
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def append_one(self):
        request = self.node.pb.AppendRequest(producer=self.tag.encode(), sequence=len(self.acked))
        request.table.table = self.table
        for i in range(self.rng.randint(*self.count)):
            n = len(self.acked) + i
            m = request.messages.add(event_time_ns=1 + n, source=self.tag)
            m.value = f"{self.tag} {n} ".encode() + self.body()
            m.attributes.add(name="n", i64=n)
        reply = self.until_taken(request)
        if not reply.offset_gone:
            self.places.append((reply.partition, reply.first_offset, len(self.acked)))
        self.acked += [m.value for m in request.messages]

    def body(self):
        size = self.rng.randint(*self.size)
        return self.rng.randbytes(size) if size > 1000 else self.rng.randbytes(size // 2).hex().encode()

    def until_taken(self, request):
        while True:
            address = self.node.address
            if address is not None:
                try:
                    return self.call(address)(request, timeout=20)
                except grpc.RpcError as e:
                    if "wait for the object store" in e.details():
                        self.refusals.append((e.code(), e.details()))
                    elif e.code() not in AGAIN:
                        raise
            time.sleep(0.02)

    def call(self, address):
        if self.channel is None or self.channel[0] != address:
            if self.channel is not None:
                self.channel[1].close()
            self.channel = (address, grpc.insecure_channel(address))
        return method(self.channel[1], "unary_unary", "/varve.v1.Stream/Append",
                      self.node.pb.AppendResponse)


class Bed:
    def __init__(self, tmp, peer):
        self.tmp, self.peer = tmp, peer
        self.node = Node(tmp, peer, Messages().stream)
        self.node.start()
        for table, partitions in TABLES.items():
            rule = {"events": ["--archive", "also=jsonl"], "plain": [],
                    "large": ["--archive", "also=jsonl,size=6M,age=1s"]}[table]
            self.node.varve("table", "create", table, "--kind", "stream", "--partitions", partitions,
                            "--server", self.node.address, *rule)
        self.producers = [Producer(self.node, t, f"p{i}") for i, t in enumerate(["events"] * 3 + ["plain"])]
        for p in self.producers:
            p.start()

    def metric(self, name):
        return self.node.server.metric("varve_" + name)

    def wait(self, condition, what, seconds=90):
        def look():
            for p in self.producers:
                assert p.error is None, f"{p.tag}: {p.error}"
            return condition()
        wait_until(look, seconds, what)

    def grows(self, what, by, of):
        """Wait until of(producer) has grown for each that goes on for ever."""
        endless = [(p, of(p)) for p in self.producers if p.batches is None]
        self.wait(lambda: all(of(p) >= n + by for p, n in endless), what)

    def appends_go_on(self):
        self.grows("appends", 1, lambda p: len(p.acked))

    def goes_on(self):
        """Every producer is acknowledged, and objects are stored."""
        self.appends_go_on()
        stored = self.metric("tier_objects_total")
        self.wait(lambda: self.metric("tier_objects_total") > stored, "an object")

    def upload_hangs(self):
        """The store takes an upload of each partition, and does not answer: lines, and an object."""
        self.peer.freeze_gateway()
        parts = {(p.table, p.places[-1][0]) for p in self.producers if p.batches is None}
        self.wait(lambda: self.metric("tier_uploading") >= len(parts), "uploads on their way")

    def not_ready(self):
        self.wait(lambda: self.node.server.get("/ready")[0] == 503, "a node that is not ready")
        said = self.node.server.get("/ready")[1]
        assert "object store" in said and peers.SECRET not in said, said

    def ready(self):
        self.wait(lambda: self.node.server.get("/ready")[0] == 200, "readiness")


# ---- what goes wrong ----


def the_store_dies(bed):
    bed.peer.kill_gateway()
    bed.not_ready()
    bed.appends_go_on()
    bed.peer.start_gateway()
    bed.ready()
    bed.goes_on()


def the_store_dies_in_an_upload(bed):
    bed.upload_hangs()
    bed.peer.kill_gateway()
    bed.wait(lambda: bed.metric("tier_consecutive_failures") > 0, "an upload that failed")
    bed.peer.start_gateway()
    bed.goes_on()


def varved_dies_in_an_upload(bed):
    """What was on its way takes effect when its sender is gone, perhaps beside its next sender's."""
    bed.upload_hangs()
    bed.node.kill()
    bed.peer.thaw_gateway()
    bed.node.start()
    bed.goes_on()


def both_die_in_an_upload(bed):
    bed.upload_hangs()
    bed.node.kill()
    bed.peer.kill_gateway()
    bed.node.start()  # first, so that it begins without its store
    bed.appends_go_on()
    bed.peer.start_gateway()
    bed.goes_on()


def varved_dies_at(bed, *points):
    for point in points:
        bed.node.kill()
        bed.node.start(point)
        if point.startswith("tier.after_part"):  # of an object in parts
            bed.producers.append(Producer(bed.node, "large", "large", batches=1,
                                          size=(1 << 20, 1 << 20), count=(8, 8)))
            bed.producers[-1].start()
        bed.node.await_end(point)
        bed.node.start()
        bed.goes_on()


def waiting_is_bounded(bed):
    """A store that is away costs so much disk; then appends are refused, until it is back."""
    bed.node.stop()
    bed.node.start(waiting=WAITING)
    bed.ready()
    for p in bed.producers:  # the large one, whose only append is more than the bound
        if p.batches is not None:
            p.join(60)
            assert not p.is_alive(), f"{p.table}: its append has no answer"
    bed.wait(lambda: bed.metric("tier_waiting_bytes") < WAITING / 2, "what waited to be stored")
    before = bed.node.disk()
    bed.peer.kill_gateway()
    bed.grows("refusals of every producer", 1, lambda p: len(p.refusals))
    waits, disk = bed.metric("tier_waiting_bytes"), bed.node.disk()
    assert WAITING * 7 / 8 <= waits <= WAITING + 4 * 20 * 500, f"{waits} bytes wait"
    # The log's files, which are made ahead and kept to their limit, and the messages twice.
    assert disk <= before + 2 * WAITING + (8 << 20), f"{before} bytes of disk became {disk}"
    code, said = bed.producers[0].refusals[-1]
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and f"s3://{BUCKET}/messages, which has failed for" in said, \
        (code, said)
    bed.not_ready()
    bed.peer.start_gateway()
    bed.ready()
    bed.goes_on()


# ---- what is there in the end ----


def drain(bed):
    for p in bed.producers:
        p.done.set()
    for p in bed.producers:
        p.join(90)
        assert not p.is_alive() and p.error is None, f"{p.tag}: {p.error}"
    bed.wait(lambda: bed.metric("tier_waiting_messages") == 0 and bed.metric("tier_uploading") == 0,
             "everything in objects")


def hold(bed, rows, source):
    """{table: rows} against what was acknowledged."""
    for table, got in rows.items():
        at = {}
        for r in got:
            assert (r.partition, r.offset) not in at, f"{source}: {table}: offset {r.offset} is there twice"
            at[r.partition, r.offset] = r.value
        for partition in range(TABLES[table]):
            offsets = sorted(o for p, o in at if p == partition)
            assert offsets == list(range(len(offsets))), f"{source}: {table}: a gap in partition {partition}"
        by_producer = collections.defaultdict(list)
        for place in sorted(at):
            by_producer[at[place].split(b" ", 1)[0].decode()].append(at[place])
        want = {p.tag: p for p in bed.producers if p.table == table}
        assert set(by_producer) == set(want), f"{source}: {table}: producers {set(by_producer)}"
        for tag, p in want.items():
            assert by_producer[tag] == p.acked, \
                f"{source}: {tag}: {len(by_producer[tag])} messages, {len(p.acked)} acknowledged, or another order"
            for partition, first, index in p.places:
                assert at[partition, first] == p.acked[index], f"{source}: {tag}: offset {first}"


def read_through_varved(bed):
    """Stream.Read from offset 0; raises RpcError."""
    rows = {}
    with grpc.insecure_channel(bed.node.address, [("grpc.max_receive_message_length", 64 << 20)]) as channel:
        read = method(channel, "unary_stream", "/varve.v1.Stream/Read", bed.node.pb.ReadStreamResponse)
        for table, partitions in TABLES.items():
            rows[table] = []
            for partition in range(partitions):
                request = bed.node.pb.ReadStreamRequest(partition=partition)
                request.table.table = table
                for page in read(request, timeout=90):
                    assert page.skipped == 0, page.skipped
                    rows[table] += [Row(partition, m.offset, m.value) for m in page.messages]
    return rows


def varved_reads_in_place(bed):
    """Nothing but positions is left here: without the store there is no reading, with it all of it."""
    bed.peer.kill_gateway()
    try:
        read_through_varved(bed)
    except grpc.RpcError as e:
        assert BUCKET in e.details(), e
    else:
        raise AssertionError("messages that should lie in objects alone were read without the store")
    bed.peer.start_gateway()
    bed.ready()
    hold(bed, read_through_varved(bed), "a read through varved")
    assert bed.metric("tier_cache_misses_total") > 0


def listed(bed):
    """The objects of each table as a closed directory knows them; none dies any more."""
    for _ in range(10):
        bed.node.stop()
        out = {t: [json.loads(line) for line in bed.node.varve(
            "archive", "list", "--data", bed.tmp / "data", "--table", t, "-o", "json").splitlines()]
            for t in TABLES}
        if all(r["state"] == "stored" for rows in out.values() for r in rows):
            return out
        bed.node.start()  # it goes on removing what was merged
        time.sleep(1)
    raise AssertionError(f"objects that do not go: {out}")


def line_value(line):
    """Of a line beside an object, or of one that the command line prints."""
    value = line.get("value")
    text = line.get("value_base64") or (value["base64"] if isinstance(value, dict) else None)
    return value.encode() if text is None else base64.b64decode(text)


def unpack(data, size_max=64 << 20):
    """A zstd frame: by the library, since the tool need not be there."""
    zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(size_max)
    n = zstd.ZSTD_decompress(out, ctypes.c_size_t(size_max), data, ctypes.c_size_t(len(data)))
    assert not zstd.ZSTD_isError(ctypes.c_size_t(n)), "JSON lines that are no zstd frame"
    return out.raw[:n]


def others_read_the_objects(bed, known):
    """The bucket holds what the table knows and nothing else; the lines beside are the messages."""
    clients = installed(Rclone, S3cmd)
    if not clients:
        print("SKIPPED: neither rclone nor s3cmd is there to fetch the objects")
        return
    into = bed.tmp / "fetched"
    clients[0](bed.peer, BUCKET, bed.tmp).fetch("messages", into)
    rows = {}
    for table in TABLES:
        files = {str(f) for f in into.rglob("*") if f.is_file() and f"/default/{table}/" in str(f)}
        objects = {f for f in files if f.endswith(".varve")}
        names = [r["object"] for r in known[table]]
        assert len(objects) == len(names) and all(any(f.endswith(n) for f in objects) for n in names), \
            f"{table}: {sorted(objects)} fetched, {names} known"
        lines = files - objects
        if table not in LINES:
            assert not lines, lines
            continue
        assert len(lines) == len(objects) and all(f.endswith(".jsonl.zst") for f in lines), lines
        got = [json.loads(line) for f in lines for line in unpack(pathlib.Path(f).read_bytes()).splitlines()]
        rows[table] = [Row(line["partition"], line["offset"], line_value(line)) for line in got]
    hold(bed, rows, f"JSON lines by {clients[0].name}")


def objects_are_enough(bed):
    """A directory made out of the objects alone."""
    other = bed.tmp / "other"  # which has tables of which there is an object
    bed.node.varve("archive", "attach", "--data", other, *bed.node.store_options())
    rows = {}
    for table in {p.table for p in bed.producers}:
        out = bed.node.varve("archive", "export", "--data", other, "--table", table, "-o", "json",
                             *bed.node.store_options())
        lines = [json.loads(line) for line in out.splitlines()]
        rows[table] = [Row(line.get("partition", 0), line["offset"], line_value(line)) for line in lines]
    hold(bed, rows, "what was attached")


def verify(bed):
    varved_reads_in_place(bed)
    known = listed(bed)
    bed.node.varve("check", bed.tmp / "data")
    others_read_the_objects(bed, known)
    objects_are_enough(bed)
    return known


def run(peer):
    """Against a store that has the bucket. Swift, which is slow, gets a shorter way."""
    start = time.monotonic()
    with TempDir() as tmp:
        bed = Bed(tmp, peer)
        try:
            bed.ready()
            bed.goes_on()
            the_store_dies(bed)
            varved_dies_in_an_upload(bed)
            varved_dies_at(bed, "tier.after_intent:2", "tier.after_put:2")
            if peer.conditional:
                the_store_dies_in_an_upload(bed)
                both_die_in_an_upload(bed)
                varved_dies_at(bed, "tier.after_done:2", "tier.after_remove:1", "tier.after_part:1")
                waiting_is_bounded(bed)
            drain(bed)
            known = verify(bed)
        finally:
            for p in bed.producers:
                p.done.set()
            bed.node.end()
    count = sum(len(p.acked) for p in bed.producers)
    objects = sum(len(rows) for rows in known.values())
    print(f"ok {peer.name}: pipeline: {count} messages once in {objects} objects, "
          f"{sum(len(p.refusals) for p in bed.producers)} appends refused, "
          f"{time.monotonic() - start:.0f} s", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="varve-peer-") as directory:
        peer = peers.KINDS[sys.argv[1]](pathlib.Path(directory) / "peer")
        try:
            peer.start_all()
            make_bucket(peer, BUCKET)
            run(peer)
        except BaseException:
            peer.stop()
            peer.print_logs()
            raise
        finally:
            peer.stop()


if __name__ == "__main__":
    main()
