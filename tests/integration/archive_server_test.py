#!/usr/bin/python3
"""Messages of a running server that lie in its object store, where a user meets them: archived, listed,
verified, got, scanned, asked, printed and brought back, and the same of the directory afterwards."""
import json
import os
import pathlib
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, varve  # noqa: E402

COUNT = 2000
TABLE = ["--table", "events"]


def run(*args, code=0, words=(), **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {args}: {done}"
    for w in words:
        assert w in done.stderr + done.stdout, f"'{w}' is not in: {done}"
    return done.stdout


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


# What is asked of a server and of a directory alike.
QUESTIONS = [
    ["get", *TABLE, "17"],
    ["get", *TABLE, "0/17", "-o", "json"],
    ["get", *TABLE, "3", "1/5", "1999", "-o", "csv"],
    ["get", *TABLE, "--partition", "1", "4", "--raw"],
    ["scan", *TABLE, "--from", "5", "--to", "8", "-o", "json"],
    ["scan", *TABLE, "--partition", "1", "--from", "1998", "-o", "csv"],
    ["scan", *TABLE, "--count"],
    ["scan", *TABLE, "--limit", "3", "--keys-only"],
    ["scan", *TABLE, "--to", "2001-01-01", "--count"],
    ["query", *TABLE, "--where", "offset in 3,1500", "--select",
     "offset,partition,value.n,attributes.site", "-o", "csv"],
    ["query", *TABLE, "--where", "value.n > 3995", "--order-by", "-value.n", "-o", "json"],
    ["query", *TABLE, "--agg", "sum(value.n) as total", "--count", "--group-by", "attributes.site",
     "-o", "json"],
    ["query", *TABLE, "--where", "_id = 1/7", "--explain"],
    ["archive", "list", *TABLE, "-o", "json"],
    ["archive", "verify", *TABLE],
    ["archive", "verify", *TABLE, "--whole"],
    ["archive", "export", *TABLE],
    ["archive", "export", *TABLE, "--partition", "1", "--from", "10", "--to", "12", "-o", "csv"],
]
REFUSED = [
    (["get", *TABLE, "5000"], 5, "is not in table"),
    (["get", *TABLE, "x"], 1, "PARTITION/OFFSET"),
    (["get", *TABLE, "--version", "3", "1"], 1, "never change"),
    (["scan", *TABLE, "--reverse"], 1, "by partition and offset"),
    (["scan", *TABLE, "--from", "soon"], 1, "no offset"),
    (["query", *TABLE, "--where", "ofset = 1"], 1, "did you mean 'offset'"),
    (["archive", "verify", "--table", "none"], 5, "none"),
    (["archive", "restore", *TABLE, "--partition", "7"], 1, "partition"),
    (["archive", "export", *TABLE, "--partition", "7"], 1, "0 to 1"),
    (["archive", "export", *TABLE, "--parquet", "/tmp/none/m"], 1, "--partition"),
]


def ask_all(where):
    return [run(q[0], *where, *q[1:]) for q in QUESTIONS]


def fill(where):
    for p in (0, 1):
        lines = "".join(json.dumps({"n": 2 * i + p, "site": "north" if i % 3 else "south"}) + "\n"
                        for i in range(COUNT))
        run("stream", *where, *TABLE, "append", "-", "--partition", str(p), "--key", f"k{p}",
            "--content-type", "application/json", input=lines)


def post(address, path, body):
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def over_http(server):
    got = post(server.query, "/api/v1/query",
               {"schema": {"name": "events"}, "projection": ["offset", "value.n"],
                "filters": [{"column": "offset", "operator": "=", "value": 1234}]})
    assert [r["data"]["value"]["n"] for r in got["records"]] == [2468, 2469], got


def damage(where, store, bucket):
    """A bit, a size, an object: each is told by `varve check`."""
    run("check", *where, *store, words=["no damage"])
    one = sorted(p for p in bucket.rglob("*.varve")
                 if p.is_file() and ".varve" not in [q.name for q in p.parents])[0]
    kept = one.read_bytes()
    broken = bytearray(kept)
    broken[len(broken) // 3] ^= 4
    one.write_bytes(broken)
    run("check", *where, *store, code=1, words=[one.name])
    assert run("check", *where, *store, "--quiet", code=1) == ""
    one.write_bytes(kept[:-7])
    run("check", *where, *store, "--quick", code=1, words=[one.name, "stored with"])
    one.unlink()
    found = rows(run("check", *where, *store, "--quick", "-o", "json", code=1, words=["is not there"]))
    assert len(found) == 1 and one.name in found[0]["finding"], found
    one.write_bytes(kept)
    run("check", *where, *store, words=["no damage"])


def main():
    with TempDir() as tmp:
        bucket = pathlib.Path(tmp / "bucket")
        settings = ["storage.shards=2", "storage.backend=file", f"storage.bucket={bucket}",
                    "processing.batch_timeout_ms=3600000", "processing.local_age=0s"]
        rules = tmp / "rules"
        rules.write_text("site = json $.site string\n")
        with Varved(tmp / "data", settings) as server:
            where = ["--server", server.query]
            run("table", "create", "--server", server.ingest, "--kind", "stream", "--partitions", "2", "--extract", rules,
                "events")
            over = ["--server", server.ingest]
            fill(over)
            done = run("archive", *over, "run", *TABLE)
            assert done.startswith(f"stored {2 * COUNT} messages in "), done
            got = rows(run("archive", *where, "list", *TABLE, "-o", "json"))
            assert sum(r["next"] - r["first"] for r in got if r["state"] == "stored") == 2 * COUNT
            remote = ask_all(where)
            for args, code, word in REFUSED:
                run(args[0], *(over if args[1] == "restore" else where), *args[1:], code=code,
                    words=[word])
            run("archive", *where, "run", *TABLE, "--backend", "file", code=2, words=["--data"])
            over_http(server)
            run("archive", *over, "export", *TABLE, "-p", "1", "--parquet", tmp / "remote.parquet")
            assert server.stop() == 0
        where = ["--data", tmp / "data"]
        store = ["--backend", "file", "--bucket", str(bucket)]
        run("get", *where, *TABLE, "17", code=1, words=["storage.backend"])
        local = ask_all([*where, *store])
        for q, r, l in zip(QUESTIONS, remote, local):
            assert r == l, f"{q}: a server says {r[:500]!r}, a directory {l[:500]!r}"
        for args, code, word in REFUSED:
            run(args[0], *where, *store, *args[1:], code=code, words=[word])
        run("archive", *where, *store, "export", *TABLE, "-p", "1", "--parquet", tmp / "local.parquet")
        assert (tmp / "local.parquet").read_bytes() == (tmp / "remote.parquet").read_bytes()
        damage(where, store, bucket)
        with Varved(tmp / "data", settings) as server:
            over = ["--server", server.ingest]
            out = run("archive", *over, "restore", *TABLE, "--from", "100", "--to", "200")
            assert out == "restored 100 messages\n", out
            assert server.stop() == 0
        assert rows(run("get", *where, *TABLE, "150", "-o", "json"))[0]["offset"] == 150
        run("get", *where, *TABLE, "250", code=1, words=["storage.backend"])


if __name__ == "__main__":
    main()
