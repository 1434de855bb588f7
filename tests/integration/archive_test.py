#!/usr/bin/python3
"""`varve archive` of stream tables: messages into an object store of files, read in place, verified,
brought back, printed, and a directory made of the objects alone."""
import csv
import io
import json
import os
import pathlib
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, varve  # noqa: E402

COUNT = 3000


def run(*args, code=0, words=(), **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {args}: {done}"
    for w in words:
        assert w in done.stderr + done.stdout, f"'{w}' is not in: {done}"
    return done.stdout


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def values(*args):
    return [r["value"] for r in rows(run(*args, "-o", "json"))]


def objects(bucket):
    return sorted(p for p in bucket.rglob("*.varve")
                  if p.is_file() and ".varve" not in [q.name for q in p.parents])


def archive(where, store, lines):
    run("archive", *where, "run", code=2, words=["--backend"])
    run("archive", *where, *store, "run", "--local", "soon", code=2, words=["nor now"])
    run("archive", "run", *store, code=2, words=["--data"])
    run("archive", *where, "run", "--bucket", "x", code=2, words=["--backend"])
    run("archive", *where, *store, "run", "--table", "nope", code=5, words=["nope"])
    assert rows(run("archive", *where, "list", "--table", "messages", "-o", "json")) == []
    done = run("archive", *where, *store, "run", "--local", "now")
    assert done.startswith(f"stored {COUNT} messages in "), done
    got = rows(run("archive", *where, "list", "--table", "messages", "-o", "json"))
    assert [r["state"] for r in got] == ["stored"] * len(got), got
    assert got[0]["first"] == 0 and got[-1]["next"] == COUNT, got
    assert all(r["object"].endswith(".varve") and r["bytes"] > 0 for r in got), got
    run("stream", *where, "append", "-", input="fresh 1\nfresh 2\n")
    assert values("stream", *where, *store, "read") == lines + ["fresh 1", "fresh 2"]
    assert values("stream", *where, *store, "read", "--from", "1500", "-n", "2") == lines[1500:1502]
    assert values("stream", *where, *store, "tail", "-n", "3") == [lines[-1], "fresh 1", "fresh 2"]
    run("stream", *where, "read", code=1, words=["storage.backend"])
    assert values("stream", *where, "read", "--from", str(COUNT)) == ["fresh 1", "fresh 2"]
    status = rows(run("stream", *where, "status", "-o", "json"))[0]
    assert (status["first"], status["next"]) == (0, COUNT + 2), status


def verify(where, store, bucket):
    run("archive", *where, *store, "verify", words=["every object is there"])
    run("archive", *where, *store, "verify", "--whole", words=["byte for byte"])
    one = objects(bucket)[0]
    kept = one.read_bytes()
    broken = bytearray(kept)
    broken[len(broken) // 3] ^= 4
    one.write_bytes(broken)
    run("archive", *where, *store, "verify", "--whole", code=1, words=[one.name])
    one.unlink()
    run("archive", *where, *store, "verify", code=1, words=[one.name])
    run("stream", *where, *store, "read", code=1, words=[one.name, "put it back from a copy"])
    one.write_bytes(kept)


def export(where, store, tmp, lines):
    got = rows(run("archive", *where, *store, "export"))
    assert [r["value"] for r in got] == lines + ["fresh 1", "fresh 2"]
    assert [r["offset"] for r in got] == list(range(COUNT + 2))
    text = run("archive", *where, *store, "export", "--from", "10", "--to", "12", "-o", "csv")
    got = list(csv.DictReader(io.StringIO(text)))
    assert [(r["offset"], r["value"]) for r in got] == [("10", lines[10]), ("11", lines[11])], got
    parquet = tmp / "m.parquet"
    run("archive", *where, *store, "export", "--parquet", parquet)
    data = parquet.read_bytes()
    assert data[:4] == b"PAR1" and data[-4:] == b"PAR1" and len(data) > 1000
    run("archive", *where, *store, "export", "--parquet", tmp / "no" / "m", code=5, words=["no/m"])
    # What is there stays until what takes its place is whole.
    run("archive", *where, "export", "--parquet", parquet, code=1, words=["storage.backend"])
    assert parquet.read_bytes() == data and not parquet.with_suffix(".parquet.part").exists()


def restore(where, store, bucket, lines):
    out = run("archive", *where, *store, "restore", "--from", "100", "--to", "200")
    assert out == "restored 100 messages\n", out
    assert values("stream", *where, "read", "--from", "100", "-n", "100") == lines[100:200]
    run("stream", *where, "read", "--from", "99", "-n", "1", code=1, words=["storage.backend"])
    out = run("archive", *where, *store, "restore", "--from", "100", "--to", "200")
    assert out == "restored 0 messages\n", out
    run("check", where[1])


def attach(store, tmp, lines):
    other = tmp / "other"
    run("archive", "attach", "--data", other, code=2, words=["--backend"])
    run("archive", "attach", "--data", other, *store, words=["attached"])
    assert values("stream", "--data", other, *store, "read") == lines
    run("archive", "attach", "--data", other, *store, code=1, words=["not empty"])
    run("archive", "attach", "--data", tmp / "none", *store[:-1], str(tmp / "empty"), code=5,
        words=["prefix"])


def kinds_are_told_apart(tmp, store):
    where = ["--data", tmp / "trees"]
    run("table", "create", *where, "--engine", "btree", "t")
    run("put", *where, "--table", "t", "k", "v")
    run("archive", *where, "create", "a")
    assert [r["archive"] for r in rows(run("archive", *where, "list", "--table", "t", "-o", "json"))] == ["a"]
    run("archive", *where, "restore", "--table", "t", "a")
    run("archive", *where, *store, "verify", "--table", "t", code=1, words=["kind stream"])
    run("archive", *where, "dance", code=2, words=["dance"])
    run("archive", *where, *store, "verify", "x", "--table", "t", code=2, words=["no name"])


def main():
    with TempDir() as tmp:
        where = ["--data", tmp / "data"]
        bucket = pathlib.Path(tmp / "bucket")
        store = ["--backend", "file", "--bucket", str(bucket)]
        lines = [f"line {i}" for i in range(COUNT)]
        run("table", "create", *where, "--kind", "stream", "messages")
        run("stream", *where, "append", "-", input="".join(f"{line}\n" for line in lines))
        archive(where, store, lines)
        verify(where, store, bucket)
        export(where, store, tmp, lines)
        restore(where, store, bucket, lines)
        attach(store, tmp, lines)
        kinds_are_told_apart(tmp, store)
        shutil.rmtree(bucket)


if __name__ == "__main__":
    main()
