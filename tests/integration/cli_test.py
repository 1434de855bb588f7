#!/usr/bin/python3
"""The varve command line: every command against a server and against a closed store, its formats, its
exit codes, and what it says about bad input. Both ways of reaching a store must print the same.
"""
import base64
import csv
import datetime
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import BUILD, ROOT, TempDir, Varved, varve  # noqa: E402

KITCHEN = ROOT / "examples/data/house/kitchen_temp_c.csv"


def ok(*args, **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == 0, f"varve {' '.join(map(str, args))}: {done}"
    return done.stdout


def fails(code, *args, words=(), **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    assert done.stderr.startswith("varve"), done.stderr
    for w in words:
        assert w in done.stderr, f"'{w}' is not in: {done.stderr}"
    return done


def on_terminal(*args):
    main, side = pty.openpty()
    with subprocess.Popen([str(BUILD / "varve"), *map(str, args)], stdout=side) as process:
        os.close(side)
        shown = b""
        try:
            while part := os.read(main, 65536):
                shown += part
        except OSError:  # how a terminal ends
            pass
        assert process.wait(60) == 0, args
    os.close(main)
    return shown.decode()


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def keys_and_values(where):
    wrote = rows(ok("put", *where, "a", "one", "-o", "json"))[0]
    assert wrote["key"] == "a" and wrote["version"] > 0 and wrote["durability"] == "sync", wrote
    for given in ("none", "os", "sync"):
        wrote = rows(ok("put", *where, "d", "x", "--durability", given, "-o", "json"))[0]
        assert wrote["durability"] == given, wrote
    wrote = rows(ok("del", *where, "d", "--durability", "os", "-o", "json"))[0]
    assert wrote["durability"] == "os", wrote
    assert ok("put", *where, "a", "one").split()[:3] == ["key", "version", "durability"]
    ok("put", *where, "--hex", "00ff", "fe01")
    ok("put", *where, "b", "--file", "-", input="line 1\nline 2\n")
    ok("put", *where, "c", "x" * 300, "-q")
    assert ok("get", *where, "a") == "one\n"
    assert ok("get", *where, "--raw", "b") == "line 1\nline 2\n"
    got = rows(ok("get", *where, "--hex", "00ff", "-o", "json"))[0]
    assert base64.b64decode(got["key"]["base64"]) == b"\x00\xff", got
    assert base64.b64decode(got["value"]["base64"]) == b"\xfe\x01", got
    got = rows(ok("get", *where, "b", "a", "a", "-o", "json"))
    assert [(r["key"], r["value"]) for r in got] == \
        [("b", "line 1\nline 2\n"), ("a", "one"), ("a", "one")], got
    done = fails(5, "get", *where, "a", "nope", "c", "-o", "json", words=["1 of 3 keys"])
    assert [r["key"] for r in rows(done.stdout)] == ["a", "c"], done
    fails(2, "get", *where, words=["KEY"])
    for number in ("5", "-7", "44"):
        ok("put", *where, "--merge", "add", "-q", "--table", "sums", "--", "n", number)
    ok("put", *where, "--merge", "append", "-q", "--table", "sums", "s", "ab")
    ok("put", *where, "--merge", "append", "-q", "--table", "sums", "s", "cd")
    ok("put", *where, "--merge", "max", "-q", "--table", "sums", "--hex", "6d", "0900000000000000")
    ok("put", *where, "--merge", "max", "-q", "--table", "sums", "m", "8")
    got = rows(ok("get", *where, "--table", "sums", "n", "s", "m", "-o", "json"))
    assert [r["value"] for r in got] == ["*" + "\0" * 7, "abcd", "\t" + "\0" * 7], got
    assert ok("get", *where, "--table", "sums", "--number", "n") == "42\n"
    ok("put", *where, "--merge", "add", "-q", "--table", "sums", "n", "-44")
    assert ok("get", *where, "--table", "sums", "--number", "n") == "-2\n"
    got = rows(ok("get", *where, "--table", "sums", "--number", "n", "s", "-o", "json"))
    assert [r["value"] for r in got] == [-2, "abcd"], got
    assert ok("get", *where, "--table", "sums", "m") == "\t" + "\0" * 7 + "\n"  # a pipe: the bytes
    assert on_terminal("get", *where, "--table", "sums", "m") == "\\x09" + "\\x00" * 7 + "\r\n"
    assert on_terminal("get", *where, "b") == "line 1\r\nline 2\r\n\r\n"
    fails(2, "put", *where, "--nope", "-3", words=["'--nope'", "behind --"])
    fails(2, "put", *where, "-Z", "v", words=["'-Z'", "behind --"])
    fails(2, "put", *where, "-oneword", "v")
    fails(2, "put", *where, "--merge", "add", "n", "x", words=["whole number"])
    fails(2, "put", *where, "--merge", "sub", "n", "1", words=["add"])
    fails(5, "get", *where, "nope", words=["key"])
    fails(5, "get", *where, "--table", "nope", "a", words=["'nope'"])
    keys = [r["key"] for r in rows(ok("scan", *where, "-o", "json", "--from", "a"))]
    assert keys == ["a", "b", "c"], keys
    assert [r["key"] for r in rows(ok("scan", *where, "-o", "json", "-r", "-n", "2"))] == ["c", "b"]
    assert [r["key"] for r in rows(ok("scan", *where, "-o", "json", "--prefix", "b"))] == ["b"]
    assert [r["key"] for r in rows(ok("scan", *where, "-o", "json", "--from", "a", "--to", "b"))] \
        == ["a"]
    assert list(rows(ok("scan", *where, "-o", "json", "-k", "--prefix", "a"))[0]) == ["key", "version"]
    assert rows(ok("scan", *where, "--count", "-o", "json")) == [{"count": 4}]
    got = list(csv.DictReader(io.StringIO(ok("scan", *where, "-o", "csv", "--prefix", "b"))))
    assert got[0]["value"] == "line 1\nline 2\n", got
    table = ok("scan", *where).splitlines()
    assert table[0].split() == ["key", "version", "value"] and "\\x00\\xff" in table[1], table
    assert "line 1\\x0aline 2" in table[3] and "..." in table[4] and len(table) == 5, table
    ok("del", *where, "a")
    fails(5, "get", *where, "a")
    ok("del", *where, "b", "--to", "d")
    assert rows(ok("scan", *where, "--count", "-o", "json")) == [{"count": 1}]
    for n in (1, 1024):
        ok("put", *where, "k" * n, "", "-q")
        assert ok("get", *where, "--raw", "k" * n) == ""
        ok("del", *where, "k" * n)
    fails(1, "put", *where, "k" * 1025, "v", words=["at most 1024"])
    fails(1, "get", *where, "k" * 1025, words=["at most 1024"])
    fails(1, "put", *where, "", "v", words=["empty"])
    ok("put", *where, "large", "--file", "-", "-q", input="v" * 15728640)
    assert len(ok("get", *where, "--raw", "large")) == 15728640
    ok("del", *where, "large")
    fails(1, "put", *where, "large", "--file", "-", input="v" * 15728641, words=["15728640"])
    ok("put", *where, "brief", "x", "--ttl", "1h")
    assert rows(ok("get", *where, "brief", "-o", "json"))[0]["expires_ms"] > 0


def reads_at_a_time(where):
    aged = ["-T", "aged"]
    ok("table", *where, "create", "aged", "--retention", "1m")
    ok("put", *where, *aged, "k", "one", "-q")
    time.sleep(0.3)  # times are kept 29 ms apart, and written a little later
    ok("put", *where, *aged, "later", "x", "-q")
    time.sleep(0.3)
    then = datetime.datetime.now(datetime.timezone.utc).isoformat()
    time.sleep(0.3)
    ok("put", *where, *aged, "k", "two", "-q")
    ok("put", *where, *aged, "new", "x", "-q")
    at = [*where, *aged, "--as-of", then]
    assert ok("get", *at, "k") == "one\n"
    fails(5, "get", *at, "new", words=["is not in"])
    assert [r["value"] for r in rows(ok("get", *at, "k", "k", "-o", "json"))] == ["one", "one"]
    assert [r["key"] for r in rows(ok("scan", *at, "-o", "json"))] == ["k", "later"]
    for command in (["get", "k"], ["get", "k", "new"], ["scan"]):
        fails(1, command[0], *where, *aged, "--as-of", "2001-01-01", *command[1:],
              words=["before what is kept"])
        fails(2, command[0], *where, *aged, "--as-of", "soon", *command[1:], words=["soon", "90m"])
        fails(2, command[0], *at, "--version", "1", *command[1:], words=["--version"])
        fails(2, command[0], *at, "--archive", "then", *command[1:], words=["--archive"])
    ok("table", *where, "drop", "aged")


def tables(where):
    info = rows(ok("table", *where, "create", "made", "-o", "json"))[0]
    assert info["table"] == "made" and info["kind"] == "kv" and info["retention_ms"] == 0, info
    fails(1, "table", *where, "create", "made", words=["made"])
    ok("table", *where, "create", "made", "--if-not-exists")
    info = rows(ok("table", *where, "create", "typed", "--kind", "record", "--retention", "2m", "-o",
                   "json"))[0]
    assert info["kind"] == "record" and info["retention_ms"] == 120000, info
    tree = rows(ok("table", *where, "create", "tree", "--engine", "btree", "-o", "json"))[0]
    assert tree["engine"] == "btree", tree
    ok("put", *where, "-T", "tree", "k", "one", "-q")
    ok("archive", *where, "create", "then")
    fails(1, "archive", *where, "create", "then", words=["then", "exists"])
    ok("put", *where, "-T", "tree", "k", "two", "-q")
    kept = rows(ok("archive", *where, "list", "-o", "json"))
    assert [a["archive"] for a in kept] == ["then"] and kept[0]["periodic"] == "no", kept
    read = ["-T", "tree", "--archive", "then"]
    assert ok("get", *where, *read, "k") == "one\n"
    fails(5, "get", *where, *read, "no", words=["not in archive 'then'"])
    got = rows(varve("get", *where, *read, "k", "no", "k", "-o", "json").stdout)
    assert [r["value"] for r in got] == ["one", "one"], got
    assert [r["value"] for r in rows(ok("scan", *where, *read, "-o", "json"))] == ["one"]
    for command in (["get", "k"], ["get", "k", "k"], ["scan"]):
        fails(5, command[0], *where, "-T", "tree", "--archive", "never", *command[1:], words=["never"])
        fails(1, command[0], *where, "-T", "made", "--archive", "then", *command[1:],
              words=["archives are of tables of 'btree'"])
        fails(1, command[0], *where, "-T", "tree", "--archive", "n" * 64, *command[1:],
              words=["1 to 63"])
    for command in (["get", "k"], ["get", "k", "no"], ["scan"]):
        fails(2, command[0], *where, *read, "--version", "1", *command[1:], words=["--version"])
    reads_at_a_time(where)
    fails(2, "archive", *where, "restore", "then", words=["--table"])
    ok("archive", *where, "-T", "tree", "restore", "then")
    assert rows(ok("scan", *where, "-T", "tree", "-o", "json"))[0]["value"] == "one"
    ok("archive", *where, "drop", "then")
    fails(5, "archive", *where, "drop", "then", words=["then"])
    ok("table", *where, "drop", "tree")
    ok("put", *where, "--table", "made", "k", "v" * 5000)  # in the memtable alone
    info_now = rows(ok("table", *where, "describe", "made", "-o", "json"))[0]
    assert 5000 < info_now["bytes"] < 6000, info_now
    listed = {r["table"]: r["bytes"] for r in rows(ok("table", *where, "list", "-o", "json"))}
    assert listed["made"] == info_now["bytes"] and listed["typed"] == 0, listed
    names = [r["table"] for r in rows(ok("table", *where, "list", "-o", "json"))]
    assert names == sorted(names) and {"default", "made", "typed"} <= set(names), names
    assert rows(ok("table", *where, "describe", "typed", "-o", "json"))[0] == info
    for how in ("auto", "none", "lz4", "zstd"):
        made = rows(ok("table", *where, "create", f"as-{how}", "--compression", how, "-o", "json"))[0]
        assert made["compression"] == how, made
        ok("table", *where, "drop", f"as-{how}")
    fails(2, "table", *where, "create", "as-x", "--compression", "gzip", words=["auto|none|lz4|zstd"])
    for args, want in (([], 3600000), (["--no-retention"], 0), (["--retention", "0"], 0)):
        made = rows(ok("table", *where, "create", "kept", "--kind", "record", *args, "-o", "json"))[0]
        assert made["retention_ms"] == want, (args, made)
        ok("table", *where, "drop", "kept")
    fails(2, "table", *where, "create", "kept", "--retention", "1h", "--no-retention",
          words=["exclude each other"])
    ok("table", *where, "drop", "typed")
    fails(5, "table", *where, "describe", "typed", words=["typed"])
    fails(5, "table", *where, "drop", "typed")
    fails(1, "table", *where, "create", "bad name!")
    fails(2, "table", *where, "rename", "x", words=["create, list, describe, alter or drop"])


def records(where, tmp):
    args = ["--tenant", "home", "--schema", "sensors", *where]
    out = ok("import", *args, "--id", "kitchen/{timestamp}", "--timestamp", "timestamp",
             "--timestamp-unit", "ms", "--set", "sensor=kitchen", KITCHEN)
    assert "imported 4932 records into home/sensors" in out and "refused" not in out, out
    readings = [(int(t), float(v)) for t, v in list(csv.reader(open(KITCHEN)))[1:]]
    # The same again changes nothing: ids come from the data.
    assert ok("import", *args, "--id", "kitchen/{timestamp}", "--set", "sensor=kitchen", "-q",
              KITCHEN) == "4932\n"
    got = rows(ok("query", *args, "--agg", "count as n", "--agg", "avg(value)", "--agg", "max(value)",
                  "-o", "json"))[0]
    assert got["n"] == len(set(t for t, _ in readings)) == 4932, got
    assert abs(got["avg(value)"] - sum(v for _, v in readings) / len(readings)) < 1e-9, got
    assert got["max(value)"] == max(v for _, v in readings), got
    top = rows(ok("query", *args, "--where", "value > 24", "--order-by", "-value", "--limit", "5", "-o",
                  "json"))
    assert [r["data"]["value"] for r in top] == sorted((v for _, v in readings), reverse=True)[:5]
    assert top[0]["id"].startswith("kitchen/") and top[0]["data"]["sensor"] == "kitchen", top
    assert top[0]["timestamp"].startswith("2016-05-"), top
    done = varve("query", *args, "--since", "2016-05-20", "--until", "2016-05-21T00:00:00Z",
                 "--select", "_timestamp,value", "-o", "csv", "--stats")
    want = [v for t, v in readings if 1463702400000 <= t < 1463788800000]
    got = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(r["value"]) for r in got] == want and list(got[0]) == ["_timestamp", "value"]
    assert "index: time" in done.stderr, done.stderr
    newest = ok("query", *args, "-O", "_timestamp:desc", "-n", "1").splitlines()
    assert newest[0].split() == ["_id", "_timestamp", "value", "sensor"], newest
    assert f"kitchen/{max(t for t, _ in readings)}" in newest[1], newest
    plan = ok("query", *args, "--explain", "--where", "_id = kitchen/1")
    assert "KeyLookup" in plan, plan
    assert rows(ok("query", *args, "--where", "value in 26.26,26.1", "--count", "-o", "json"))[0]
    later = rows(ok("query", *args, "--order-by", "-value", "--offset", "2", "--limit", "3", "-o",
                    "json"))
    assert [r["data"]["value"] for r in later] == sorted((v for _, v in readings), reverse=True)[2:5]
    got = rows(ok("query", *args, "--agg", "min(value)", "--count", "-o", "json"))[0]
    assert got["count"] == 4932 and got["min(value)"] == min(v for _, v in readings), got
    for option in (["--limit", "2"], ["--offset", "2"], ["--order-by", "n"], ["--select", "value"]):
        for of_groups in (["--count"], ["--agg", "count as n", "--group-by", "value"]):
            fails(2, "query", *args, *of_groups, *option, words=[f"{option[0]} is for records"])
    fails(2, "query", *args, "--having", "n > 2", words=["--having needs"])
    groups = ["query", *args, "--agg", "count as n", "--group-by", "value", "-o", "json"]
    counts = [sum(1 for _, v in readings if v == one) for one in set(v for _, v in readings)]
    got = rows(ok(*groups, "--having", "n > 20"))
    assert sorted(r["n"] for r in got) == sorted(n for n in counts if n > 20) != [], got
    assert len(rows(ok(*groups, "--having", "n > 20", "--having", "n < 21"))) == 0
    fails(1, *groups, "--having", "nope > 20", words=["nope"])
    fails(2, "query", *args, "--where", "value", words=["no operator"])
    fails(2, "query", *args, "--where", "value >", words=["no value"])
    fails(2, "query", *args, "--since", "yesterday", words=["yesterday"])
    fails(2, "query", *args, "value > 3", words=["--where"])
    fails(1, "query", *args, "--where", "value ~ 3", words=["unknown operator '~'"])
    fails(5, "query", *where, "--tenant", "home", "--schema", "nope", words=["nope"])

    lines = tmp / "events.jsonl"
    lines.write_text('{"id":"e1","ts":1700000000,"n":1,"deep":{"x":[1,null]}}\n\n'
                     '{"id":"e2","ts":"2023-11-14T22:13:21Z","n":2.5,"more":true}\n')
    ok("import", *where, "--schema", "events", lines)
    got = rows(ok("query", *where, "--schema", "events", "-o", "json"))
    assert [r["id"] for r in got] == ["e1", "e2"], got
    one_record(where, got[0])
    assert got[0]["data"]["deep"] == {"x": [1, None]}, got
    assert [r["timestamp"] for r in got] == ["2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"], got
    got = list(csv.DictReader(io.StringIO(ok("query", *where, "--schema", "events", "-o", "csv"))))
    assert list(got[0]) == ["_id", "_timestamp", "id", "ts", "n", "deep", "more"], got
    assert got[0]["deep"] == '{"x":[1,null]}' and got[1]["more"] == "true", got
    got = rows(ok("query", *where, "--schema", "events", "--where", "deep.x contains 1", "-o", "json"))
    assert [r["id"] for r in got] == ["e1"], got


def one_record(where, want):
    """get prints the record of a record table as fields, its stored bytes with --raw."""
    args = ["get", *where, "--schema", "events", "e1"]
    assert rows(ok(*args)) == [want] == rows(ok(*args, "-o", "json")), want
    assert list(want) == ["id", "timestamp", "version", "metadata", "data"], want
    got = list(csv.DictReader(io.StringIO(ok(*args, "-o", "csv"))))[0]
    assert got["id"] == "e1" and json.loads(got["data"]) == want["data"], got
    assert rows(ok(*args, "--version", want["version"])) == [want]
    raw = subprocess.run([str(BUILD / "varve"), *args, "--raw"], capture_output=True, check=True)
    assert raw.stdout and b"timestamp" not in raw.stdout and not raw.stdout.startswith(b"{"), raw
    fails(5, "get", *where, "--schema", "events", "e9", words=["'events'"])


def bad_files(where, tmp):
    """file:line: cause, exit code 1, and everything before the bad line is there."""
    def write(name, text):
        (tmp / name).write_bytes(text)
        return tmp / name
    head = b"id,v,note\n"
    good = b"".join(b"r%d,%d,text\n" % (i, i) for i in range(1, 101))
    cases = [
        ("cut.csv", head + good + b"r101,5", "cut.csv:102: 2 fields where the header has 3"),
        ("open.csv", head + good + b'r101,5,"never closed\n', "open.csv:102: a quoted field"),
        ("more.csv", head + good + b"r101,5,a,b\n" + good, "more.csv:102: 4 fields"),
        ("quote.csv", head + good + b'r101,5,"a"b\n', "quote.csv:102: something follows"),
        ("utf8.csv", head + good + b"r101,5,\xff\n", "utf8.csv:102: column 'note' is not UTF-8"),
        ("noid.csv", head + good + b",5,a\n", "noid.csv:102: the id is empty"),
        ("bad.jsonl", b'{"id":"r1","v":1}\n' * 100 + b'{"id":"r2",\n', "bad.jsonl:101: JSON: column"),
        ("list.jsonl", b'{"id":"r1"}\n[1]\n', "list.jsonl:2: JSON: column 1: expected '{'"),
    ]
    for name, text, words in cases:
        table = name.split(".")[0]
        f = write(name, text)
        done = fails(1, "import", *where, "--schema", table, f, words=[words])
        assert "imported" in done.stdout, done
        count = rows(ok("query", *where, "--schema", table, "--count", "-o", "json"))[0]
        assert count["count"] == (100 if name.endswith(".csv") else 1), (name, count)
        done = fails(1, "import", *where, "--schema", table, "--skip-bad", f, words=[table])
        assert ", 1 refused" in done.stdout or "cut" in name or "open" in name, done
    f = write("long.csv", b"id,v\na,1\n" + b"x" * 1100 + b",2\nb,3\n")  # refused by the store
    done = fails(1, "import", *where, "--schema", "long", f, words=["long.csv:3: ", "1024"])
    assert "imported 2 records" in done.stdout and "1 refused" in done.stdout, done
    f = write("time.csv", b"id,when\na,noon\n")
    fails(1, "import", *where, "--schema", "time", "--timestamp", "when", f,
          words=["time.csv:2: 'noon' in column 'when' is no time"])
    fails(2, "import", *where, "--timestamp", "then", f, words=["no column 'then'", "id, when"])
    fails(2, "import", *where, "--id", "{x}", f, words=["no column 'x'"])
    fails(1, "import", *where, write("empty.csv", b""), words=["empty.csv", "no header"])
    fails(1, "import", *where, tmp / "missing.csv", words=["missing.csv", "No such file"])
    fails(1, "import", *where, tmp, words=["is a directory"])
    fails(2, "import", *where)
    # Quotes, delimiters, byte order mark, no newline at the end, a header given by hand.
    f = write("odd.csv", b'\xef\xbb\xbfid;t;n\r\na;"x ""y"";\nz";01\r\nb;;-2.5e1')
    ok("import", *where, "--schema", "odd", "--delimiter", ";", "--text", "n", f)
    got = rows(ok("query", *where, "--schema", "odd", "-o", "json"))
    assert [r["data"] for r in got] == [{"t": 'x "y";\nz', "n": "01"}, {"n": "-2.5e1"}], got
    f = write("plain.csv", b"a,1,blue\nb,2,red\n")
    ok("import", *where, "--schema", "plain", "--no-header", "--columns", "id,n,colour", "--meta",
       "colour", f)
    got = rows(ok("query", *where, "--schema", "plain", "-o", "json"))
    assert [(r["id"], r["data"], r["metadata"]) for r in got] == \
        [("a", {"n": 1}, {"colour": "blue"}), ("b", {"n": 2}, {"colour": "red"})], got
    ok("import", *where, "--schema", "piped", "-", input="id,n\nx,1\n")
    assert rows(ok("query", *where, "--schema", "piped", "--count", "-o", "json")) == [{"count": 1}]


def everything(where, tmp):
    keys_and_values(where)
    tables(where)
    records(where, tmp)
    bad_files(where, tmp)
    names = {r["name"] for r in rows(ok("status", *[w for w in where], "--all", "-o", "json"))}
    assert "version" in names and len(names) > 5, names
    some = {r["name"] for r in rows(ok("status", *where, "--match", "disk", "-o", "json"))}
    assert some == {n for n in names if "disk" in n} != set(), some


def against_a_server(tmp):
    with Varved(tmp / "data") as server:
        everything(["--server", server.ingest], tmp)
        busy = fails(1, "scan", "--data", tmp / "data", words=[str(server.process.pid)])
        assert busy.stdout == ""
        assert ok("get", "brief", env=dict(os.environ, VARVE_SERVER=server.ingest)) == "x\n"
        progress(server, tmp)
        loads(server)
        shape_of_loads(server)
        assert server.stop() == 0
    assert "no damage found" in ok("check", "--data", tmp / "data")
    assert ok("get", "--data", tmp / "data", "brief") == "x\n"


def against_a_directory(tmp):
    everything(["--data", tmp / "data"], tmp)
    assert "no damage found" in ok("check", tmp / "data")
    files = [p for p in (tmp / "data").rglob("*") if p.is_file()]
    assert {p.name[:3] for p in files} >= {"LOC", "VAR", "CUR", "man", "rin"}, files
    for f in files:
        assert ok("dump", f).strip(), f
    fails(5, "scan", "--data", tmp / "nothing-there")
    assert not (tmp / "nothing-there").exists()


def progress(server, tmp):
    """A bar with rate and ETA on a terminal; without one, and with -q, no control bytes."""
    big = tmp / "big.csv"
    with open(big, "w", encoding="ascii") as f:
        f.write("id,n,text\n")
        f.writelines(f"id{i},{i},{'t' * 60}\n" for i in range(150000))
    main, side = pty.openpty()
    args = [str(BUILD / "varve"), "import", "--server", server.ingest, "--schema", "bar", str(big)]
    done = subprocess.Popen(args, stderr=side, stdout=subprocess.PIPE, text=True)
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert done.wait(60) == 0 and "150000 records" in done.stdout.read()
    assert b"%" in shown and b"/s" in shown and b"ETA" in shown and b"#" in shown, shown[-300:]
    done = varve("import", "--server", server.ingest, "--schema", "bar", "-q", big)
    assert done.returncode == 0 and done.stderr == "" and done.stdout == "150000\n", done


def measured(load, *args):
    """What a load measured, over as long as it takes to have an answer in it."""
    for seconds in ("200ms", "2s", "20s"):
        got = rows(ok("bench", load, "--seconds", seconds, "-o", "json", *args))[0]
        if got["items"] > 0:
            break
    return got


def loads(server):
    for load in ("put", "get", "scan", "ingest-batch", "ingest-stream", "get-record", "query"):
        got = measured(load, "--server", server.ingest, "--tenant", "load", "--warmup", "100ms",
                       "--keys", "2000", "--clients", "2")
        assert got["items"] > 0 and got["errors"] == 0 and got["p99_us"] > 0, got
        assert got["p50_us"] <= got["p99_us"] <= got["p999_us"] <= got["max_us"] * 1.07, got


def shape_of_loads(server):
    """What is asked for is what is measured, and nought is refused: it was never meant."""
    args = ["--server", server.ingest, "--tenant", "load", "--warmup", "0"]
    got = measured("ingest-batch", *args, "--batch", "7", "--in-flight", "3", "--value-size", "64")
    assert (got["batch"], got["in_flight"], got["value_size"]) == (7, 3, 64), got
    assert got["calls"] > 0 and got["items"] == 7 * got["calls"], got
    got = measured("get", *args, "--keys", "10", "--table", "filled")
    assert got["errors"] == 0, got
    args += ["--seconds", "200ms", "-o", "json"]
    done = varve("bench", "get", *args, "--keys", "10", "--table", "unfilled", "--no-fill")
    assert done.returncode == 5 and "filling" not in done.stderr, done  # no such table
    done = varve("bench", "get", *args, "--keys", "10", "--table", "filled", "--no-fill")
    assert done.returncode == 0 and "filling" not in done.stderr, done
    for option in ("clients", "in-flight", "value-size", "batch", "keys", "seconds"):
        fails(2, "bench", "put", f"--{option}", "0", words=[f"--{option} is 0"])


def usage_and_help(_tmp):
    assert "usage: varve" in ok("--help")
    listed = [line.split()[0] for line in ok("--help").splitlines() if line.startswith("  ")]
    for command in listed:
        text = ok(command, "--help")
        assert text.startswith(f"usage: varve {command}") and "options:" in text, text
        assert ok("help", command) == text
    assert ok("version") == ok("--version")
    done = varve()
    assert done.returncode == 2
    fails(2, "gte", words=["did you mean 'get'"])
    fails(2, "get", words=["KEY"])
    fails(2, "get", "--nope", "x", words=["--nope"])
    fails(2, "get", "--server", words=["needs a value"])
    fails(2, "put", "k", "v", "--ttl", "soon", words=["soon", "10s"])
    fails(2, "put", "k", "v", "-o", "xml", words=["xml", "table|json|csv"])
    fails(2, "scan", "-n", "many", words=["many"])
    fails(2, "put", "--hex", "zz", "00", words=["hexadecimal"])
    fails(2, "get", "--data", "x", "--server", "y", "k", words=["exclude"])
    fails(2, "bench", "dance", words=["ingest-stream"])
    fails(2, "completion", "fish", words=["bash or zsh"])
    fails(3, "get", "--server", "127.0.0.1:1", "--timeout", "300ms", "x", words=["127.0.0.1:1"])
    fails(2, "get", "--server", "host:port", "x", words=["port"])


def options_of(text):
    return set(re.findall(r"^ .*?(--[a-z][a-z-]*)", text, re.M))


def help_man_and_completion_agree(_tmp):
    """Every command and every option is in the man page and in both completion scripts, and the man
    page names no option that is not there."""
    man = (ROOT / "docs/man/varve.1").read_text().replace("\\-", "-")
    scripts = [ok("completion", shell) for shell in ("bash", "zsh")]
    commands = [line.split()[0] for line in ok("--help").splitlines() if line.startswith("  ")]
    there = {"--help"}
    for command in commands:
        options = options_of(ok(command, "--help"))
        assert "--help" in options, command
        there |= options
        assert f"varve {command}" in man, f"varve.1 lacks the command '{command}'"
        for script in scripts:
            assert re.search(rf"\b{command}\b", script), f"completion lacks '{command}'"
        for option in options:
            assert option in man, f"varve.1 lacks {option} of '{command}'"
            assert all(option in s for s in scripts), f"completion lacks {option} of '{command}'"
    unknown = set(re.findall(r"--[a-z][a-z-]+", man)) - there
    assert not unknown, f"varve.1 has {unknown}"
    daemon = (ROOT / "docs/man/varved.1").read_text().replace("\\-", "-")
    done = subprocess.run([str(BUILD / "varved"), "--help"], capture_output=True, text=True, check=True)
    for option in options_of(done.stdout) | {"--help"}:
        assert option in daemon, f"varved.1 lacks {option}"


def check_prints_whole_sentences(tmp):
    """Not cut where nobody sees a table, wrapped between words on a terminal."""
    store = tmp / "s"
    ok("put", "--data", store, "k", "v")
    ring = store / "wal" / "ring"
    bytes_ = bytearray(ring.read_bytes())
    bytes_[60] ^= 1  # in its header
    ring.write_bytes(bytes_)
    done = varve("check", "--data", store)
    line = done.stdout.splitlines()[0]
    assert done.returncode == 1 and len(line) > 120 and "never synced" in line, done
    assert "..." not in done.stdout and "finding" not in done.stdout, done
    assert rows(varve("check", "--data", store, "-o", "json").stdout)[0]["finding"] == line
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with subprocess.Popen([str(BUILD / "varve"), "check", "--data", str(store)], stdout=side,
                          stderr=subprocess.DEVNULL) as wrapped:
        os.close(side)
        shown = b""
        try:
            while part := os.read(main, 65536):
                shown += part
        except OSError:  # how a terminal ends
            pass
        assert wrapped.wait(60) == 1
    lines = shown.decode().replace("\r", "").splitlines()
    assert len(lines) > 3 and all(len(text) <= 60 for text in lines), lines
    assert " ".join(" ".join(lines).split()).startswith(line), lines


def rules_of_a_stream(tmp, where, as_json):
    rules = tmp / "rules"
    rules.write_text("id = json $.id itn\n")
    create = ["table", "create", *where, "--kind", "stream", "--extract"]
    fails(1, *create, rules, "ruled", words=["line 1: rule 'id'", "'int' is"])
    fails(2, "table", "create", *where, "--extract", rules, "x", words=["--extract is of streams"])
    fails(2, "table", "create", *where, "--extract-schema", rules, "x", words=["--extract-schema is for"])
    rules.write_text("id = json $.id int required\nwho = json $.who\n")
    ok(*create, rules, "ruled")
    assert rows(ok("table", "describe", *as_json, "ruled"))[0]["extract"] == rules.read_text()
    table = ["--table", "ruled"]
    assert [r["rule"] for r in rows(ok("stream", *as_json, *table, "rules"))] == ["id", "who"]
    done = ok("stream", *where, *table, "append", "-", input='{"id":1,"who":"a"}\nbad\n{"id":2}\n')
    assert done == "appended 2 messages; 1 were refused by rules\n", done
    got = rows(ok("stream", *as_json, *table, "read"))
    assert [r["attributes"] for r in got] == [{"id": 1, "who": "a"}, {"id": 2}], got
    got = rows(ok("stream", *as_json, "--table", "ruled.dead", "read"))
    assert [(r["value"], r["attributes"]) for r in got] == [("bad", {"_dead_reason": "rule 'id': not JSON"})], got
    done = ok("stream", *where, *table, "replay")
    assert done == "replayed 0 messages, 1 were refused again\n", done
    alter = ["table", "alter", *as_json, "ruled"]
    rules.write_text("id = jsn $.id\n")
    fails(1, *alter, "--extract", rules, words=["line 1: rule 'id'"])
    fails(2, *alter, "--extract-schema", rules, words=["--extract-schema is for"])
    fails(2, *alter, "--extract", rules, "--no-extract", words=["exclude each other"])
    rules.write_text("word = regex [a-z]+\n")
    assert rows(ok(*alter, "--extract", rules))[0]["extract"] == rules.read_text()
    done = ok("stream", *where, *table, "replay")
    assert done == "replayed 1 messages, 0 were refused again\n", done
    got = rows(ok("stream", *as_json, *table, "read"))
    assert [r["attributes"] for r in got] == [{"id": 1, "who": "a"}, {"id": 2}, {"word": "bad"}], got
    assert rows(ok(*alter, "--no-extract"))[0]["extract"] == ""
    ok("check", *where)


def streams_of_a_directory(tmp):
    store = tmp / "s"
    where = ["--data", store]
    as_json = [*where, "-o", "json"]
    lines = tmp / "lines.txt"
    lines.write_text("".join(f"line {i}\n" for i in range(1200)))
    fails(2, "table", "create", *where, "--kind", "stream", "--late", "1h", "x", words=["--late is of series"])
    fails(2, "table", "create", *where, "--keep-size", "1M", "x", words=["--keep-size is of streams"])
    fails(2, "table", "create", *where, "--archive", "off", "x", words=["--archive is of streams"])
    for rule in ("size", "size=0", "codec=gzip", "age=5x", "key=", "what=1"):
        fails(2, "table", "create", *where, "--kind", "stream", "--archive", rule, "x", words=["does not say"])
    fails(1, "table", "create", *where, "--kind", "stream", "--archive", "key=one-name", "x", words=["{first}"])
    ok("table", "create", *where, "--kind", "stream", "--keep", "30d", "--keep-size", "1G", "messages")
    fails(2, "stream", *where, words=["append, read, tail"])
    fails(2, "stream", *where, "append", "-n", "5", "-", words=["--limit is of read and tail"])
    fails(2, "stream", *where, "read", "--from", "soon", words=["'soon' is no offset"])
    fails(2, "stream", *where, "read", "--follow", words=["--follow is of tail"])
    fails(1, "stream", *where, "tail", "--follow", words=["nobody else writes to a directory"])
    fails(5, "stream", *where, "read", "--table", "nope", words=["'nope'"])
    assert ok("stream", *where, "append", "--producer", "p", lines) == "appended 1200 messages\n"
    lines.write_text("".join(f"line {i}\n" for i in range(1300)))
    done = ok("stream", *where, "append", "--producer", "p", lines)
    assert done == ("appended 100 messages; left out the first 1200 lines: producer 'p' has sent 1200 before, and "
                    "they are known by their number\n"), done
    fails(5, "stream", *where, "append", "--table", "nope", lines,
          words=["varve table create nope --kind stream makes it"])
    done = ok("stream", *where, "append", "--key", "k", "--content-type", "text/plain", "-", input="a\n\nb\n")
    assert done == "appended 2 messages\n", done
    got = rows(ok("stream", *as_json, "read"))
    assert [r["offset"] for r in got] == list(range(1302)), len(got)
    assert [r["value"] for r in got[:1300]] == [f"line {i}" for i in range(1300)]
    assert (got[1300]["value"], got[1301]["key"], got[1301]["content_type"]) == ("a", "k", "text/plain"), got[1300:]
    assert [r["value"] for r in rows(ok("stream", *as_json, "tail", "-n", "3"))] == ["line 1299", "a", "b"]
    got = rows(ok("stream", *as_json, "read", "--commit", "c", "-n", "5"))
    assert [r["offset"] for r in got] == [0, 1, 2, 3, 4], got
    got = rows(ok("stream", *as_json, "read", "--commit", "c", "-n", "2"))
    assert [r["offset"] for r in got] == [5, 6], got
    got = rows(ok("stream", *as_json, "positions"))
    assert [(r["name"], r["offset"], r["lag"]) for r in got] == [("c", 7, 1295)], got
    assert ok("stream", *where, "reset", "c", "--from", "2") == "c stands at offset 2\n"
    got = rows(ok("stream", *as_json, "read", "--from", "@c", "-n", "1"))
    assert got[0]["value"] == "line 2", got
    fails(5, "stream", *where, "read", "--from", "@nobody", words=["'nobody'"])
    assert rows(ok("stream", *as_json, "read", "--from", "latest")) == []
    assert rows(ok("stream", *as_json, "read", "--from", "2020-01-01", "-n", "1"))[0]["offset"] == 0
    got = rows(ok("stream", *as_json, "status"))[0]
    assert (got["first"], got["next"], got["producers"], got["positions"]) == (0, 1302, 1, 1), got
    text = ok("dump", store)
    assert "kind stream" in text and "offsets 0 to 1302" in text and "position c: partition 0, offset 2" in text, text
    ok("check", *where)
    fails(1, "put", *where, "--table", "messages", "k", "v", words=["another kind"])
    rules_of_a_stream(tmp, where, as_json)


def streams_of_a_server(tmp):
    """The same commands over varve.v1.Stream; the first append makes the table."""
    lines = tmp / "lines.txt"
    lines.write_text("".join(f"line {i}\n" for i in range(1200)))
    with Varved(tmp / "data") as server:
        where = ["--server", server.ingest]
        as_json = [*where, "-o", "json"]
        fails(5, "stream", *where, "read", words=["messages"])
        assert ok("stream", *where, "append", "--producer", "p", lines) == "appended 1200 messages\n"
        lines.write_text("".join(f"line {i}\n" for i in range(1300)))
        done = ok("stream", *where, "append", "--producer", "p", lines)
        assert done.startswith("appended 100 messages; left out the first 1200 lines: producer 'p' has sent 1200"), done
        done = ok("stream", *where, "append", "--key", "k", "--content-type", "text/plain", "-", input="a\n\nb\n")
        assert done == "appended 2 messages\n", done
        got = rows(ok("stream", *as_json, "read"))
        assert [r["offset"] for r in got] == list(range(1302)), len(got)
        assert [r["value"] for r in got[:1300]] == [f"line {i}" for i in range(1300)]
        assert (got[1301]["key"], got[1301]["content_type"]) == ("k", "text/plain"), got[1301]
        assert [r["value"] for r in rows(ok("stream", *as_json, "tail", "-n", "2"))] == ["a", "b"]
        got = rows(ok("stream", *as_json, "read", "--commit", "c", "-n", "5"))
        assert [r["offset"] for r in got] == [0, 1, 2, 3, 4], got
        got = rows(ok("stream", *as_json, "read", "--commit", "c", "-n", "2"))
        assert [r["offset"] for r in got] == [5, 6], got
        got = rows(ok("stream", *as_json, "positions"))
        assert [(r["name"], r["offset"], r["lag"]) for r in got] == [("c", 7, 1295)], got
        assert ok("stream", *where, "reset", "c", "--from", "2") == "c stands at offset 2\n"
        assert rows(ok("stream", *as_json, "read", "--from", "@c", "-n", "1"))[0]["value"] == "line 2"
        assert rows(ok("stream", *as_json, "read", "--from", "latest", "--commit", "end")) == []
        got = rows(ok("stream", *as_json, "positions"))
        assert [(r["name"], r["offset"]) for r in got] == [("c", 2), ("end", 1302)], got
        got = rows(ok("stream", *as_json, "status"))[0]
        assert (got["first"], got["next"], got["producers"], got["positions"]) == (0, 1302, 1, 2), got
        follower = subprocess.Popen([str(BUILD / "varve"), "stream", *as_json, "tail", "--follow", "-n", "4", "--from",
                                     "1300"], stdout=subprocess.PIPE, text=True)
        ok("stream", *where, "append", "-", input="c\nd\ne\n")
        out, _ = follower.communicate(timeout=60)
        assert [r["value"] for r in rows(out)] == ["a", "b", "c", "d"], out
        fails(1, "stream", *where, "read", "-p", "3", words=["there is no number 3"])
        assert server.stop() == 0


def completion_is_a_script(tmp):
    script = tmp / "varve.bash"
    script.write_text(ok("completion", "bash"))
    probe = ('source "$1"; COMP_WORDS=(varve im); COMP_CWORD=1; _varve; echo "${COMPREPLY[*]}";'
             'COMP_WORDS=(varve import --ti); COMP_CWORD=2; _varve; echo "${COMPREPLY[*]}";'
             'COMP_WORDS=(varve scan -o js); COMP_CWORD=3; _varve; echo "${COMPREPLY[*]}";'
             'COMP_WORDS=(varve table cr); COMP_CWORD=2; _varve; echo "${COMPREPLY[*]}"')
    done = subprocess.run(["bash", "-c", probe, "bash", str(script)], capture_output=True, text=True,
                          check=True)
    got = done.stdout.splitlines()
    assert got[0] == "import import-eloqstore" and "--timestamp" in got[1] and got[2] == "json", done
    assert got[3] == "create", done
    assert ok("completion", "zsh").startswith("#compdef varve")


def main():
    cases = [usage_and_help, help_man_and_completion_agree, completion_is_a_script,
             check_prints_whole_sentences, streams_of_a_directory, streams_of_a_server, against_a_directory, against_a_server]
    only = sys.argv[1:]
    with TempDir() as tmp:
        for case in cases:
            if only and case.__name__ not in only:
                continue
            sub = pathlib.Path(tmp) / case.__name__
            sub.mkdir()
            case(sub)
            print(f"ok {case.__name__}")


if __name__ == "__main__":
    main()
