#!/usr/bin/python3
"""Starts varved and runs the node clients of series against it: Arrow, InfluxDB, Prometheus; then
InfluxDB's again, while varved is killed and started again."""
import os
import random
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import ROOT, TempDir, Varved  # noqa: E402

SKIPPED = 77  # what the test runner takes for that
MODULES = ROOT / "tests/interop/node_modules"
CLIENT = ROOT / "tests/interop/series_client.js"
NEEDED = ("apache-arrow", "@influxdata/influxdb-client", "prometheus-query")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def over_kills(data, rng):
    """The client begins, then varved goes and comes, three times."""
    ports = [f"server.port={free_port()}", f"query.port={free_port()}"]
    server = Varved(data, ports)
    client = subprocess.Popen(["node", str(CLIENT), server.ingest, server.query,
                               "influx_over_kills"], stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "begun\n"
        for _ in range(3):
            time.sleep(rng.uniform(0.1, 0.5))
            server.kill()
            time.sleep(rng.uniform(0, 0.3))
            server = Varved(data, ports)
        client.communicate(timeout=120)
        assert client.returncode == 0, "the client failed"
        assert server.stop() == 0
    finally:
        client.kill()
        client.communicate()
        server.__exit__(None, None, None)


def main():
    missing = [m for m in NEEDED if not (MODULES / m / "package.json").exists()]
    if missing:
        print(f"SKIPPED: no {', '.join(missing)} in {MODULES}: run tools/setup_node.sh where npm's "
              "registry answers")
        return SKIPPED
    with TempDir() as tmp, Varved(tmp / "data") as server:
        done = subprocess.run(["node", str(CLIENT), server.ingest,
                               server.query, *sys.argv[1:]], check=False, timeout=300)
        assert done.returncode == 0, "the clients failed"
        assert server.stop() == 0
        over_kills(tmp / "killed", random.Random(int(os.environ.get("VV_SEED", "1"), 0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
