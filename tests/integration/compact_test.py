#!/usr/bin/python3
"""`varve compact` on a directory and on a server: what was overwritten goes, the rest is there, and
what cannot be done is said. /metrics stays clean for promtool."""
import json
import os
import shutil
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, varve  # noqa: E402


def run(*args, code=0, words=()):
    done = varve(*args)
    assert done.returncode == code, done
    for w in words:
        assert w in done.stderr, done
    return done.stdout


def figures(where):
    return {r["name"]: r["value"] for r in map(json.loads, run(
        "status", *where, "--all", "-o", "json").splitlines())}


def ranges(where, level_name):
    for value in ("old", "new"):
        for i in range(12):
            run("put", *where, "--table", "t", f"k{i:02d}", value)
    out = json.loads(run("compact", *where, "--from", "k03", "--to", "k09", "default/t", "-o", "json"))
    assert not out["pending"] and out["range_bytes"] > 0, out
    run("compact", *where, "t")
    for i in range(12):
        assert run("get", *where, "--table", "t", f"k{i:02d}").strip() == "new"
    assert float(figures(where).get(level_name, 0)) == 0, figures(where)
    for to in ("a", "z"):
        run("compact", *where, "t", "--from", "z", "--to", to, code=2, words=["behind --from"])
    run("compact", *where, "none", code=5)
    run("compact", *where, code=2, words=["TENANT/TABLE"])
    run("compact", *where, "--hex", "--from", "xyz", "t", code=2)


def metrics_are_clean(server):
    text = urllib.request.urlopen(f"http://{server.ingest}/metrics").read()
    for name in (b"varve_level_reads_total", b"varve_write_amplification_ratio",
                 b"varve_stalled_seconds_total", b"varve_range_deletes"):
        assert name in text, name
    if shutil.which("promtool") is None:
        print("skipped: promtool is not there")
        return
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert done.returncode == 0, done


def main():
    with TempDir() as tmp:
        local = ["--data", tmp / "data"]
        run("put", *local, "--table", "t", "k", "v")
        run("compact", *local, "--no-wait", "t", code=2, words=["server"])
        ranges(local, "level0_files")
        assert varve("check", tmp / "data").returncode == 0
        with Varved(tmp / "server") as server:
            remote = ["--server", server.ingest]
            ranges(remote, 'varve_level_files{level="0"}')
            run("compact", *remote, "--no-wait", "t")
            metrics_are_clean(server)
            status = json.load(urllib.request.urlopen(f"http://{server.ingest}/api/v1/status"))
            assert len(status["storage"]["levels"]) == 8, status
            assert server.stop() == 0


if __name__ == "__main__":
    main()
