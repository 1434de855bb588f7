#!/usr/bin/python3
"""A year of one sensor, a sample each ten seconds, as about 1,000 points over HTTP: year.py [--json]

Starts a server on a directory of its own, writes 3,153,600 samples as line protocol, waits for the
rollups, and asks /api/v1/query?sensor= three ways on one connection, some hundred times each (what
reads every sample: a few times):

    points      about 1,000 windows of whole hours: what rollups answer
    step        windows of an hour, thinned out to 1,000 points by their look
    max_points  all samples, thinned out

Prints the median and the 99th part of a hundred in milliseconds, and how many points came.
Backs: "one year of 10 s data of one sensor as 1,000 points under 10 ms".
"""
import argparse
import http.client
import json
import pathlib
import statistics
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lib"))
from varvelib import TempDir, Varved  # noqa: E402

DAY = 86400
END = int(time.time()) // DAY * DAY
START = END - 365 * DAY
STEP = 10


def write(server):
    """Days of samples, a request each, on one connection."""
    to = http.client.HTTPConnection(*server.ingest.split(":"), timeout=120)
    for day in range(START, END + DAY // 2, DAY):  # half a day more: the last whole day is rolled up
        body = "".join(f"m,sensor=s1 v={(t // STEP * 37) % 1009 / 8} {t}\n"
                       for t in range(day, min(day + DAY, END + DAY // 2), STEP) if t < time.time())
        to.request("POST", "/write?db=sensors&precision=s&durability=os", body)
        answer = to.getresponse()
        text = answer.read()
        assert answer.status == 204, text
    to.close()


def figure(server, name):
    with urllib.request.urlopen(f"http://{server.query}/metrics", timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return 0.0


def wait_for_rollups(server, days):
    end = time.monotonic() + 120
    while time.monotonic() < end and (figure(server, "varve_rollups_total") < days
                                      or figure(server, "varve_rollup_dirty_windows") > 0):
        time.sleep(0.5)
    assert figure(server, "varve_rollups_total") >= days, "the rollups are not made"


def ask(conn, options):
    begin = time.perf_counter()
    conn.request("GET", f"/api/v1/query?sensor=s1&start={START * 1000}&end={END * 1000}&{options}")
    answer = conn.getresponse()
    body = answer.read()
    took = time.perf_counter() - begin
    assert answer.status == 200, body[:300]
    return took * 1000, body


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON line a question")
    as_json = parser.parse_args().json
    with TempDir() as tmp, Varved(tmp / "data", ["storage.memory_limit=512MB"]) as server:
        write(server)
        wait_for_rollups(server, 365)
        conn = http.client.HTTPConnection(*server.query.split(":"), timeout=120)
        for name, options, count in (("points", "points=1000", 300),
                                     ("step", "step=1h&max_points=1000", 300),
                                     ("max_points", "max_points=1000", 5)):
            ask(conn, options)  # the first reads from the disk
            took = sorted(ask(conn, options)[0] for _ in range(count))
            points = len(json.loads(ask(conn, options)[1])["samples"])
            row = {"question": name, "points": points, "p50_ms": round(statistics.median(took), 3),
                   "p99_ms": round(took[min(count - 1, count * 99 // 100)], 3), "asked": count}
            print(json.dumps(row) if as_json else
                  f"{name:<11} {row['points']:5} points  p50 {row['p50_ms']:8.3f} ms  "
                  f"p99 {row['p99_ms']:8.3f} ms", flush=True)
        assert server.stop() == 0


if __name__ == "__main__":
    main()
