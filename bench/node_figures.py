#!/usr/bin/python3
"""The figures of a whole node, one JSON line each: node_figures.py [--short] [--runs N]

Starts varved of the release build on a fresh directory for each figure, drives it with bench_rpc
from the same machine, and prints the median of N runs (5, or 1 with --short) with all of them.
Nothing is relaxed: checksums on, acknowledged after sync.
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "lib"))
from varvelib import BUILD, Varved  # noqa: E402

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def rpc(server, mode, seconds, in_flight, first_id=0):
    done = subprocess.run([str(BUILD / "bench" / "bench_rpc"), mode, server.ingest, server.query,
                           str(seconds), str(in_flight), str(first_id)], capture_output=True,
                          text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bench_rpc {mode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def rss_mb(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def fresh(settings=()):
    path = tempfile.mkdtemp(prefix="varve-bench-", dir=os.environ.get("VARVE_BENCH_DIR"))
    return Varved(pathlib.Path(path) / "data", settings)


def discard(server):
    if server.process.poll() is None:
        server.stop()
    shutil.rmtree(server.data.parent, ignore_errors=True)


def load_figure(mode, seconds, in_flight):
    server = fresh()
    try:
        return rpc(server, mode, seconds, in_flight)
    finally:
        discard(server)


def reads(short):
    """GetRecord and a 1,000-record time range out of a million records, flushed and cached or not."""
    server = fresh()
    thousands = 200 if short else 1000
    try:
        wrote = 0
        while wrote < thousands * 1000:
            wrote = rpc(server, "batch", 2, 4, wrote)["next_id"]
        time.sleep(2)
        return (rpc(server, "get", 2 if short else 5, thousands),
                rpc(server, "range", 2 if short else 5, thousands))
    finally:
        discard(server)


def idle():
    server = fresh()
    try:
        time.sleep(1)
        empty = rss_mb(server)
        conns = []
        for i in range(1000):
            port = server.ports["ingest"] if i % 2 else server.ports["query"]
            s = socket.create_connection(("127.0.0.1", port))
            s.sendall(PREFACE)
            conns.append(s)
        time.sleep(1)
        full = rss_mb(server)
        for s in conns:
            s.close()
        return empty, full
    finally:
        discard(server)


def restart(short):
    """Fill the log with 1 KiB values, kill, and time from exec to the first answer."""
    server = fresh(["storage.memtable_size=128MB" if short else "storage.memtable_size=2GB",
                    "storage.memory_limit=12GB", "storage.log_limit=4GB",
                    "server.max_connections=1100"])
    try:
        target = (100 if short else 1024) << 20
        done = subprocess.run([str(BUILD / "bench" / "bench_rpc"), "put1k", server.ingest,
                               server.query, str(target), "256"], capture_output=True, text=True,
                              timeout=900, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        server.kill()
        begin = time.monotonic()
        again = Varved(server.data, ["storage.memtable_size=2GB", "storage.memory_limit=12GB",
                                     "storage.log_limit=4GB"])
        took = time.monotonic() - begin
        again.stop()
        return took, target >> 20
    finally:
        discard(server)


def show(name, value, unit, runs, floor):
    print(json.dumps({"figure": name, "median": value, "unit": unit, "floor": floor,
                      "runs": [round(r, 3) for r in runs]}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    runs = args.runs or (1 if args.short else 5)
    seconds = 2 if args.short else 5

    def wanted(name):
        return args.only in name

    for name, mode, in_flight, floor in (("ingest_batch_records_per_s", "batch", 8, 1000000),
                                         ("ingest_stream_records_per_s", "stream", 1, 250000),
                                         ("kv_put_per_s", "put", 64, 100000)):
        if not wanted(name):
            continue
        got = [load_figure(mode, seconds, in_flight) for _ in range(runs)]
        rates = [g["per_s"] for g in got]
        show(name, statistics.median(rates), "1/s", rates, floor)
        if mode == "put":
            p99 = [g["p99_ms"] for g in got]
            show("kv_put_p99", statistics.median(p99), "ms", p99, 10)
    if wanted("reads"):
        got = [reads(args.short) for _ in range(runs)]
        p99 = [g[0]["p99_ms"] for g in got]
        show("get_record_p99", statistics.median(p99), "ms", p99, 1)
        p99 = [g[1]["p99_ms"] for g in got]
        show("time_range_1000_p99", statistics.median(p99), "ms", p99, 10)
    if wanted("idle"):
        got = [idle() for _ in range(runs)]
        show("idle_rss", statistics.median(g[0] for g in got), "MB", [g[0] for g in got], 20)
        show("idle_1000_connections_rss", statistics.median(g[1] for g in got), "MB",
             [g[1] for g in got], 60)
    if wanted("restart"):
        got = [restart(args.short) for _ in range(runs)]
        took = [g[0] for g in got]
        show(f"restart_with_{got[0][1]}_MB_of_log", statistics.median(took), "s", took, 5)


if __name__ == "__main__":
    main()
