#!/usr/bin/python3
"""NATS into a series table, beside libnats alone, in one run: nats.py [--messages N] [--rounds N]

Starts nats-server (Debian: nats-server) with JetStream on a fresh directory and runs bench_nats of
the release build against it. Prints its lines, and last the medians and what part of the client's
own rate the feed reaches. Everything on: file storage, synced before it is acknowledged.
"""
import argparse
import json
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "lib"))
from varvelib import BUILD  # noqa: E402

SERVER = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")


def start(directory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(directory / "nats.log", "wb") as log:
        server = subprocess.Popen([SERVER, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd",
                                   str(directory / "js")], stdout=log, stderr=log)
    for _ in range(200):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                if s.recv(4) == b"INFO":
                    return server, f"nats://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("nats-server does not answer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--directory", help="a disk to measure; default: the temporary directory")
    args = parser.parse_args()
    if SERVER is None:
        print("nats.py: there is no nats-server (apt-get install nats-server)")
        return 77
    rates = {}
    with tempfile.TemporaryDirectory(prefix="varve-bench-", dir=args.directory) as work:
        server, url = start(pathlib.Path(work))
        try:
            bench = subprocess.Popen([str(BUILD / "bench" / "bench_nats"), url, work,
                                      str(args.messages), str(args.rounds), str(args.batch)],
                                     stdout=subprocess.PIPE, text=True)
            for line in bench.stdout:
                print(line, end="", flush=True)
                row = json.loads(line)
                rates.setdefault(row["way"], []).append(row["per_second"])
            if bench.wait() != 0:
                return 1
        finally:
            server.terminate()
            server.wait()
    middle = {way: statistics.median(r) for way, r in rates.items()}
    print(json.dumps({"bench": "nats", "medians": middle,
                      "feed_of_client": round(middle["feed"] / middle["client"], 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
