#!/usr/bin/python3
"""`varve series` and the options of series tables, against a server and against a directory: both print
the same, byte for byte, and refuse the same in the same words.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, varve  # noqa: E402

PLANT = "".join(line + "\n" for line in (
    "time,value,quality,__name__,host,zone",
    "2026-01-02T10:00:00Z,21.5,0,temp,a,north",
    "2026-01-02T10:01:00Z,22.25,0,temp,a,north",
    "2026-01-02T10:00:30.000000001Z,1e300,0,temp,b,north",
    "2026-01-02T10:02:00Z,-0.5,2147483648,temp,a,north",
    '1767348000000000000,7,0,level,"tank, ""1""",'))
TYPED = {"int64": ["-9223372036854775808", "0", "9223372036854775807"],
         "bool": ["true", "0", "1"],
         "string": ["", "plain", "a \"b\", c\nd"],
         "float64": ["0.1", "-1e-300", "12345678.25", "NaN", "-Infinity"]}


def run(code, *args, says=(), **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    for text in says:
        assert text in done.stderr, f"'{text}' is not in: {done.stderr}"
    return done.stdout


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


class Both:
    """One command against the server and against the directory: the same exit code, output and words."""

    def __init__(self, server, data):
        self.ways = (["--server", server], ["--data", data])

    def __call__(self, code, *args, says=(), same=True, **kwargs):
        done = [varve(*args[:1], *way, *args[1:], **kwargs) for way in self.ways]
        for d in done:
            assert d.returncode == code, f"exit {d.returncode} instead of {code}: {d}"
            for text in says:
                assert text in d.stderr, f"'{text}' is not in: {d.stderr}"
        if same:
            assert done[0].stdout == done[1].stdout, f"server and directory differ: {done}"
        return done[0].stdout


def samples(both, tmp):
    plant = tmp / "plant.csv"
    plant.write_text(PLANT)
    done = rows(both(0, "series", "append", plant, "-o", "json"))
    assert done == [{"appended": 5, "refused": 0, "late": 0, "new_series": 3}], done
    both(0, "series", "append", "-", input=PLANT)  # repeats are harmless
    names = [r["series"] for r in rows(both(0, "series", "list", "-o", "json", same=False))]
    assert names == ['level{host=tank, "1"}', "temp{host=a, zone=north}", "temp{host=b, zone=north}"], names
    for form in ("table", "json", "csv"):
        both(0, "series", "query", "-o", form)
        both(0, "series", "latest", "-o", form)
        both(0, "series", "labels", "-o", form)
        both(0, "series", "export", "-o", form)
    assert [r["label"] for r in rows(both(0, "series", "labels", "-o", "json"))] == \
        ["__name__", "host", "zone"]
    assert both(0, "series", "labels", "host", "-m", "__name__=temp", "-o", "csv") == "value\na\nb\n"
    good = rows(both(0, "series", "query", "-m", "host=a", "-o", "json"))
    assert [r["value"] for r in good] == [21.5, 22.25], good
    every = rows(both(0, "series", "query", "-m", "host=a", "--all-quality", "-o", "json"))
    assert [r["quality"] for r in every] == [0, 0, 1 << 31], every
    late = rows(both(0, "series", "query", "--from", "2026-01-02T10:01:00Z", "--to",
                     "2026-01-02T10:02:00Z", "-o", "json"))
    assert [r["value"] for r in late] == [22.25], late
    latest = rows(both(0, "series", "latest", "-m", "host^=tank", "-o", "json"))
    assert latest[0]["value"] == 7 and latest[0]["series"] == 'level{host=tank, "1"}', latest


def questions(both, tmp):
    many = tmp / "many.csv"
    many.write_text("time,value,host\n" + "".join(
        f"{1_700_000_000_000_000_000 + i * 10_000_000_000},{(i * 37) % 101},h{i % 3}\n"
        for i in range(60_000)))  # over one request
    both(0, "series", "append", many, "-T", "many", "--name", "load")
    ask = ["series", "query", "-T", "many", "-o", "csv"]
    assert both(0, *ask).count("\n") == 60_001
    span = ["--from", "1700000000000000000", "--to", "1700000100000000000"]
    for options in (["--agg", "avg", "--step", "1h"], ["--agg", "count"],
                    ["--agg", "percentile", "--percentile", "99", "--step", "1d"],
                    ["--agg", "max", "--step", "1h", "--by", "host", "--across", "sum"],
                    ["--agg", "sum", "--step", "7s", "--fill", "null", *span, "-m", "host=h1"],
                    ["--agg", "last", "--step", "7s", "--fill", "previous", *span],
                    ["--agg", "percent-good"], ["--points", "100"],
                    ["--agg", "rate", "--step", "1h", "--across", "max"]):
        assert both(0, *ask, *options).count("\n") > 1, options
    both(1, *ask, "--agg", "percentile", "--percentile", "101", says=["percentile"])
    both(2, *ask, "--agg", "percentile", says=["--agg percentile needs --percentile P"])
    both(2, *ask, "--agg", "avg", "--percentile", "5", says=["--percentile is of --agg percentile"])
    both(2, *ask, "--step", "1h", says=["--step is of windows"])
    # A window of all there is begins nowhere; one that is told where it begins says so.
    assert {r["time"] for r in rows(both(0, *ask[:-1], "json", "--agg", "count"))} == {None}
    begun = rows(both(0, *ask[:-1], "json", "--agg", "count", *span))
    assert {r["time"] for r in begun} == {"2023-11-14T22:13:20Z"}, begun
    # The digits of a number tell its unit.
    for span in (("1700000000", "1700000100"), ("1700000000000", "1700000100000ms"),
                 ("1700000000000000us", "2023-11-14T22:15:00Z"), ("1700000000000000000ns", "1700000100.0")):
        assert both(0, *ask, "--from", span[0], "--to", span[1]).count("\n") == 11, span
    both(1, *ask, "-m", "host=~(", says=["host"])
    assert both(0, *ask, "-m", "host=nobody") == "series,time,value,quality\n"
    count = rows(both(0, "series", "query", "-T", "many", "--agg", "count", "-o", "json"))
    assert [r["value"] for r in count] == [20_000] * 3, count


def there_and_back(both, tmp):
    """What export writes, append reads, and export writes again."""
    for kind, values in TYPED.items():
        first = tmp / f"{kind}.csv"
        quoted = ['"' + v.replace('"', '""') + '"' for v in values]
        first.write_text("time,value,__name__,part\n" + "".join(
            f"{i * 1_000_000_007}ns,{v},x,{kind}\n" for i, v in enumerate(quoted)))
        assert "appended" in both(0, "series", "append", first, "-T", f"{kind}1", "--type", kind)
        listed = both(0, "series", "list", "-T", f"{kind}1", "-o", "csv", same=False)
        assert listed.rstrip().endswith(kind), listed
        exported = both(0, "series", "export", "-T", f"{kind}1")
        again = tmp / f"{kind}2.csv"
        again.write_text(exported)
        assert ("__value_type__" in exported) == (kind != "float64"), exported
        both(0, "series", "append", again, "-T", f"{kind}2")
        both(0, "series", "append", first, "-T", "mixed", "--type", kind)
        assert both(0, "series", "export", "-T", f"{kind}2") == exported, kind
        both(0, "series", "query", "-T", f"{kind}1", "-o", "json")
        both(0, "series", "latest", "-T", f"{kind}1", "-o", "json")
    # All four types in one table, and in one file.
    exported = both(0, "series", "export", "-T", "mixed")
    assert exported.startswith("time,value,quality,__value_type__,__name__,part\n"), exported
    again = tmp / "mixed.csv"
    again.write_text(exported)
    done = rows(both(0, "series", "append", again, "-T", "mixed2", "-o", "json"))
    assert (done[0]["refused"], done[0]["new_series"]) == (0, 4), done
    assert both(0, "series", "export", "-T", "mixed2") == exported
    listed = [[(r["series"], r["type"]) for r in rows(both(0, "series", "list", "-T", t, "-o", "json", same=False))]
              for t in ("mixed", "mixed2")]
    assert listed[0] == listed[1] and {t for _, t in listed[0]} == set(TYPED), listed
    both(1, "series", "append", again, "-T", "mixed3", "--type", "bool", says=["leave --type away"])
    again.write_text(exported.replace("int64", "int65"))
    both(1, "series", "append", again, "-T", "mixed3", says=["'int65' is no type"])
    # The reverse of the order they came in, and of what they were.
    wrong = tmp / "int64.csv"
    refused = rows(both(1, "series", "append", wrong, "-T", "int642", "-o", "json",
                        says=["int64"]))
    assert refused[0]["refused"] == 3, refused


def deletions(both):
    both(2, "series", "delete", says=["--match is needed"])
    both(2, "series", "drop", says=["--match is needed"])
    assert "1 series" in both(0, "series", "delete", "-m", "host=a", "--to", "2026-01-02T10:01:00Z")
    left = rows(both(0, "series", "query", "-m", "host=a", "-o", "json"))
    assert [r["value"] for r in left] == [22.25], left
    assert rows(both(0, "series", "drop", "-m", "__name__=temp", "-o", "json")) == [{"series": 2}]
    assert "level" in both(0, "series", "latest", "-o", "csv")
    assert "temp" not in both(0, "series", "list", "-o", "csv", same=False)


def bad_input(both, tmp):
    cases = (("time,value\n1,2\n", [], "name"),
             ("time,host\n1,2\n", ["--name", "x"], "columns time and value"),
             ("time,value,host,host\n1,2,a,b\n", ["--name", "x"], "'host' twice"),
             ("time,value,__name__\n1,2,x\n", ["--name", "x"], "leave --name away"),
             ("time,value\nnoon,2\n", ["--name", "x"], "bad.csv:2: 'noon' is no time"),
             ("time,value\n1,two\n", ["--name", "x"], "bad.csv:2: 'two' is no value"),
             ("time,value\n1,1.5\n", ["--name", "x", "--type", "int64"], "'1.5' is no value"),
             ("time,value,quality\n1,1,-1\n", ["--name", "x"], "'-1' is no quality"),
             ("time,value\n1\n", ["--name", "x"], "1 columns instead of 2"),
             ("time,value,__name__\n1,2,\n", [], "the series has no name"),
             ("", ["--name", "x"], "a header is needed"))
    for text, options, says in cases:
        bad = tmp / "bad.csv"
        bad.write_text(text)
        both(1, "series", "append", bad, "-T", "bad", *options, says=[says])
    # What stands before a bad line is there.
    bad.write_text("time,value\n1,2\n2,3\n3,x\n")
    both(1, "series", "append", bad, "-T", "part", "--name", "x", says=["bad.csv:4"])
    assert both(0, "series", "query", "-T", "part", "-o", "csv").count("\n") == 3
    both(5, "series", "query", "-T", "nowhere", says=["nowhere"])
    both(5, "series", "delete", "-T", "nowhere", "-m", "a=b", says=["nowhere"])
    both(0, "put", "k", "v", same=False)
    both(1, "series", "query", "-T", "default", says=["holds no series"])
    both(2, "series", "query", "-m", "host", says=["is no matcher"])
    both(2, "series", "query", "--from", "noon", says=["is no time"])
    both(2, "series", "append", says=["one FILE is needed"])
    both(2, "series", "lits", says=["there is no 'series lits', did you mean 'list'?", "append, delete or drop"])
    both(2, "series", "foobar", says=["there is no 'series foobar'; it is list, query"])
    for verb, option in (("list", ("--step", "1h")), ("latest", ("--from", "1")), ("export", ("--agg", "avg")),
                         ("labels", ("--type", "bool")), ("delete", ("-m", "a=b", "--points", "3")),
                         ("query", ("--name", "x"))):
        both(2, "series", verb, *option, says=[f"is nothing that 'series {verb}' asks for"])
    both(2, "series", "append", "-", "-m", "a=b", says=["--match is nothing that 'series append' asks for"])
    assert "percent-good" in varve("series", "--help").stdout
    # Samples that the table refuses are counted, the rest is there.
    both(0, "table", "create", "tight", "--kind", "series", "--future", "1h", same=False)
    far = tmp / "far.csv"
    far.write_text("time,value\n1700000000000000000,1\n4000000000000000000,2\n")
    done = rows(both(1, "series", "append", far, "-T", "tight", "--name", "x", "-o", "json",
                     says=["far.csv, lines 2 to 3: 1 refused", "2096-10-02T07:06:40Z", "1h ahead is taken (future)"]))
    assert (done[0]["appended"], done[0]["refused"]) == (1, 1), done


def tables(both):
    """What create, describe and list tell of series tables; created and id differ, the rest may not."""
    def told(*args):
        both(0, *args, same=False)
        texts = [rows(run(0, args[0], *way, "describe", args[2], "-o", "json"))[0]
                 for way in both.ways]
        for t in texts:
            for name in ("id", "shard", "created", "bytes"):
                t.pop(name)
        assert texts[0] == texts[1], texts
        return texts[0]
    plain = told("table", "create", "plain", "--kind", "series")
    hour, day = 3_600_000, 86_400_000
    names = ("kind", "keep_ms", "late_ms", "future_ms", "rollups", "keep_minutes_ms", "keep_hours_ms")
    assert [plain[n] for n in names] == ["series", 0, hour, day, True, 0, 0], plain
    full = told("table", "create", "full", "--kind", "series", "--keep", "30d", "--late", "10m",
                "--future", "2h", "--keep-minutes", "90d", "--keep-hours", "365d", "--partitions", "2")
    assert [full[n] for n in names] == \
        ["series", 30 * day, hour // 6, 2 * hour, True, 90 * day, 365 * day], full
    assert full["partitions"] == 2, full
    bare = told("table", "create", "bare", "--kind", "series", "--no-rollups", "--keep", "1h")
    assert (bare["rollups"], bare["keep_ms"]) == (False, hour), bare
    ruled = told("table", "create", "ruled", "--kind", "series", "--keep", "30d",
                 "--keep-where", "env=dev:7d", "--keep-where", "url=~http://x.*:0",
                 "--keep-where", "host^=a:90m")
    assert ruled["keep_where"] == "env=dev:7d, url=~http://x.*:0, host^=a:90m", ruled
    assert full["keep_where"] == "", full
    other = told("table", "create", "other", "--kind", "kv")
    assert all(other[n] is None for n in names[1:]), other
    for way in both.ways:
        listed = {r["table"]: r for r in rows(run(0, "table", *way, "list", "-o", "json"))}
        assert listed["full"]["keep_ms"] == 30 * day and listed["other"]["keep_ms"] is None, listed
    both(2, "table", "create", "x", "--keep", "1h", says=["--keep is of series"])
    both(2, "table", "create", "x", "--kind", "record", "--no-rollups", says=["--no-rollups"])
    both(2, "table", "create", "x", "--keep-where", "a=b:1d", says=["--keep-where is of series"])
    for bad in ("a:1d", "a=b", "a=b:1w", "=b:1d"):
        both(2, "table", "create", "x", "--kind", "series", "--keep-where", bad, says=["is no rule"])
    for bad, why in (("a=~(:1d", "label 'a'"), ("a=b:1h", "out_of_order_ns")):
        both(1, "table", "create", "x", "--kind", "series", "--keep-where", bad, says=[why])
    both(1, "table", "create", "x", "--kind", "series",
         *(a for i in range(17) for a in ("--keep-where", f"a={i}:1d")), says=["17 keep_rules"])
    both(1, "table", "create", "x", "--kind", "series", "--partitions", "9", says=["9 partitions"])
    for kind in ("series", "stream"):
        both(2, "table", "create", "x", "--kind", kind, "--retention", "1h",
             says=["--retention is of old versions", "--keep is how old"])
    both(2, "table", "create", "x", "--no-keep-where", says=["of alter"])
    alters(both, told)
    # The bounds hold: two hours ahead are refused over the network as in the directory.
    ahead = int((time.time() + 3 * 3600) * 1e9)
    assert rows(both(1, "series", "append", "-", "-T", "full", "--name", "x", "-o", "json",
                     input=f"time,value\n{ahead},1\n", says=["future"]))[0]["refused"] == 1


def alters(both, told):
    """What a table keeps, changed by the command that says it."""
    hour, day = 3_600_000, 86_400_000
    altered = told("table", "alter", "ruled", "--keep", "60d", "--keep-minutes", "90d", "--future", "2h")
    assert (altered["keep_ms"], altered["keep_minutes_ms"], altered["future_ms"]) == (60 * day, 90 * day, 2 * hour)
    assert altered["keep_where"].startswith("env=dev:7d"), altered
    altered = told("table", "alter", "ruled", "--keep-where", "host=b:2d")
    assert (altered["keep_where"], altered["keep_ms"]) == ("host=b:2d", 60 * day), altered
    assert told("table", "alter", "ruled", "--no-keep-where")["keep_where"] == ""
    assert told("table", "alter", "ruled", "--keep", "0")["keep_ms"] == 0
    told("table", "create", "events", "--kind", "stream", "--keep", "30d", "--keep-size", "1M")
    altered = told("table", "alter", "events", "--keep", "7d", "--message-max", "1K", "--producers", "5",
                   "--keep-producers", "2h")
    names = ("keep_ms", "keep_bytes", "message_max", "producers", "keep_producers_ms", "late_ms")
    assert [altered[n] for n in names] == [7 * day, 1 << 20, 1024, 5, 2 * hour, None], altered
    assert told("table", "alter", "events", "--keep-size", "2M")["keep_bytes"] == 2 << 20
    assert told("table", "alter", "events", "--archive", "off")["archive"] == "off"
    both(1, "table", "alter", "events", "--archive", "key=../{first}-{intent}", says=["key template"])
    assert told("table", "alter", "other", "--retention", "3h")["retention_ms"] == 3 * hour
    both(1, "table", "alter", "other", "--keep", "1h", says=["retention_ns is nothing that a table of kind kv has"])
    both(1, "table", "alter", "events", "--keep-where", "a=b:1d", says=["keep_rules is nothing"])
    both(2, "table", "alter", "other", "--engine", "lsm", says=["--engine is fixed when a table is made"])
    both(2, "table", "alter", "other", says=["nothing is to be changed"])
    both(5, "table", "alter", "othr", "--retention", "3h", says=["did you mean 'other'"])
    both(2, "table", "altr", "other", says=["did you mean 'alter'"])


def dumped(data):
    """Samples in the runs of a store, readable."""
    run(0, "compact", "--data", data, "sensors")
    runs = sorted(data.glob("**/run-*"))
    text = "".join(varve("dump", r).stdout for r in runs)
    assert "chunk of 3 float64" in text, text
    assert "\n      1767348060000000000 22.25\n" in text, text
    assert "1767348120000000000 -0.5 quality 0x80000000" in text


def main():
    shards = ["storage.shards=2"]
    with TempDir() as tmp, Varved(tmp / "local", shards) as maker, \
            Varved(tmp / "data", shards) as server:
        assert maker.stop() == 0  # what it made is the directory
        both = Both(server.ingest, tmp / "local")
        samples(both, tmp)
        dumped(tmp / "local")
        questions(both, tmp)
        there_and_back(both, tmp)
        deletions(both)
        bad_input(both, tmp)
        tables(both)
        # What is served on the other port alone says so.
        run(1, "table", "--server", server.query, "create", "x",
            says=["unknown method", f"port {server.ingest.split(':')[1]} serves it"])
        assert server.stop() == 0


if __name__ == "__main__":
    main()
