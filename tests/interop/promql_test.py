#!/usr/bin/python3
"""The same samples by remote write into a real Prometheus and into varved, then the same questions.

Both must answer alike: the same series, the same moments, values equal to nine digits. The samples
hold counters that begin anew, gaps, NaN, infinities and stale markers. Skipped where prometheus is
not installed.
"""
import json
import math
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import TempDir, Varved, wait_until  # noqa: E402

SKIPPED = 77
STALE = struct.pack("<Q", 0x7FF0000000000002)
STEP_S = 10
COUNT = 360

QUERIES = """
usage | load{host="h1"} | {host="h2",__name__=~"us.+"} | usage{host!~"h[1-9]"} | absent_metric
rate(hits[5m]) | increase(hits{host="h1"}[7m]) | irate(hits[2m]) | delta(usage[3m])
idelta(usage[2m]) | changes(usage[5m]) | resets(hits[30m]) | rate(hits[25s])
sum by (os) (rate(hits[1m])) | avg without (host) (usage) | max(usage) by (os) | min(usage)
count({__name__=~"usage|load"}) | count by (host) ({os="linux"}) | avg(usage{os=""})
sum_over_time(usage[95s]) | avg_over_time(usage[95s]) | min_over_time(odd[95s])
max_over_time(odd[95s]) | count_over_time(usage[95s]) | last_over_time(usage[5m])
present_over_time(usage[5m]) | stddev_over_time(usage[5m]) | stdvar_over_time(usage[5m])
quantile_over_time(0.9, usage[5m]) | quantile_over_time(1.5, usage[5m]) | sum_over_time(odd[1m])
usage > 50 | usage > bool 50 | 20 < usage | 100 - usage | usage % 7 | usage ^ 2 | -usage
2 ^ load | usage / 0 | 0 < usage < 20 | usage == 50 | odd != 1 | odd
abs(usage - 50) | ceil(usage) | floor(usage) | ln(usage) | log2(usage) | log10(usage)
sqrt(usage - 50) | exp(usage / 100) | sgn(usage - 50) | time() | vector(1) | vector(time())
1 + 1 | -2 ^ 2 | 2 ^ 3 ^ 2 | 1 / 0 | 5 % 3 * 2 | 1 > bool 2 | 0x1F + 1e3
usage offset 10m | rate(hits[5m] offset 7m) | usage offset -5m | sum(usage) / 8 | gone
count_over_time(gone[5m]) | rate(gone[5m]) | usage[35s] | hits[1m30s] offset 2m
"""


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def series_bytes(labels, samples):
    out = b"".join(field(1, field(1, k.encode()) + field(2, v.encode()))
                   for k, v in sorted(labels.items()))
    for time_ms, value in samples:
        raw = value if isinstance(value, bytes) else struct.pack("<d", value)
        out += field(2, b"\x09" + raw + b"\x10" + varint(time_ms))
    return field(1, out)


def snappy(data):
    """One that only has literals is a snappy block too."""
    out = varint(len(data))
    for i in range(0, len(data), 65536):
        part = data[i:i + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return out


def make_samples(start_s):
    """A list of (labels, [(ms, value)]), the same every time."""
    rng = random.Random(7)
    all_series = []
    for h in range(6):
        labels = {"host": f"h{h}", "os": "linux" if h % 2 else "bsd", "quoted": 'a"b\\c'}
        usage, hits, walk, total, gone = [], [], 50.0, 0, []
        for i in range(COUNT):
            ms = (start_s + i * STEP_S) * 1000 + rng.randrange(3) * 7
            walk = min(100.0, max(0.0, walk + rng.gauss(0, 3)))
            total = 0 if rng.random() < 0.01 else total + rng.randrange(20)
            if not (h == 2 and 100 <= i < 160):
                usage.append((ms, round(walk, 2)))
            hits.append((ms, float(total)))
            if i < 200 and h < 2:
                gone.append((ms, float(i)))
            elif i == 200 and h < 2:
                gone.append((ms, STALE))
        all_series.append(({"__name__": "usage", **labels}, usage))
        all_series.append(({"__name__": "hits", **labels}, hits))
        if gone:
            all_series.append(({"__name__": "gone", **labels}, gone))
    odd = [(start_s * 1000 + i * STEP_S * 1000, [1.0, -0.0, math.nan, math.inf, -math.inf, 2.5][i % 6])
           for i in range(COUNT)]
    all_series.append(({"__name__": "odd"}, odd))
    load = [(start_s * 1000 + i * 60000, i / 7) for i in range(COUNT // 6)]
    all_series.append(({"__name__": "load", "host": "h1"}, load))
    return all_series


def send(base, path, body):
    request = urllib.request.Request(f"http://{base}{path}", data=snappy(body), headers={
        "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status // 100 == 2, answer.status


def ask(base, prefix, call, **parameters):
    url = f"http://{base}{prefix}/api/v1/{call}?" + urllib.parse.urlencode(parameters, doseq=True)
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        return json.load(refused)


def rows(answer):
    """What an answer says, in an order of its own."""
    if answer["status"] != "success" or answer["data"]["resultType"] == "scalar":
        return answer.get("data", answer)
    return answer["data"]["resultType"], sorted(
        (sorted(s["metric"].items()), s.get("values") or [s["value"]])
        for s in answer["data"]["result"])


def alike(a, b):
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(alike, a, b))
    try:
        x, y = float(a), float(b)
    except (TypeError, ValueError):
        return a == b
    return x == y or (math.isnan(x) and math.isnan(y)) or \
        math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12)


def compare(ours, theirs, start_s):
    queries = [q.strip() for line in QUERIES.strip().splitlines() for q in line.split(" | ")]
    wrong, asked = [], 0
    moments = [("query", {"time": start_s + 1805}), ("query", {"time": start_s + 2035.5}),
               ("query_range", {"start": start_s - 100, "end": start_s + 4000, "step": 37}),
               ("query_range", {"start": start_s + 1990, "end": start_s + 2100, "step": "5s"})]
    for q in queries:
        for call, when in moments:
            if "query_range" in call and ("[35s]" in q or "[1m30s] offset" in q):
                continue
            asked += 1
            a = rows(ask(ours, "/prometheus", call, query=q, **when))
            b = rows(ask(theirs, "", call, query=q, **when))
            if not alike(a, b):
                wrong.append(f"{call} {when} {q}\n  varve      {str(a)[:400]}\n"
                             f"  prometheus {str(b)[:400]}")
    for call, parameters in (("labels", {}), ("labels", {"match[]": "load"}),
                             ("label/host/values", {}), ("label/os/values", {"match[]": "hits"}),
                             ("label/__name__/values", {}), ("label/nowhere/values", {}),
                             ("series", {"match[]": ["usage", '{host="h1"}']})):
        when = {"start": start_s - 60, "end": start_s + 4000}
        asked += 1
        a, b = (ask(where, prefix, call, **parameters, **when)["data"]
                for where, prefix in ((ours, "/prometheus"), (theirs, "")))
        if call == "series":
            a, b = (sorted(map(sorted, (s.items() for s in x))) for x in (a, b))
        if a != b:
            wrong.append(f"{call} {parameters}\n  varve      {a}\n  prometheus {b}")
    assert not wrong, f"{len(wrong)} of {asked} differ:\n" + "\n".join(wrong[:10])
    return asked


def refusals(ours):
    for query, status in (("topk(1, usage)", "execution"), ("usage / usage", "execution"),
                          ("usage[5m:1m]", "execution"), ("usage{", "bad_data")):
        answer = ask(ours, "/prometheus", "query", query=query)
        assert answer["status"] == "error" and answer["errorType"] == status, (query, answer)


def dashboard(ours):
    """The calls that Grafana's stock Prometheus data source makes."""
    assert ask(ours, "/prometheus", "query", query="1+1", time=4)["data"]["result"] == [4, "2"]
    assert "version" in ask(ours, "/prometheus", "status/buildinfo")["data"]
    assert ask(ours, "/prometheus", "metadata", limit=100)["data"] == {}
    form = urllib.parse.urlencode({"query": "usage", "start": 1, "end": 100, "step": 15}).encode()
    for call in ("query_range", "labels", "series"):
        body = urllib.parse.urlencode({"match[]": "usage"}).encode() if call != "query_range" else form
        with urllib.request.urlopen(urllib.request.Request(
                f"http://{ours}/prometheus/api/v1/{call}", data=body), timeout=30) as answer:
            assert json.load(answer)["status"] == "success", call


def start_prometheus(directory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    (directory / "p.yml").write_text("global: {}\n")
    log = open(directory / "prometheus.log", "wb")
    process = subprocess.Popen(
        ["prometheus", f"--config.file={directory}/p.yml", f"--storage.tsdb.path={directory}/p",
         "--web.enable-remote-write-receiver", f"--web.listen-address={address}"],
        stdout=log, stderr=log)

    def ready():
        assert process.poll() is None, f"prometheus ended: {directory}/prometheus.log"
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5):
                return True
        except OSError:
            return False
    wait_until(ready, 60, "prometheus to be ready")
    return process, address


def main():
    if shutil.which("prometheus") is None:
        print("SKIPPED: prometheus is not installed")
        return SKIPPED
    with TempDir() as directory, Varved(directory / "data") as server:
        prometheus, theirs = start_prometheus(directory)
        try:
            start_s = int(time.time()) // 10 * 10 - COUNT * STEP_S - 60
            samples = make_samples(start_s)
            for part in range(0, COUNT, 60):  # in the order of time, as Prometheus wants them
                low, high = ((start_s + i * STEP_S) * 1000 for i in (part, part + 60))
                body = b"".join(series_bytes(labels, [s for s in points if low <= s[0] < high])
                                for labels, points in samples)
                send(server.ingest, "/api/v1/write", body)
                send(theirs, "/api/v1/write", body)
            asked = compare(server.query, theirs, start_s)
            refusals(server.query)
            dashboard(server.query)
            print(f"{asked} questions, the same answers")
        finally:
            prometheus.terminate()
            prometheus.wait(30)
        assert server.stop() == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
