#!/usr/bin/python3
"""A real Prometheus scrapes itself and varved and writes all of it into varved, which is killed and
started again in mid-load.

Law: afterwards varved has every sample that Prometheus has, with its moment and its value, and no
other; series end where they end there, for a stale marker is a sample too. Skipped where prometheus
is not installed. VV_SCRAPE_KILLS (3) is how often varved is killed,
VV_SEED chooses when.
"""
import math
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from promql_test import ask  # noqa: E402
from varvelib import TempDir, Varved, wait_until  # noqa: E402

SKIPPED = 77
KILLS = int(os.environ.get("VV_SCRAPE_KILLS", "3"))
SEED = int(os.environ.get("VV_SEED", "1"), 0)
CONFIG = """
global: {{ scrape_interval: 250ms, scrape_timeout: 250ms }}
scrape_configs:
- job_name: prometheus
  static_configs: [ {{ targets: ['{prometheus}'] }} ]
- job_name: varved
  static_configs: [ {{ targets: ['{varved}'] }} ]
remote_write:
- url: http://{varved}/api/v1/write
  queue_config: {{ batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 300ms }}
  metadata_config: {{ send_interval: 1s }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    def __init__(self, directory, varved):
        self.address = f"127.0.0.1:{free_port()}"
        self.log = open(directory / "prometheus.log", "wb")
        (directory / "p.yml").write_text(CONFIG.format(prometheus=self.address, varved=varved))
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={directory}/p.yml",
             f"--storage.tsdb.path={directory}/prometheus",
             f"--web.listen-address={self.address}"], stdout=self.log, stderr=self.log)
        wait_until(self.is_ready, 60, f"prometheus to be ready: {directory}/prometheus.log")

    def is_ready(self):
        assert self.process.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def figure(self, name):
        """Of the queue that writes, as Prometheus counts it."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines
                   if line.startswith(f"prometheus_remote_storage_{name}{{"))

    def stop(self):
        self.process.kill()  # its own way takes a minute while a receiver is away
        self.process.wait()
        self.log.close()


def series_of(where, prefix, **parameters):
    """{labels: [(seconds, value)]} of a question over ranges."""
    answer = ask(where, prefix, parameters.pop("call"), **parameters)
    assert answer["status"] == "success", answer
    return {tuple(sorted(s["metric"].items())):
            [(round(t, 3), "NaN" if math.isnan(float(v)) else float(v)) for t, v in s["values"]]
            for s in answer["data"]["result"]}


def differences(ours, theirs):
    found = []
    for labels in sorted(set(ours) | set(theirs)):
        a, b = ours.get(labels, []), theirs.get(labels, [])
        if a != b:
            wrong = [(x, y) for x, y in zip(a, b) if x != y][:2]
            found.append(f"{dict(labels)}: {len(a)} of {len(b)} samples, first wrong {wrong}")
    return found


def compare(ours, theirs, what, **question):
    """What has come late is waited for; returns the count of samples."""
    want = series_of(theirs, "", **question)
    end = time.monotonic() + 60
    while True:
        found = differences(series_of(ours, "/prometheus", **question), want)
        if not found:
            return sum(map(len, want.values()))
        assert time.monotonic() < end, f"{what}: {len(found)} series differ:\n" + "\n".join(found[:8])
        time.sleep(0.2)


def run(directory, rng):
    ports = [f"server.port={free_port()}", f"query.port={free_port()}"]
    varved = Varved(directory / "data", ports)
    prometheus = Prometheus(directory, varved.ingest)
    try:
        wait_until(lambda: len(series_of(prometheus.address, "", call="query", query="up[1m]",
                                         time=time.time())) == 2, 60, "the first scrapes")
        begin = time.time()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 1.2))
            varved.kill()
            time.sleep(rng.uniform(0.1, 0.6))
            varved = Varved(directory / "data", ports)
        time.sleep(1)
        end = time.time()
        time.sleep(1)  # what was scraped before the end is in Prometheus by now
        window = math.ceil(end - begin) + 1
        samples = compare(varved.query, prometheus.address, "samples", call="query",
                          query=f'{{job=~".+"}}[{window}s]', time=end)
        assert samples > 3000, samples
        spans = compare(varved.query, prometheus.address, "spans", call="query_range",
                        query='count by (job, __name__) ({job=~".+"})', start=begin, end=end, step="0.2")
        up = series_of(prometheus.address, "", call="query", query=f"up[{window}s]", time=end)
        was_down = [v for labels, points in up.items() for _, v in points
                    if ("job", "varved") in labels].count(0)
        assert was_down > 0, "varved was always there"
        assert prometheus.figure("samples_failed_total") == 0
        assert prometheus.figure("samples_dropped_total") == 0
        retried = prometheus.figure("samples_retried_total")
        print(f"{samples} samples the same, {spans} points of what was there when, {KILLS} kills, "
              f"{retried:.0f} samples sent again, {was_down} scrapes missed")
        assert varved.stop() == 0
    finally:
        prometheus.stop()
        varved.__exit__(None, None, None)


def main():
    if shutil.which("prometheus") is None:
        print("SKIPPED: prometheus is not installed")
        return SKIPPED
    print(f"VV_SEED={SEED}")
    with TempDir() as directory:
        run(directory, random.Random(SEED))
    return 0


if __name__ == "__main__":
    sys.exit(main())
