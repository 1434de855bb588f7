#!/usr/bin/python3
"""Starts varved and runs the node clients of series against it: Arrow, InfluxDB, Prometheus."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import ROOT, TempDir, Varved  # noqa: E402

SKIPPED = 77  # what the test runner takes for that
MODULES = ROOT / "tests/interop/node_modules"
NEEDED = ("apache-arrow", "@influxdata/influxdb-client", "prometheus-query")


def main():
    missing = [m for m in NEEDED if not (MODULES / m / "package.json").exists()]
    if missing:
        print(f"SKIPPED: no {', '.join(missing)} in {MODULES}: run tools/setup_node.sh where npm's "
              "registry answers")
        return SKIPPED
    with TempDir() as tmp, Varved(tmp / "data") as server:
        done = subprocess.run(["node", str(ROOT / "tests/interop/series_client.js"), server.ingest,
                               server.query, *sys.argv[1:]], check=False, timeout=300)
        assert done.returncode == 0, "the clients failed"
        assert server.stop() == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
