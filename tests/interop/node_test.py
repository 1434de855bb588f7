#!/usr/bin/python3
"""Starts varved and runs the node client against it."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import ROOT, TempDir, Varved  # noqa: E402


SKIPPED = 77  # what the test runner takes for that
MODULES = ROOT / "tests/interop/node_modules"


def main():
    if not (MODULES / ".package-lock.json").exists():
        print(f"skipped: no node clients in {MODULES}: run tools/setup_node.sh where npm's registry "
              "answers")
        return SKIPPED
    with TempDir() as tmp, Varved(tmp / "data") as server, \
            Varved(tmp / "small", ["server.max_message_size=1MB"]) as small:
        done = subprocess.run(["node", str(ROOT / "tests/interop/node_client.js"), server.ingest,
                               server.query, small.ingest], check=False, timeout=300)
        assert done.returncode == 0, "the node client failed"
        assert server.stop() == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
