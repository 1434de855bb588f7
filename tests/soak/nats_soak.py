#!/usr/bin/env python3
"""A steady stream from NATS into varved under a memory limit: it keeps up, and its memory is flat.

    nats_soak.py [--seconds 600] [--rate 55000] [--limit 512]

A real nats-server, varved with nats.enabled, a publisher that keeps the rate. Once a second the
resident set, the lag and what was taken in are read. Ten elevenths of the rate, which are 50,000 a
second, must come in on the average, begin and end included. The resident set must stay under the
limit, and the median of the last third may lie at most a tenth of the limit over that of the middle
third; the feed must end at most five seconds of the rate behind, and have every message once. The
last line is one JSON object.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "nats"))
from varvelib import BUILD, TempDir, Varved  # noqa: E402

os.environ.setdefault("VV_NATS_FEED", str(BUILD / "tests" / "nats" / "nats_feed"))
import nats_test  # noqa: E402


def rss_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1)) / 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def feed(server):
    with urllib.request.urlopen(f"http://{server.ingest}/api/v1/status", timeout=30) as answer:
        return json.loads(answer.read())["nats"]


def watch(server, load, seconds):
    """(rss, lag, messages, moment) once a second until the publisher ends."""
    seen = []
    while load.poll() is None:
        s = feed(server)
        seen.append((rss_mb(server.process.pid), s["lag"], s["messages"], time.monotonic()))
        if len(seen) % 30 == 0:
            print(f"{len(seen):4} s of {seconds}: rss {seen[-1][0]:.0f} MB, lag {s['lag']}, "
                  f"{s['messages']} messages", flush=True)
        time.sleep(1)
    return seen


def slowest(seen, window=10):
    """Messages a second in the slowest so many seconds, without the first two."""
    ends = [(seen[i], seen[i + window]) for i in range(2, len(seen) - window)]
    return min(((b[2] - a[2]) / (b[3] - a[3]) for a, b in ends), default=0)


def run(tmp, args):
    nats = nats_test.Nats(str(tmp / "js"))
    total = args.rate * args.seconds
    begin = time.monotonic()
    load = subprocess.Popen([nats_test.FEED, "pace", nats.url, "EVENTS", str(args.rate),
                             str(args.seconds)], stdout=subprocess.PIPE, text=True)
    with Varved(tmp / "db", ["nats.enabled=true", f"nats.url={nats.url}",
                             f"storage.memory_limit={args.limit}MB"]) as server:
        seen = watch(server, load, args.seconds)
        print(load.communicate()[0].strip())
        assert load.returncode == 0, "the publisher did not keep on"
        behind = total - feed(server)["sequence"]
        nats_test.until(lambda: feed(server)["sequence"] == total, "the rest")
        per_second = total / (time.monotonic() - begin)
        s = feed(server)
        cpu = cpu_seconds(server.process.pid)
        assert server.stop() == 0
    nats.close()
    nats_test.check(str(tmp / "db"), total, total + 1)
    rss = [s[0] for s in seen]
    third = max(len(rss) // 3, 1)
    figures = {"soak": "nats", "seconds": args.seconds, "rate": args.rate, "limit_mb": args.limit,
               "rss_mb": {"max": round(max(rss)),
                          "middle_third": round(statistics.median(rss[third:2 * third])),
                          "last_third": round(statistics.median(rss[-third:]))},
               "per_second": round(per_second), "slowest_10_s": round(slowest(seen)),
               "lag_max": max(s[1] for s in seen), "behind_at_the_end": behind,
               "varved_cpu_seconds": round(cpu, 1), "feed": s}
    print(json.dumps(figures))
    growth = figures["rss_mb"]["last_third"] - figures["rss_mb"]["middle_third"]
    assert max(rss) <= args.limit, f"rss {max(rss):.0f} MB is over the limit"
    assert args.seconds < 60 or growth <= args.limit / 10, f"rss grew by {growth} MB"
    assert per_second >= args.rate / 1.1, f"{per_second:.0f} messages a second came in"
    assert behind <= 5 * args.rate, f"{behind} messages behind"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("VV_SOAK_SECONDS", "600")))
    parser.add_argument("--rate", type=int, default=55000)
    parser.add_argument("--limit", type=int, default=512)
    args = parser.parse_args()
    if nats_test.SERVER is None:
        print("nats_soak: SKIPPED: there is no nats-server (apt-get install nats-server)")
        return 77
    with TempDir() as tmp:
        try:
            run(tmp, args)
        finally:
            for process in nats_test.RUNNING:
                process.kill()
                process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
