#!/usr/bin/python3
"""curl against the HTTP endpoints, h2load against Kv.Put, promtool on /metrics."""
import json
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import Messages, TempDir, Varved, varve  # noqa: E402


def curl(url, *args, data=None):
    """Returns (status, body bytes, headers text)."""
    done = subprocess.run(["curl", "-sS", "-m", "30", "-D", "-", *args, url], input=data,
                          capture_output=True, check=False)
    assert done.returncode == 0, f"curl {url}: {done.stderr.decode()}"
    out = done.stdout
    while True:
        head, _, out = out.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 100"):
            break
    return int(head.split()[1]), out, head.decode()


def ingest_and_query(base, query):
    one = {"record": {"id": {"tenantId": {"id": "web"}, "entityId": {"id": "r1"}},
                      "data": {"t": 20.5, "name": "x", "nested": {"a": [1, None, True]}},
                      "schema": {"name": "records"}, "timestamp": "2026-01-02T03:04:05.5Z",
                      "metadata": {"k": "v"}}}
    code, body, _ = curl(base + "/api/v1/ingest/record", "-H", "Content-Type: application/json",
                         "--data-binary", "@-", data=json.dumps(one).encode())
    assert code == 200, body
    reply = json.loads(body)
    assert int(reply["version"]) > 0, reply
    many = {"records": [dict(one["record"], id={"tenant_id": {"id": "web"},
                                                "entity_id": {"id": f"m{i}"}}, data={"n": i})
                        for i in range(50)]}
    code, body, _ = curl(base + "/api/v1/ingest/batch", "--data-binary", "@-",
                         data=json.dumps(many).encode())
    assert code == 200 and json.loads(body)["successfulCount"] == 50, body
    ask = {"tenantId": {"id": "web"}, "schema": {"name": "records"},
           "filters": [{"column": "n", "operator": ">=", "value": 45}],
           "orderBy": [{"column": "n", "descending": True}], "limit": 3}
    code, body, _ = curl(query + "/api/v1/query", "--data-binary", "@-",
                         data=json.dumps(ask).encode())
    reply = json.loads(body)
    assert code == 200 and [r["data"]["n"] for r in reply["records"]] == [49, 48, 47], body
    ask = {"tenantId": {"id": "web"}, "schema": {"name": "records"},
           "filters": [{"column": "_id", "operator": "=", "value": "r1"}]}
    code, body, _ = curl(query + "/api/v1/query", "--data-binary", "@-",
                         data=json.dumps(ask).encode())
    got = json.loads(body)["records"][0]
    assert got["data"] == one["record"]["data"] and got["metadata"] == {"k": "v"}, got
    assert got["timestamp"].startswith("2026-01-02T03:04:05.5"), got
    for bad in (b"{", b"[]", b'{"record": 7}', b'{"unknown": 1}', b'{"record": {"data": {}}}'):
        code, body, _ = curl(base + "/api/v1/ingest/record", "--data-binary", "@-", data=bad)
        assert code == 400 and json.loads(body)["error"]["message"], (bad, code, body)
    code, body, _ = curl(query + "/api/v1/query", "--data-binary", "@-",
                         data=b'{"tenantId":{"id":"web"},"schema":{"name":"nope"}}')
    assert code == 404 and b"nope" in body, (code, body)


def pages_of_others_are_refused(base):
    """What a browser on this machine could be made to send; programs and our own pages may."""
    host = base.removeprefix("http://")
    for headers, want in ((["Origin: http://evil.example"], 403), (["Origin: null"], 403),
                          (["Host: evil.example"], 403), (["Host: 127.0.0.1.evil.example"], 403),
                          (["Host: localhost"], 200), ([f"Origin: http://{host}"], 200)):
        args = [x for h in headers for x in ("-H", h)]
        code, _, _ = curl(base + "/api/v1/status", *args)
        assert code == want, (headers, code)


def keys_and_values(base):
    url = base + "/api/v1/kv/web/things/a%2Fb%20%00"
    code, _, head = curl(url, "-X", "PUT", "--data-binary", "@-", data=b"\x00\x01value")
    assert code in (200, 201, 204), (code, head)
    code, body, head = curl(url)
    assert code == 200 and body == b"\x00\x01value" and "varve-version" in head.lower(), (code, head)
    assert curl(base + "/api/v1/kv/web/things/none")[0] == 404
    assert curl(url, "-X", "DELETE")[0] in (200, 204)
    assert curl(url)[0] == 404
    assert curl(base + "/api/v1/kv/web/things/" + "x" * 1100, "-X", "PUT", "-d", "v")[0] == 400
    assert curl(url, "-X", "POST", "-d", "v")[0] == 405
    assert curl(base + "/nowhere")[0] == 404


def figures(base):
    """The figures without labels of /metrics, by name."""
    code, body, _ = curl(base + "/metrics")
    assert code == 200
    rows = [line.split(b" ") for line in body.splitlines() if b"{" not in line]
    return {row[0].decode(): float(row[1]) for row in rows if not row[0].startswith(b"#")}


def series_are_counted(base, query):
    """Days that are rolled up, marked and read, and the chunks that queries looked at."""
    day, now = 86400, int(time.time())
    first = now // day * day - 3 * day
    lines = "\n".join(f"oven temp={i % 97} {first + 10 * i}" for i in range(2 * 8640 + 1000))
    code, body, _ = curl(base + "/write?db=plant&precision=s", "--data-binary", "@-",
                         data=lines.encode())
    assert code == 204, body
    ask = (f"{query}/api/v1/series/query?table=plant&match=oven_temp&start={first}"
           f"&end={first + 2 * day}&aggregate=count&step=")
    deadline = time.monotonic() + 60
    while figures(base)["varve_rollups_total"] < 2:
        assert time.monotonic() < deadline, "no rollups"
        time.sleep(0.05)
    before = figures(base)
    for step, windows in (("90s", 1920), ("1h", 48)):
        code, body, _ = curl(ask + step)
        assert code == 200 and body.count(b"[") >= windows, body[:200]
    after = figures(base)
    grown = {name: after[name] - before[name] for name in after if name in before}
    assert grown["varve_series_queries_total"] == 2, grown
    assert grown["varve_rollup_reads_total"] == 2, grown
    assert grown["varve_series_chunks_decoded_total"] > 0, grown
    assert after["varve_rollup_dirty_windows"] == 0 and after["varve_rollup_lag_seconds"] == 0
    for value in (0, 1000):  # the first is there already
        late = f"oven temp={value} {first}"
        code, body, _ = curl(base + "/write?db=plant&precision=s", "--data-binary", "@-",
                             data=late.encode())
        assert code == 204, body
    after = figures(base)
    assert after["varve_samples_repeated_total"] == 1, after
    repairs = after["varve_rollup_repairs_total"]  # where ten seconds have passed
    assert after["varve_rollup_dirty_windows"] + repairs == 1, after
    code, body, _ = curl(ask.replace("=count", "=max") + "1h")
    assert code == 200 and b"1000" in body, body[:200]  # no row says so yet
    check_names(base)


def check_names(base):
    _, body, _ = curl(base + "/metrics")
    check = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True,
                           check=False)
    assert check.returncode == 0 and not check.stderr.strip(), check.stderr.decode()


def state(base, query):
    for b in (base, query):
        assert curl(b + "/health")[0] == 200
        assert curl(b + "/ready")[0] == 200
        code, body, _ = curl(b + "/metrics")
        assert code == 200
        check_names(b)
        code, body2, _ = curl(b + "/metrics", "--http2-prior-knowledge")
        assert code == 200 and body2.split(b"\n")[0] == body.split(b"\n")[0]
    code, body, _ = curl(base + "/api/v1/status")
    assert code == 200 and json.loads(body)


def load(server):
    """h2load counts HTTP 200s and not gRPC statuses: the server's own counter is asked after it."""
    pb = Messages()
    put = pb.kv.PutRequest(key=b"hot", value=b"v" * 100)
    put.table.tenant = "web"
    put.table.table = "load"
    body = put.SerializeToString()
    path = str(server.data) + ".put"
    with open(path, "wb") as f:
        f.write(b"\x00" + struct.pack(">I", len(body)) + body)
    done = subprocess.run(["h2load", "-n", "20000", "-c", "4", "-m", "32", "-d", path, "-H",
                           "content-type: application/grpc", "-H", "te: trailers",
                           f"http://{server.ingest}/varve.v1.Kv/Put"], capture_output=True,
                          text=True, timeout=120, check=False)
    assert "20000 succeeded, 0 failed" in done.stdout, done.stdout
    got = varve("get", "--server", server.ingest, "--tenant", "web", "--table", "load", "hot")
    assert got.returncode == 0 and "v" * 100 in got.stdout, got.stderr
    metrics = curl(f"http://{server.ingest}/metrics")[1].decode()
    ok = [line for line in metrics.splitlines()
          if "grpc" in line and not line.startswith("#") and ("OK" in line or 'code="0"' in line)]
    assert ok and sum(float(line.split()[-1]) for line in ok) >= 20000, ok


def main():
    with TempDir() as tmp, Varved(tmp / "data") as server:
        base, query = f"http://{server.ingest}", f"http://{server.query}"
        for case in (lambda: pages_of_others_are_refused(base),
                     lambda: ingest_and_query(base, query), lambda: keys_and_values(base),
                     lambda: series_are_counted(base, query), lambda: state(base, query),
                     lambda: load(server)):
            case()
        assert server.stop() == 0
    print("ok")


if __name__ == "__main__":
    main()
