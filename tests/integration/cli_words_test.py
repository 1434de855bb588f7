#!/usr/bin/python3
"""What the varve command line says when something is not as it seems: a slip in a column, two conditions
in one, a store or a server that is not there. Each case is a sentence on standard error and an exit code
of docs/man/varve.1.
"""
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, varve  # noqa: E402


def run(code, *args, says=(), silent=False, **kwargs):
    done = varve(*args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode} instead of {code}: {done}"
    for text in says:
        assert text in done.stderr, f"'{text}' is not in: {done.stderr}"
    assert not silent or done.stderr == "", done
    return done.stdout


def conditions(where, tmp):
    f = tmp / "r.csv"
    f.write_text("id,value,site\na,1,north and south\nb,2,east\n")
    run(0, "import", *where, "--no-timestamp", f)
    query = ["query", *where, "-o", "json"]
    for joined in ("value > 1 and site = east", "value = 1 OR value = 2", 'site = "a" and value = 1',
                   "value > 1 && value < 3", "site = north and south"):
        assert run(2, *query, "-w", joined, says=["repeat it for 'and'", "double quotes"]) == ""
    assert '"a"' in run(0, *query, "-w", 'site = "north and south"', silent=True)
    assert '"b"' in run(0, *query, "-w", "value > 1", "-w", "site = east", silent=True)
    missing = ["no record had a column 'valeu'"]
    run(0, *query, "-w", "valeu > 1", says=missing)
    run(0, *query, "-w", "value > 1", "-w", "valeu > 1", says=missing)
    run(0, *query, "-S", "value,valeu", says=missing)
    run(0, *query, "-A", "avg(valeu)", says=missing)
    run(0, *query, "-A", "count(valeu)", says=missing)
    run(0, *query, "-A", "count", "-G", "valeu", says=missing)
    run(0, *query, "-c", "-w", "valeu > 1", says=missing)
    run(0, *query, "-S", "_id,value,*", silent=True)
    run(0, *query, "-w", "value > 7", silent=True)
    run(0, *query, "-c", "-w", "value > 7", silent=True)
    run(0, *query, "-A", "avg(value)", "-G", "site", silent=True)
    assert run(0, *query, "-n", "0") == run(0, *query)


def tables_of_others(where, _tmp):
    run(0, "table", "--tenant", "other", *where, "create", "theirs")
    assert "theirs" not in run(0, "table", *where, "list", says=["1 more of other tenants: --all"])
    assert "theirs" in run(0, "table", *where, "list", "--all", silent=True)


def a_missing_store(tmp):
    gone = tmp / "gone"
    for args in (["get", "x"], ["scan"], ["query"], ["status"], ["table", "list"], ["del", "x"],
                 ["table", "drop", "x"], ["check"]):
        run(5, args[0], "--data", gone, *args[1:], says=["gone"])
        assert not gone.exists(), args
    run(0, "put", "--data", gone, "k", "v", says=["created a new store in", "gone"])
    run(0, "put", "--data", gone, "k", "w", silent=True)
    f = tmp / "r.csv"
    f.write_text("id,n\na,1\n")
    run(0, "import", "--no-timestamp", "--data", tmp / "new", f, says=["created a new store in"])


def words_and_codes(tmp):
    with socket.socket() as s:  # bound and not listening: refused
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
        begin = time.monotonic()
        run(3, "get", "--server", address, "--timeout", "60s", "a", says=["Connection refused"])
        assert time.monotonic() - begin < 30, "a refusal was waited out"
    for bad in ("host:port", "host:0", "host:99999", "[::1", ":80"):
        run(2, "get", "--server", bad, "a", says=["--server: address"])
    run(2, "put", "k", "-", says=["--file -"])
    for args, says in ((["scan", "-n", "x"], "'x' is no whole number;"),
                       (["put", "k", "v", "--ttl", "x"], "10s, 200ms or 5m;"),
                       (["put", "k", "v", "-o", "x"], "is not one of table|json|csv;")):
        run(2, *args, says=[says])
    run(2, "--server", "127.0.0.1:1", says=["no command behind '--server'"])
    data = tmp / "d"
    run(0, "--data", data, "put", "k", "v")
    assert run(0, "-d", data, "-o", "csv", "get", "k").startswith("key,")
    assert run(0, f"--data={data}", "get", "k") == "v\n"
    run(2, "--nope", "get", "k", says=["--nope"])


def main():
    with TempDir() as tmp:
        def sub(name):
            (tmp / name).mkdir()
            return pathlib.Path(tmp / name)
        a_missing_store(sub("missing"))
        words_and_codes(sub("words"))
        with Varved(tmp / "data") as server:
            for name, where in (("remote", ["--server", server.ingest]),
                                ("local", ["--data", tmp / "local-data"])):
                conditions(where, sub(name))
                tables_of_others(where, None)
                print(f"ok {name}")
            assert server.stop() == 0


if __name__ == "__main__":
    main()
