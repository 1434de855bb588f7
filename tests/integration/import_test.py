#!/usr/bin/python3
"""What `varve import` chooses by itself must not lose or change data: ids that no other file has,
times that are read or refused and never made up, numbers as they stand in the file.
"""
import gzip
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import BUILD, TempDir, Varved, varve  # noqa: E402


def load(where, table, *args, code=0, words=(), **kwargs):
    done = varve("import", *where, "--schema", table, *args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    for w in words:
        assert w in done.stderr, f"'{w}' is not in: {done.stderr}"
    return done


def stored(where, table, *args):
    done = varve("query", *where, "--schema", table, "-o", "json", *args)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def ids_do_not_collide(where, tmp):
    for name in ("a", "b"):
        (tmp / name).mkdir()
        (tmp / name / "data.csv").write_text(f"n,from\n1,{name}\n2,{name}\n")
        (tmp / name / "data.jsonl").write_text(f'{{"n":1,"from":"{name}"}}\n')
    files = [tmp / name / kind for name in ("a", "b") for kind in ("data.csv", "data.jsonl")]
    load(where, "ids", *files)
    got = stored(where, "ids")
    assert sorted(r["id"] for r in got) == sorted(
        f"{p}:{line}" for p in files for line in ((2, 3) if p.suffix == ".csv" else (1,))), got
    # The same by another path: the same records.
    subprocess.run([str(BUILD / "varve"), "import", *where, "--schema", "ids", "data.csv"],
                   cwd=tmp / "a", check=True, capture_output=True)
    assert len(stored(where, "ids")) == 6
    sentence = "with --id which column or template"
    done = load(where, "pipe", "-", code=2, words=[sentence], input="n\n1\n")
    assert done.stdout == "", done
    load(where, "pipe", "--format", "jsonl", "-", code=1, words=[sentence], input='{"n":1}\n')
    load(where, "pipe", "--id", "run1/{_line}", "-", input="n\n1\n")
    load(where, "pipe", "-", input="id,n\nx,1\n")
    load(where, "pipe", "--format", "jsonl", "-", input='{"id":"y","n":1}\n')
    assert sorted(r["id"] for r in stored(where, "pipe")) == ["run1/2", "x", "y"]


def times_are_read_or_refused(where, tmp):
    forms = {"2026-01-02 10:00:00": "2026-01-02T10:00:00Z", "2026-01-02": "2026-01-02T00:00:00Z",
             "20260102": "2026-01-02T00:00:00Z", "1767348000": "2026-01-02T10:00:00Z",
             "1767348000000": "2026-01-02T10:00:00Z", "2026-01-02T12:00:00+02:00":
             "2026-01-02T10:00:00Z", "2026-01-02 10:00:00.5+00": "2026-01-02T10:00:00.500Z",
             "1767348000123456789": "2026-01-02T10:00:00.123456789Z"}
    f = tmp / "t.csv"
    for name in ("Date", "date", "time", "Timestamp", "TS", "DateTime"):
        f.write_text(f"id,{name}\n" + "".join(f"{i},{t}\n" for i, t in enumerate(forms)))
        load(where, name, f)
        assert [r["timestamp"] for r in stored(where, name)] == list(forms.values()), name
        for bad in ("noon", "01/02/2026", ""):
            f.write_text(f"id,{name}\nx,{bad}\n")
            done = load(where, name, f, code=1, words=[f"t.csv:2: '{bad}' in column '{name}' is no "
                                                       "time", "--no-timestamp"])
            assert "imported" not in done.stdout, done
        f.write_text(f"id,{name}\nx,noon\n")
        done = load(where, name + "x", "--no-timestamp", f)
        assert done.stderr == "" and stored(where, name + "x")[0]["data"] == {name: "noon"}, done
    f = tmp / "t.jsonl"
    f.write_text("".join(json.dumps({"id": str(i), "Date": t}) + "\n" for i, t in enumerate(forms)) +
                 '{"id":"n","Date":1767348000123456789}\n')
    load(where, "jsonl", f)
    assert [r["timestamp"] for r in stored(where, "jsonl")] == \
        [*forms.values(), "2026-01-02T10:00:00.123456789Z"]
    for bad in ('"noon"', "null", "[1]", "true"):
        f.write_text('{"id":"x","Time":%s}\n' % bad)
        load(where, "jsonl", f, code=1, words=["in column 'Time' is no time"])
    f = tmp / "none.csv"
    f.write_text("id,v\nx,1\ny,2\n")
    load(where, "none", f, words=["2 records without a time column"])
    assert load(where, "none", "--no-timestamp", f).stderr == ""
    assert load(where, "none", "-q", f).stderr == ""


def what_is_wrong_is_said(where, tmp):
    f = tmp / "x.csv.gz"
    f.write_bytes(gzip.compress(b"id,n\nx,1\n"))
    load(where, "packed", f, code=1, words=["packed", f"zcat {f} |"])
    done = load(where, "packed", "-", code=1, words=["zcat"], stdin=open(f, "rb"))
    assert "imported" not in done.stdout, done
    f = tmp / "x.csv"
    f.write_text("id,n\nx,1\n")
    done = load(where, "usage", "--timestamp", "then", f, code=2, words=["no column 'then'"])
    assert "imported" not in done.stdout, done
    # Behind a file that was loaded it is a failure, and says how far it came.
    g = tmp / "y.csv"
    g.write_text("id,m\nx,1\n")
    done = load(where, "usage", "--meta", "n", f, g, code=1, words=["no column 'n'"])
    assert "imported 1 record" in done.stdout, done


def columns_are_told_apart(where, tmp):
    """Two columns of one name would be one field: the first value would be gone in silence."""
    f = tmp / "twice.csv"
    f.write_text("id,temp,unit,temp\nx,1,C,2\n")
    load(where, "twice", f, code=2, words=["columns 2 and 4 are both named 'temp'", "--columns"])
    load(where, "twice", "--columns", "id,a,a,b", f, code=2, words=["columns 2 and 3", "'a'"])
    load(where, "twice", "--columns", "id,inside,unit,outside", f)
    assert stored(where, "twice")[0]["data"] == {"inside": 1, "unit": "C", "outside": 2}
    f.write_text("id,time,n\nx,2026-01-02,1\n")
    load(where, "kept", f)
    assert stored(where, "kept")[0]["data"] == {"n": 1}
    load(where, "kept", "--keep", f)
    assert stored(where, "kept")[0]["data"] == {"id": "x", "time": "2026-01-02", "n": 1}


def a_missing_file_makes_nothing(where, tmp):
    f = tmp / "there.csv"
    f.write_text("id,n\nx,1\n")
    here = where if where[0] == "--server" else ["--data", tmp / "none"]
    load(here, "absent", f, tmp / "absent.csv", code=1, words=["absent.csv: No such file"])
    assert not (tmp / "none").exists()
    tables = varve("table", "list", *here, "-o", "json").stdout
    assert "absent" not in tables, tables


def big_integers_stay_themselves(where, tmp):
    big = ["1234567890123456780", "1234567890123456781", "-9007199254740993"]
    exact = ["9007199254740992", "-9007199254740992", "1e300", "12345678901234567.5"]
    f = tmp / "big.csv"
    f.write_text("id,user\n" + "".join(f"{i},{n}\n" for i, n in enumerate(big + exact)))
    g = tmp / "big.jsonl"
    g.write_text("".join(f'{{"id":"j{i}","user":{n}}}\n' for i, n in enumerate(big + exact)))
    for source, ids in ((f, "0"), (g, "j0")):
        table = source.name
        load(where, table, "--no-timestamp", source, words=["3 integers beyond 2^53 kept as text"])
        got = [r["data"]["user"] for r in stored(where, table)]
        assert got[:3] == big and got[3:] == [float(n) for n in exact], got
        for n in big:
            found = stored(where, table, "-w", f"user = {n}")
            assert [r["data"]["user"] for r in found] == [n], (n, found)
        assert [r["id"] for r in stored(where, table, "-w", f"user in {big[0]},7")] == [ids]
        assert stored(where, table, "-w", "user = 1234567890123456784") == []
    # What a client stored as a double is not what an integer nearby asks for.
    f.write_text("id,user\nx,1.23456789012345677e18\n")
    assert load(where, "doubles", "--no-timestamp", f).stderr == ""
    assert stored(where, "doubles", "-w", "user = 1234567890123456780") == []
    assert len(stored(where, "doubles", "-w", "user = 1.23456789012345677e18")) == 1


def http_refuses_what_would_be_rounded(server):
    def post(path, body):
        request = urllib.request.Request(f"http://{server.ingest}{path}", data=body.encode())
        try:
            return urllib.request.urlopen(request, timeout=30).status, ""
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
    record = ('{"record":{"id":{"tenantId":{"id":"http"},"entityId":{"id":"x"}},'
              '"schema":{"name":"events"},"data":{"user":%s}}}')
    assert post("/api/v1/ingest/record", record % '"1234567890123456780"')[0] == 200
    ask = ('{"tenantId":{"id":"http"},"schema":{"name":"events"},'
           '"filters":[{"column":"user","operator":"=","value":1234567890123456781}]}')
    for path, body in (("/api/v1/ingest/record", record % "1234567890123456781"),
                       ("/api/v1/query", ask)):
        status, text = post(path, body)
        assert status == 400 and "beyond 2^53" in text and "string" in text, (status, text)


def bulk_is_all_or_nothing(tmp):
    where = ["--data", tmp / "bulk-data", "--table", "pairs"]
    rows = [f"k{i:05d},value {i}\n" for i in range(3000)]
    (tmp / "first.csv").write_text("key,value\n" + "".join(rows[:2000]))
    (tmp / "second.csv").write_text("key,value\n" + "".join(rows[2000:]))
    (tmp / "unsorted.csv").write_text("key,value\nx1,a\nx3,b\nx2,c\n")
    (tmp / "wide.csv").write_text("y1,a,b\n")

    def run(*args, code=0, words=()):
        done = varve("import", "--bulk", *where, *args)
        assert done.returncode == code, done
        for w in words:
            assert w in done.stderr, done

    fresh = lambda: [t["table"] for t in map(json.loads, varve(
        "table", "list", "--data", tmp / "bulk-data", "-o", "json").stdout.splitlines())]
    run("--header", tmp / "unsorted.csv", code=1, words=["unsorted.csv:4"])
    assert "pairs" not in fresh(), "a failed load left its new table behind"
    run("--header", tmp / "first.csv", tmp / "second.csv")
    assert varve("scan", *where, "--count").stdout.strip().endswith("3000")
    assert varve("get", *where, "k02500").stdout.strip() == "value 2500"
    run("--header", tmp / "unsorted.csv", code=1,
        words=["unsorted.csv:4", "'x2', is below", "'x3'"])
    assert "pairs" in fresh(), "a failed load took a table that was there"
    assert varve("get", *where, "x1").returncode == 5
    (tmp / "bare.csv").write_text("l1,a\nl2,b\n")
    run(tmp / "bare.csv")  # the first line is data unless a header is asked for
    assert varve("get", *where, "l1").stdout == "a\n"
    run("--header", "--no-header", tmp / "bare.csv", code=2, words=["exclude"])
    for option in (["--id", "key"], ["--set", "a=1"], ["--no-timestamp"], ["--keep"],
                   ["--meta", "a"], ["--text", "a"], ["--timestamp", "a"], ["--durability", "os"]):
        run(*option, tmp / "bare.csv", code=2, words=[f"no {option[0]}:"])
    run(tmp / "wide.csv", code=1, words=["wide.csv:1: 3 columns"])
    done = varve("import", "--bulk", tmp / "first.csv")
    assert done.returncode == 2 and "--data" in done.stderr, done
    run("--skip-bad", tmp / "first.csv", code=2, words=["no --skip-bad", "all or nothing"])
    assert varve("check", tmp / "bulk-data").returncode == 0
    print("ok bulk")


CASES = [ids_do_not_collide, times_are_read_or_refused, big_integers_stay_themselves,
         what_is_wrong_is_said, columns_are_told_apart, a_missing_file_makes_nothing]


def main():
    with TempDir() as tmp:
        bulk_is_all_or_nothing(tmp)
        with Varved(tmp / "server") as server:
            for at, where in (("remote", ["--server", server.ingest]),
                              ("local", ["--data", tmp / "local-data"])):
                for case in CASES:
                    sub = pathlib.Path(tmp) / f"{at}-{case.__name__}"
                    sub.mkdir()
                    case(where, sub)
                    print(f"ok {at} {case.__name__}")
            http_refuses_what_would_be_rounded(server)
            assert server.stop() == 0


if __name__ == "__main__":
    main()
