#!/usr/bin/python3
"""From gRPC to objects, one JSON line: pipeline.py [--store radosgw|file|none] [--seconds N] ..

Starts a store (Ceph's radosgw over a monitor and an OSD in memory, or a directory) and varved of the
release build on its defaults, and sends messages of 256 bytes with bench_pipeline: acknowledged when
synced, producers with sequences. Looks at /metrics and /proc twice a second meanwhile; waits until
everything is in objects; then makes a store out of the objects alone and reads every message from it,
once each and in order, and some of them one by one (bench_tier). Everything shares the machine: the
line has the processor's time of each part. What it made is removed.

With `none` nothing is archived: what the way to the log alone takes. `archive`, instead of all that:
how fast what waits gets to the store, beside the store's own rate and zstd -1.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lib"))
sys.path.insert(0, str(ROOT / "tests" / "object"))
import clients  # noqa: E402
import peers  # noqa: E402
from varvelib import BUILD, Varved  # noqa: E402

BUCKET = "varve-bench"
TABLE = "messages"
TICK = os.sysconf("SC_CLK_TCK")
# Threads of varved by what they do; the names are cut off at 15 bytes.
PARTS = [("archiver", ("varve-tier",)), ("flush", ("varve-flush",)), ("compaction", ("varve-work",)),
         ("workers", ("vv-message",)), ("loops", ("vv-loop",)), ("commit", ("varve-commit", "varve-log"))]


def cpu_of(path):
    """User and system time of a process or a thread, in seconds."""
    try:
        text = pathlib.Path(path, "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields = text[text.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_by_part(pid):
    parts = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except OSError:
            continue
        part = next((p for p, names in PARTS if name.startswith(names)), "other")
        parts[part] = parts.get(part, 0.0) + cpu_of(task)
    return parts


def memory_mb(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}")


def metrics(server):
    with urllib.request.urlopen(f"http://{server.ingest}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r"^(varve_\w+(?:{[^}]*})?) (\S+)$", text, re.M)}


class Radosgw:
    def __init__(self, directory):
        for again in (True, False):  # at times the gateway does not find its OSD
            self.peer = peers.Ceph(directory / f"peer{again:d}")
            try:
                self.peer.start_all()
                clients.make_bucket(self.peer, BUCKET)
                break
            except BaseException as e:
                self.peer.stop()
                if not again or not isinstance(e, RuntimeError):
                    raise
        self.settings = {"backend": "s3", "endpoint": self.peer.endpoint, "bucket": BUCKET,
                         "region": "us-east-1", "access_key": peers.ACCESS, "secret_key": peers.SECRET}

    def cpu(self):
        return sum(cpu_of(f"/proc/{p.pid}") for p in self.peer.running)

    def stop(self):
        self.peer.stop()


class Directory:
    def __init__(self, directory):
        self.settings = {"backend": "file", "bucket": str(directory / "objects")}

    def cpu(self):
        return 0.0

    def stop(self):
        pass


class Nothing:
    settings = {}

    def cpu(self):
        return 0.0

    def stop(self):
        pass


def bench_tier(store, *words, **kwargs):
    args = [f"{k}={v}" for k, v in store.settings.items()] + ["prefix=messages"]
    done = subprocess.run([str(BUILD / "bench" / "bench_tier"), *args, *map(str, words)],
                          capture_output=True, text=True, timeout=kwargs.pop("timeout", 300), check=False)
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"bench_tier {words[0]}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout), done.returncode == 0


class Samples:
    """What was seen of varved, twice a second."""

    def __init__(self, server):
        self.server = server
        self.rss = []
        self.lag = []
        self.waiting = []

    def take(self):
        m = metrics(self.server)
        self.rss.append(memory_mb(self.server.process.pid, "VmRSS"))
        self.lag.append(m.get("varve_tier_lag_seconds", 0.0))
        self.waiting.append(m.get("varve_tier_waiting_messages", 0.0))
        return m

    def third(self, n):
        size = max(1, len(self.rss) // 3)
        return round(statistics.median(self.rss[n * size:(n + 1) * size] or self.rss[-1:]), 1)


def drive(server, args):
    """The load, and what was seen meanwhile."""
    load = subprocess.Popen([str(BUILD / "bench" / "bench_pipeline"), server.ingest, TABLE,
                             str(args.seconds), str(args.producers), str(args.batch), str(args.rate)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    samples = Samples(server)
    while load.poll() is None:
        time.sleep(0.5)
        samples.take()
    out, err = load.communicate()
    if load.returncode != 0:
        raise RuntimeError(f"bench_pipeline: {out}{err}")
    return json.loads(out), samples


def drain(server, seconds):
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        m = metrics(server)
        if m["varve_tier_waiting_messages"] == 0 and m["varve_tier_uploading"] == 0:
            return round(time.monotonic() - begin, 2)
        time.sleep(0.1)
    raise RuntimeError(f"after {seconds} s {m['varve_tier_waiting_messages']:.0f} messages still wait")


def rounded(parts, messages):
    return {name: round(seconds * 1e6 / messages, 3) for name, seconds in sorted(parts.items())}


def measure(store, directory, args):
    settings = [f"storage.{k}={v}" for k, v in store.settings.items()] + args.set
    server = Varved(directory / "data", settings)
    with server:
        pid = server.process.pid
        before, store_before = cpu_by_part(pid), store.cpu()
        load, samples = drive(server, args)
        at_end, store_end = cpu_by_part(pid), store.cpu()
        drained = drain(server, 120) if store.settings else 0.0
        after, store_after = cpu_by_part(pid), store.cpu()
        last = metrics(server)
        peak = memory_mb(pid, "VmHWM")
        server.stop(120)
    messages = load["acknowledged"]
    parts = {k: v - before.get(k, 0.0) for k, v in after.items()}
    during = sum(at_end.values()) - sum(before.values())
    line = {"bench": "pipeline", "store": args.store, "message_bytes": 256, "batch": load["batch"],
            "producers": load["producers"], "seconds": load["seconds"], "acknowledged": messages,
            "per_s": load["per_s"], "floor_per_s": 500000, "append_p50_ms": load["p50_ms"],
            "append_p99_ms": load["p99_ms"], "busy": load["busy"], "duplicates": load["duplicates"],
            "lag_median_s": round(statistics.median(samples.lag), 2), "lag_max_s": round(max(samples.lag), 2),
            "waiting_max_messages": max(samples.waiting), "drain_s": drained,
            "rss_mb": [samples.third(0), samples.third(1), samples.third(2)],
            "rss_max_mb": round(max(samples.rss), 1), "rss_peak_mb": round(peak, 1),
            "cpu_us": round(sum(parts.values()) * 1e6 / messages, 3),
            "cpu_us_without_archiver": round((sum(parts.values()) - parts.get("archiver", 0.0)) * 1e6 /
                                             messages, 3),
            "cpu_us_by_part": rounded(parts, messages), "client_cpu_us": load["client_cpu_us"],
            "store_cpu_us": round((store_after - store_before) * 1e6 / messages, 3),
            "cores_used_under_load": {"varved": round(during / load["seconds"], 2),
                                      "client": round(load["client_cpu_us"] * messages / 1e6 /
                                                      load["seconds"], 2),
                                      "store": round((store_end - store_before) / load["seconds"], 2)},
            "upload_failures": last.get("varve_tier_failures_total", 0.0)}
    return line, load["next"]


def archive(store, directory, args):
    for partitions in (1, 2):
        line, _ = bench_tier(store, "archive", directory / f"archive{partitions}", args.mib, partitions)
        shutil.rmtree(directory / f"archive{partitions}", ignore_errors=True)
        print(json.dumps(dict(line, store=args.store)), flush=True)
    return 0


def whole(store, directory, args):
    put = 0.0
    if store.settings:
        put = bench_tier(store, "put", 2)[0]["mb_per_s"]
    line, expected = measure(store, directory, args)
    ok = True
    if store.settings:
        check, ok = bench_tier(store, "check", directory / "attached", TABLE, args.batch_bytes,
                               ",".join(map(str, expected)))
        one, two_gets = bench_tier(store, "one", directory / "attached", TABLE, 50)
        ok = ok and two_gets
        line.update({"put_mb_per_s": put, "read_back": check["messages"], "wrong": check["wrong"],
                     "read_back_per_s": check["read_per_s"], "objects": check["objects"],
                     "object_mb": round(check["object_bytes"] / 1e6, 1),
                     "objects_by_size": check["objects_by_size"],
                     "within_5_percent": check["within_5_percent"],
                     "object_smallest": check["smallest"], "object_largest": check["largest"], "ratio": check["ratio"],
                     "zstd1_ratio": check["zstd1_ratio"], "one_requests_max": one["requests_max"],
                     "one_p50_ms": one["p50_ms"], "one_max_ms": one["max_ms"],
                     "one_next_requests_max": one["next_requests_max"],
                     "one_next_p50_ms": one["next_p50_ms"]})
    print(json.dumps(line), flush=True)
    return 0 if ok else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="?", default="pipeline", choices=["pipeline", "archive"])
    parser.add_argument("--store", default="radosgw", choices=["radosgw", "file", "none"])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--producers", type=int, default=16)
    parser.add_argument("--batch", type=int, default=500, help="messages a request")
    parser.add_argument("--rate", type=float, default=0, help="messages a second at most")
    parser.add_argument("--mib", type=int, default=512, help="archive: of messages")
    parser.add_argument("--batch-bytes", type=int, default=64 << 20, help="processing.batch_bytes, as set")
    parser.add_argument("--set", action="append", default=[], help="a setting of varved, key=value")
    args = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="varve-bench-", dir=os.environ.get("VARVE_BENCH_DIR")))
    store = None
    try:
        store = {"radosgw": Radosgw, "file": Directory}.get(args.store, lambda _: Nothing())(directory)
        return (archive if args.what == "archive" else whole)(store, directory, args)
    except peers.Missing as missing:
        print(f"pipeline.py: {missing}")
        return 77
    finally:
        if store is not None:
            store.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
