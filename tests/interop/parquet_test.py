#!/usr/bin/python3
"""Parquet files of ours, read by hyparquet and by DuckDB: each row is the line that zstd and a JSON
parser find for the same message."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import ROOT, TempDir  # noqa: E402


SKIPPED = 77  # what the test runner takes for that
MODULES = ROOT / "tests/interop/node_modules"
READERS = {"hyparquet": "hyparquet", "duckdb": "@duckdb/node-api"}


def main(sample):
    readers = [r for r, package in READERS.items() if (MODULES / package).exists()]
    missing = sorted(set(READERS) - set(readers))
    if not readers or not shutil.which("zstd"):
        print(f"skipped: no {' or '.join(missing)} in {MODULES}, or no zstd: run tools/setup_node.sh "
              "where npm's registry answers")
        return SKIPPED
    with TempDir() as tmp:
        subprocess.run([sample, str(tmp)], check=True, timeout=60)
        subprocess.run(["zstd", "-q", "-d", str(tmp / "lines.jsonl.zst")], check=True, timeout=60)
        for reader in readers:
            for name in ["packed.parquet", "plain.parquet"]:
                subprocess.run(["node", str(ROOT / f"tests/interop/parquet_{reader}.mjs"),
                                str(tmp / name), str(tmp / "lines.jsonl")], check=True, timeout=120)
    if missing:
        print(f"not read by {', '.join(missing)}: not in {MODULES}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
