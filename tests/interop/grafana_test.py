#!/usr/bin/python3
"""The calls of Grafana's stock Prometheus data source, replayed against varved and against a real
Prometheus: paths, forms, headers and numbers as its backend and its editor send them.

Law: each call gets the same status and the same JSON from both; where the two are meant to differ
(rules, exemplars, what PromQL has beyond our subset) varved refuses in the shape that Grafana reads.
Skipped where prometheus is not installed.
"""
import gzip
import http.client
import json
import os
import shutil
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from promql_test import (COUNT, SKIPPED, STEP_S, alike, make_samples, send,  # noqa: E402
                         series_bytes, start_prometheus)
from varvelib import TempDir, Varved  # noqa: E402

HEADERS = {"User-Agent": "Grafana/10.4.2", "Accept-Encoding": "gzip", "X-Grafana-Org-Id": "1",
           "X-Datasource-Uid": "varve", "X-Query-Group-Id": "7f1f", "X-Dashboard-Uid": "d"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Source:
    """A data source: an address and what its url has behind it."""

    def __init__(self, address, prefix):
        self.prefix = prefix
        self.conn = http.client.HTTPConnection(address, timeout=30)

    def call(self, verb, path, parameters):
        """(status, JSON) of one call; the connection stays, as Grafana's does."""
        text = urllib.parse.urlencode(parameters, doseq=True)
        where = f"{self.prefix}/api/v1/{path}"
        if verb == "GET":
            self.conn.request("GET", where + ("?" + text if text else ""), headers=HEADERS)
        else:
            self.conn.request(verb, where, text, headers={**HEADERS, **FORM})
        answer = self.conn.getresponse()
        body = answer.read()
        if answer.getheader("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        kind = answer.getheader("Content-Type", "")
        assert kind.startswith("application/json") or answer.status == 404, (where, kind)
        return answer.status, json.loads(body) if kind.startswith("application/json") else None


def order(value):
    """Lists of series in an order of their own; all else as it is."""
    data = value.get("data")
    if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix"):
        data["result"].sort(key=lambda s: sorted(s["metric"].items()))
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        data.sort(key=lambda s: sorted(s.items()))
    return value


def same(a, b):
    """Alike to nine digits where there are numbers, the same keys everywhere."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return alike(a, b)


def as_seconds(t):
    """As Grafana writes moments and steps: the fewest digits."""
    return f"{t:.3f}".rstrip("0").rstrip(".")


def calls(start, end):
    """(name, verb, path, parameters); the queries are what its macros become."""
    span = {"start": as_seconds(start), "end": as_seconds(end)}
    moment = {"time": as_seconds(end)}
    panel = {**span, "step": "15"}
    return [
        ("health", "POST", "query", {"query": "1+1", "time": as_seconds(end)}),
        ("health of old ones", "GET", "query", {"query": "1+1", "time": as_seconds(end)}),
        ("panel", "POST", "query_range", {"query": "usage", **panel}),
        ("panel of a rate", "POST", "query_range", {"query": "rate(hits[1m0s])", **panel}),
        ("panel of a sum", "POST", "query_range",
         {"query": "sum by(host) (\n  rate(hits{os=~\"linux|bsd\"}[5m])\n)", **panel}),
        ("panel by GET", "GET", "query_range", {"query": "max(usage)", **panel, "timeout": "30s"}),
        ("panel of half seconds", "POST", "query_range",
         {"query": "load", **span, "end": as_seconds(start + 60.5), "step": "0.5"}),
        ("moments to the microsecond", "POST", "query_range",
         {"query": "load", "start": f"{start + 0.000612:.6f}", "end": f"{end + 0.0004:.6f}",
          "step": "30"}),
        ("panel of nothing", "POST", "query_range", {"query": "no_such_metric", **panel}),
        ("stat", "POST", "query", {"query": "avg(usage)", **moment}),
        ("table of the range", "POST", "query", {"query": "avg_over_time(usage[3600s])", **moment}),
        ("table of instants", "POST", "query", {"query": "usage", **moment}),
        ("odd numbers", "POST", "query_range", {"query": "odd", **panel}),
        ("query_result variable", "GET", "query", {"query": 'usage{host="h1"}', **moment}),
        ("metrics of the editor", "GET", "label/__name__/values", span),
        ("metrics that fit", "GET", "label/__name__/values",
         {**span, "match[]": '{host="h1"}', "limit": "40000"}),
        ("labels of the editor", "POST", "labels", {**span, "match[]": "usage"}),
        ("labels by GET", "GET", "labels", span),
        ("label_values variable", "GET", "label/host/values", {**span, "match[]": "usage"}),
        ("values with a filter", "GET", "label/host/values",
         {**span, "match[]": ['hits{os="linux"}', "load"]}),
        ("values that are not there", "GET", "label/region/values", span),
        ("series", "POST", "series", {**span, "match[]": ["usage", "load"]}),
        ("series by GET", "GET", "series", {**span, "match[]": '{__name__="usage",host=~"h1|h2"}'}),
        ("series of nothing", "GET", "series", {**span, "match[]": "no_such_metric"}),
        ("metadata", "GET", "metadata", {}),
        ("metadata of a metric", "GET", "metadata", {"metric": "usage", "limit": "1000"}),
        ("a query that is none", "POST", "query_range", {"query": "sum(usage", **panel}),
        ("a step of nothing", "POST", "query_range", {"query": "usage", **span, "step": "0"}),
        ("an end before the start", "POST", "query_range",
         {"query": "usage", "start": span["end"], "end": span["start"], "step": "15"}),
        ("too many points", "POST", "query_range", {"query": "usage", **span, "step": "0.001"}),
        ("no query", "POST", "query", {"time": moment["time"]}),
        ("series of all", "GET", "series", span),
        ("a selector that is none", "GET", "series", {**span, "match[]": "usage{"}),
    ]


def replay(ours, theirs, start, end):
    wrong = []
    asked = calls(start, end)
    for name, verb, path, parameters in asked:
        a_status, a = ours.call(verb, path, parameters)
        b_status, b = theirs.call(verb, path, parameters)
        if b["status"] == "error":  # the words are ours
            is_right = a_status == b_status and a["status"] == "error" and a["error"] and \
                a["errorType"] == b["errorType"]
        else:
            is_right = a_status == b_status and same(order(a), order(b))
        if not is_right:
            wrong.append(f"{name}: {verb} {path} {parameters}\n  varve      {a_status} {str(a)[:300]}\n"
                         f"  prometheus {b_status} {str(b)[:300]}")
    assert not wrong, f"{len(wrong)} of {len(asked)} differ:\n" + "\n".join(wrong)
    return len(asked)


def identity(ours):
    """What decides which features the editor offers: a Prometheus of 2.42, no Mimir and no Thanos."""
    status, info = ours.call("GET", "status/buildinfo", {})
    assert status == 200 and info["status"] == "success", info
    assert info["data"]["version"] == "2.42.0" and "application" not in info["data"], info
    assert not info["data"].get("features"), info


def refused(ours, start, end):
    """What Grafana asks for to see whether it is there, and takes a refusal for an answer."""
    span = {"start": as_seconds(start), "end": as_seconds(end)}
    for verb, path, parameters in (
            ("GET", "query_exemplars", {"query": "test", **span}),
            ("POST", "query_exemplars", {"query": "usage", **span}),
            ("GET", "rules", {}), ("GET", "alerts", {}), ("GET", "targets/metadata", {})):
        status, answer = ours.call(verb, path, parameters)
        assert status == 404 and answer["status"] == "error" and answer["error"], (path, status, answer)
    status, answer = ours.call("POST", "query", {"query": "topk(5, usage)", "time": span["end"]})
    assert status == 422 and answer["errorType"] == "execution" and "topk" in answer["error"], answer


def main():
    if shutil.which("prometheus") is None:
        print("SKIPPED: prometheus is not installed")
        return SKIPPED
    with TempDir() as directory, Varved(directory / "data") as server:
        prometheus, address = start_prometheus(directory)
        try:
            start = int(time.time()) // 10 * 10 - COUNT * STEP_S - 60
            body = b"".join(series_bytes(labels, points) for labels, points in make_samples(start))
            send(server.ingest, "/api/v1/write", body)
            send(address, "/api/v1/write", body)
            ours, theirs = Source(server.query, "/prometheus"), Source(address, "")
            end = start + COUNT * STEP_S - 5
            print(f"{replay(ours, theirs, start, end)} calls, the same answers")
            identity(ours)
            refused(ours, start, end)
        finally:
            prometheus.kill()
            prometheus.wait()
        assert server.stop() == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
