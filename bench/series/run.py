#!/usr/bin/python3
"""Time-series servers side by side: run.py [--kinds int,dec2,full] [--servers varve,...] [--short]

The same client (series_load) sends the same load to each server on loopback, one after the other in
each round, then asks the same five questions: TSBS devops cpu-only in shape, 400 hosts x 10 values
every 10 s for 6 h, and a lookup for each panel of a dashboard. Prints one JSON line a figure with
the median of all rounds, and a table. Servers that are not installed are left out, and named.

    varve            acknowledged after sync
    victoriametrics  no log: what was written in the last seconds is lost with the process
    influxdb         log synced for each request
    prometheus       log written, not synced
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lib"))
import varvelib  # noqa: E402

START = 1_700_000_000
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def tree_bytes(path):
    return sum(f.stat().st_blocks * 512 for f in pathlib.Path(path).rglob("*") if f.is_file())


class Server:
    """One server process in a directory of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port = free_port()
        self.process = None

    def spawn(self, command, env=None):
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env,
                                        cwd=self.directory)
        end = time.monotonic() + 60
        while True:
            try:
                get(self.port, self.alive)
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError(f"{command[0]} did not start: {self.directory}/log") from None
                time.sleep(0.05)

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_peak_mb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def prom_range(expression, start, end, step):
    return "query_range?" + urllib.parse.urlencode(
        {"query": expression, "start": start, "end": end, "step": step})


def prom_questions(prefix, hours, by_name):
    end = START + hours * 3600
    questions = {
        "Q1": prom_range('cpu_usage_user{hostname="host_1"}', START, START + 3590, 10),
        "Q2": prom_range('max_over_time(cpu_usage_user{hostname="host_1"}[1m])', START + 60, end, 60),
        "Q4": prom_range("avg_over_time(cpu_usage_user[1h])", START + 3600, end, 3600),
        "Q5": "query?" + urllib.parse.urlencode({"query": "cpu_usage_user", "time": end - 10}),
    }
    if by_name:
        hosts = "|".join(f"host_{i}" for i in range(8))
        questions["Q3"] = prom_range(
            'max_over_time({__name__=~"cpu_usage_(user|system|idle|nice|iowait)",'
            f'hostname=~"{hosts}"}}[1m])', START + 60, START + 3600, 60)
    return {name: prefix + path for name, path in questions.items()}


class Varve(Server):
    name = "varve"
    protocols = {"line": ("/write?db=metrics", 10_000), "remote": ("/api/v1/write", 2_000),
                 "grpc": ("metrics", 10_000)}
    durability = "synced before each answer"

    def start(self):
        self.node = varvelib.Varved(self.directory / "data", ["log.level=warn"])
        self.process = self.node.process
        self.port = self.node.ports["ingest"]
        self.query_port = self.node.ports["query"]

    def settle(self):
        subprocess.run([str(varvelib.BUILD / "varve"), "compact", "--server", self.node.ingest,
                        "default/metrics"], check=True, capture_output=True)
        time.sleep(5)

    def disk_bytes(self):
        # The log is made ahead and recycled: what the samples take is in the shards.
        return sum(tree_bytes(p) for p in (self.directory / "data").glob("shard-*"))

    def questions(self, hours):
        end = START + hours * 3600

        def ask(match, start, stop, **more):
            return "/api/v1/series/query?" + urllib.parse.urlencode(
                {"table": "metrics", "match": match, "start": start, "end": stop, **more})
        hosts = "|".join(f"host_{i}" for i in range(8))
        own = {
            "Q1": ask('cpu_usage_user{hostname="host_1"}', START, START + 3600),
            "Q2": ask('cpu_usage_user{hostname="host_1"}', START, end, step="1m", aggregate="max"),
            "Q3": ask('{__name__=~"cpu_usage_(user|system|idle|nice|iowait)",'
                      f'hostname=~"{hosts}"}}', START, START + 3600, step="1m", aggregate="max"),
            "Q4": ask("cpu_usage_user", START, end, step="1h", aggregate="avg"),
            "Q5": "/api/v1/series/latest?" + urllib.parse.urlencode(
                {"table": "metrics", "match": "cpu_usage_user"}),
        }
        own.update({f"{name} as Prometheus": path for name, path in
                    prom_questions("/prometheus/api/v1/", hours, False).items()})
        return own

    def stop(self):
        self.node.stop()


class VictoriaMetrics(Server):
    name = "victoriametrics"
    program = "victoria-metrics"
    protocols = {"line": ("/write", 10_000), "remote": ("/api/v1/write", 2_000)}
    durability = "no log"
    alive = "/health"

    def start(self):
        self.spawn([self.program, f"-storageDataPath={self.directory}/data",
                    f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=100y",
                    "-search.disableCache"])
        self.query_port = self.port

    def settle(self):
        get(self.port, "/internal/force_flush")
        get(self.port, "/internal/force_merge")
        time.sleep(5)

    def disk_bytes(self):
        return tree_bytes(self.directory / "data" / "data")

    def questions(self, hours):
        return prom_questions("/api/v1/", hours, True)


class Prometheus(Server):
    name = "prometheus"
    program = "prometheus"
    protocols = {"remote": ("/api/v1/write", 2_000)}
    durability = "log, not synced"
    alive = "/-/ready"

    def start(self):
        (self.directory / "p.yml").write_text("global: {}\n")
        self.spawn([self.program, f"--config.file={self.directory}/p.yml",
                    f"--storage.tsdb.path={self.directory}/data", "--web.enable-remote-write-receiver",
                    "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{self.port}"])
        self.query_port = self.port

    def settle(self):
        time.sleep(2)

    def disk_bytes(self):
        return None  # most is in the head, whose blocks are written hours later

    def questions(self, hours):
        return prom_questions("/api/v1/", hours, False)


class InfluxDB(Server):
    name = "influxdb"
    program = "influxd"
    protocols = {"line": ("/write?db=bench", 10_000)}
    durability = "log synced for each request"
    alive = "/ping"

    def start(self):
        (self.directory / "i.conf").write_text(f"""
reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
dir = "{self.directory}/meta"
[data]
dir = "{self.directory}/data"
wal-dir = "{self.directory}/wal"
index-version = "tsi1"
query-log-enabled = false
cache-snapshot-write-cold-duration = "5s"
compact-full-write-cold-duration = "10s"
[http]
bind-address = "127.0.0.1:{self.port}"
log-enabled = false
[monitor]
store-enabled = false
""")
        self.spawn([self.program, "-config", str(self.directory / "i.conf")])
        self.query_port = self.port
        get(self.port, "/query?" + urllib.parse.urlencode({"q": "CREATE DATABASE bench"}), "POST")

    def settle(self):
        time.sleep(30)  # the cache goes to TSM files when it was not written to for a while

    def disk_bytes(self):
        return tree_bytes(self.directory / "data")

    def questions(self, hours):
        end = START + hours * 3600

        def ask(text):
            return "/query?" + urllib.parse.urlencode({"db": "bench", "epoch": "ms", "q": text})
        within = f"time >= {START}s AND time < {end}s"
        hour = f"time >= {START}s AND time < {START + 3600}s"
        hosts = " OR ".join(f"hostname = 'host_{i}'" for i in range(8))
        five = ", ".join(f"max(usage_{f})" for f in ("user", "system", "idle", "nice", "iowait"))
        return {
            "Q1": ask(f"SELECT usage_user FROM cpu WHERE hostname = 'host_1' AND {hour}"),
            "Q2": ask(f"SELECT max(usage_user) FROM cpu WHERE hostname = 'host_1' AND {within} "
                      "GROUP BY time(1m)"),
            "Q3": ask(f"SELECT {five} FROM cpu WHERE ({hosts}) AND {hour} GROUP BY time(1m), hostname"),
            "Q4": ask(f"SELECT mean(usage_user) FROM cpu WHERE {within} GROUP BY time(1h), hostname"),
            "Q5": ask("SELECT last(usage_user) FROM cpu GROUP BY hostname"),
        }


SERVERS = [Varve, VictoriaMetrics, InfluxDB, Prometheus]


def load(*args):
    done = subprocess.run([str(varvelib.BUILD / "bench" / "series" / "series_load"),
                           *map(str, args)], capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"series_load {' '.join(map(str, args))}: {done.stderr.strip()[:500]}")
    return json.loads(done.stdout)


def one_round(kind, server_class, protocol, form, top):
    directory = tempfile.mkdtemp(prefix=f"side-{server_class.name}-", dir=top)
    server = server_class(directory)
    rows = {}
    try:
        server.start()
        path, batch = server.protocols[protocol]
        before = server.cpu_s()
        wrote = load("--port", server.port, "--protocol", protocol, "--path", path, "--kind", kind,
                     "--hosts", form["hosts"], "--hours", form["hours"], "--batch", batch)
        rows["ingest"] = {"per_s": wrote["per_s"], "p50_ms": wrote["p50_ms"],
                          "p99_ms": wrote["p99_ms"],
                          "cpu_us_sample": (server.cpu_s() - before) * 1e6 / wrote["samples"],
                          "rss_peak_mb": server.rss_peak_mb()}
        server.settle()
        used = server.disk_bytes()
        rows["size"] = {"bytes_sample": None if used is None else used / wrote["samples"]}
        for name, path in server.questions(form["hours"]).items():
            asked = load("--mode", "ask", "--port", server.query_port, "--path", path, "--runs",
                         form["runs"])
            rows[name] = {"p50_ms": asked["p50_ms"], "p95_ms": asked["p95_ms"],
                          "bytes": asked["bytes"]}
        rows["after"] = {"rss_peak_mb": server.rss_peak_mb()}
        return rows
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def median(rows, row, figure):
    values = [r[row][figure] for r in rows if row in r and r[row].get(figure) is not None]
    return statistics.median(values) if values else None


def show(value):
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def report(kind, results, out):
    columns = list(results)
    print(f"\n### {kind}\n", file=out)
    print("| figure | " + " | ".join(columns) + " |", file=out)
    print("| --- |" + " --- |" * len(columns), file=out)
    wanted = [("ingest", "per_s", "samples/s"), ("ingest", "cpu_us_sample", "server CPU, us a sample"),
              ("ingest", "p50_ms", "request p50, ms"), ("ingest", "p99_ms", "request p99, ms"),
              ("ingest", "rss_peak_mb", "RSS at most, MiB"), ("size", "bytes_sample", "disk, bytes a sample")]
    questions = sorted({name for rows in results.values() for r in rows for name in r
                        if name.startswith("Q")})
    wanted += [(q, "p50_ms", f"{q} p50, ms") for q in questions]
    for row, figure, title in wanted:
        values = {c: median(results[c], row, figure) for c in columns}
        print(f"| {title} | " + " | ".join(show(values[c]) for c in columns) + " |", file=out)
        for c in columns:
            if values[c] is not None:
                print(json.dumps({"bench": "series_side", "kind": kind, "server": c, "row": row,
                                  "figure": figure, "value": values[c], "rounds": len(results[c])}))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="int,dec2,full")
    parser.add_argument("--servers", default=",".join(s.name for s in SERVERS))
    parser.add_argument("--protocols", default="line,remote,grpc")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="a tenth of the hosts, one round")
    parser.add_argument("--dir", default=None, help="the disk to measure")
    parser.add_argument("--table", default=None, help="write the table there")
    args = parser.parse_args()
    form = {"hosts": 40 if args.short else 400, "hours": 6, "runs": 10 if args.short else 30}
    rounds = 1 if args.short else args.rounds
    asked = args.servers.split(",")
    servers = []
    for s in SERVERS:
        if s.name in asked and (s is Varve or shutil.which(s.program)):
            servers.append(s)
        elif s.name in asked:
            print(f"{s.name}: {s.program} is not installed, left out", file=sys.stderr)
    out = open(args.table, "w", encoding="utf-8") if args.table else sys.stderr
    print(f"{form['hosts']} hosts x 10 values every 10 s for {form['hours']} h, {rounds} round(s); "
          + "; ".join(f"{s.name}: {s.durability}" for s in servers), file=out)
    for kind in args.kinds.split(","):
        results = {}
        for _ in range(rounds):
            for s in servers:
                for protocol in args.protocols.split(","):
                    if protocol in s.protocols:
                        rows = one_round(kind, s, protocol, form, args.dir)
                        results.setdefault(f"{s.name} {protocol}", []).append(rows)
        report(kind, results, out)


if __name__ == "__main__":
    main()
