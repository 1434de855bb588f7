#!/usr/bin/env python3
"""A real nats-server feeding a real store, with either killed in mid-load.

Law: every message that was published is in the table exactly once, whatever was killed and however
often; what is no sample is a dead letter, once; a stream that was made anew is read from its
beginning. Needs nats-server (Debian: nats-server); says so and is skipped where there is none.

The cases named varved_* have the server around it, the others a store and a feed alone.
VV_NATS_MESSAGES (60000) is the load of each case; VV_SEED chooses the moments of the kills.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from varvelib import BUILD, Varved, varve  # noqa: E402

FEED = os.environ["VV_NATS_FEED"]
SERVER = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/bin")
MESSAGES = int(os.environ.get("VV_NATS_MESSAGES", "60000"))
SEED = int(os.environ.get("VV_SEED", "1"), 0)
POISON = 1000
RUNNING = []  # processes of the case, to end with it
DEADLINE_S = 120


class Nats:
    """nats-server with JetStream on a directory, on a port that stays its own; config is more of its
    configuration."""

    def __init__(self, directory, config=""):
        self.directory = directory
        self.config = directory + ".conf"
        pathlib.Path(self.config).write_text(config)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.log = open(directory + ".log", "ab")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [SERVER, "-c", self.config, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd",
             self.directory], stdout=self.log, stderr=self.log)
        RUNNING.append(self.process)
        until(lambda: self.answers(), "nats-server answers")

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"nats-server ended: {pathlib.Path(self.log.name).read_text()[-500:]}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                return s.recv(4) == b"INFO"
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()
        self.log.close()


class Feed:
    """The process with the store and the feed."""

    def __init__(self, directory, url, *more):
        self.log_path = directory + ".log"
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([FEED, "feed", directory, url, *more], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log)
        RUNNING.append(self.process)
        line = self.process.stdout.readline()
        if line != "ready\n":
            raise RuntimeError(f"the feed did not start: {pathlib.Path(self.log_path).read_text()}")

    def stats(self):
        self.process.stdin.write("stats\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close()

    def stop(self):
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        code = self.process.wait(60)
        self.close()
        if code != 0:
            raise AssertionError(f"the feed ended with {code}")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()

    def text(self):
        return pathlib.Path(self.log_path).read_text()


class Node(Varved):
    """varved with the feed, whose figures come from /api/v1/status."""

    def __init__(self, data, url, *more):
        super().__init__(data, ["log.level=info", "nats.enabled=true", f"nats.url={url}", *more])
        RUNNING.append(self.process)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.ingest}{path}", timeout=30) as answer:
            return answer.read().decode()

    def feed(self):
        return json.loads(self.get("/api/v1/status"))["nats"]

    def metric(self, name):
        return float(re.search(rf"^varve_nats_{name} (\S+)$", self.get("/metrics"), re.M).group(1))


def until(what, name, tell=str):
    end = time.monotonic() + DEADLINE_S
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"{name}: not within {DEADLINE_S} s: {tell()}")
        time.sleep(0.05)


def publish(url, first, count, poison=POISON, poison_size=0, env=None):
    process = subprocess.Popen([FEED, "publish", url, "EVENTS", str(first), str(count),
                                str(poison), str(poison_size)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **(env or {})})
    RUNNING.append(process)
    return process


def published(process):
    out = process.communicate()[0]
    if process.returncode != 0:
        raise AssertionError(f"publish: {out}")


def make_stream(work, nats):
    """What is published to a stream that is missing is refused: a feed makes it."""
    feed = Feed(work + "/first", nats.url)
    until(lambda: feed.stats()["connected"], "the stream is made")
    feed.stop()


def check(directory, count, poison=POISON):
    out = subprocess.run([FEED, "check", directory, str(count), str(poison)], check=True,
                         capture_output=True, text=True).stdout
    found = json.loads(out)
    if found["wrong"] != 0 or found["missing"] != 0 or found["letters"] != count // poison:
        raise AssertionError(f"of {count} messages: {found}")


def consumer(url, durable="varve"):
    out = subprocess.run([FEED, "consumer", url, "EVENTS", durable], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)


def case_plain(work, rng):
    """Load, a stop in the middle, and the rest: all there, and nothing came twice."""
    del rng
    nats = Nats(work + "/js")
    feed = Feed(work + "/db", nats.url)
    published(publish(nats.url, 1, MESSAGES // 2))
    until(lambda: feed.stats()["sequence"] == MESSAGES // 2, "the first half")
    s = feed.stats()
    assert s["messages"] == MESSAGES // 2 and s["redelivered"] == 0, s
    assert s["poison"] == MESSAGES // 2 // POISON and s["connected"] == 1, s
    feed.stop()
    published(publish(nats.url, MESSAGES // 2 + 1, MESSAGES // 2))
    feed = Feed(work + "/db", nats.url)
    until(lambda: feed.stats()["sequence"] == MESSAGES, "the second half")
    s = feed.stats()
    assert s["messages"] == MESSAGES // 2 and s["redelivered"] == 0, s
    feed.stop()
    check(work + "/db", MESSAGES)
    nats.close()


def case_backlog(work, rng):
    """A long stream that waits: full batches, one behind the other."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    published(publish(nats.url, 1, 2 * MESSAGES))
    feed = Feed(work + "/db", nats.url)
    until(lambda: feed.stats()["sequence"] == 2 * MESSAGES, "all of it")
    s = feed.stats()
    assert s["messages"] == 2 * MESSAGES and s["redelivered"] == 0 and s["sessions"] == 1, s
    feed.stop()
    check(work + "/db", 2 * MESSAGES)
    nats.close()


def case_server_killed(work, rng):
    """nats-server is killed and started again, several times, while messages go in and out."""
    nats = Nats(work + "/js")
    feed = Feed(work + "/db", nats.url)
    load = publish(nats.url, 1, MESSAGES)
    for _ in range(4):
        time.sleep(rng.uniform(0.05, 0.5))
        nats.kill()
        time.sleep(rng.uniform(0, 0.3))
        nats.start()
    published(load)
    until(lambda: feed.stats()["sequence"] >= MESSAGES, "all of it")
    s = feed.stats()
    assert s["sessions"] > 1 and s["failures"] >= 1, s
    feed.stop()
    check(work + "/db", MESSAGES)
    nats.close()


def case_feed_killed(work, rng):
    """The process with the store is killed while messages go in, again and again."""
    nats = Nats(work + "/js")
    make_stream(work, nats)
    load = publish(nats.url, 1, MESSAGES)
    feed = Feed(work + "/db", nats.url)
    kills = 0
    while load.poll() is None or kills < 8:
        time.sleep(rng.uniform(0.02, 0.3))
        feed.kill()
        kills += 1
        feed = Feed(work + "/db", nats.url)
    published(load)
    until(lambda: feed.stats()["sequence"] == MESSAGES, "all of it")
    feed.stop()
    check(work + "/db", MESSAGES)
    nats.close()


def case_stream_made_anew(work, rng):
    """The stream is deleted and made again under the feed: noticed, said, read from its start."""
    del rng
    nats = Nats(work + "/js")
    feed = Feed(work + "/db", nats.url)
    published(publish(nats.url, 1, 5000, 0))
    until(lambda: feed.stats()["sequence"] == 5000, "the first stream")
    subprocess.run([FEED, "stream", nats.url, "EVENTS", "delete"], check=True)
    until(lambda: feed.stats()["sessions"] >= 2 and feed.stats()["connected"], "it is noticed")
    published(publish(nats.url, 5001, 2000, 0))
    until(lambda: feed.stats()["messages"] == 7000, "the second stream")
    assert feed.stats()["sequence"] == 2000, feed.stats()
    feed.stop()
    assert "made anew" in feed.text(), feed.text()
    out = json.loads(subprocess.run([FEED, "check", work + "/db", "7000", "0"], check=True,
                                    capture_output=True, text=True).stdout)
    assert out == {"series": 100, "wrong": 0, "missing": 0, "letters": 0}, out
    nats.close()


def case_no_server(work, rng):
    """Without a server the feed tries again with growing pauses, and begins when there is one of
    those that it was told of."""
    del rng
    nats = Nats(work + "/js")
    nats.kill()
    feed = Feed(work + "/db", f"nats://127.0.0.1:1,{nats.url}")
    until(lambda: feed.stats()["failures"] >= 3, "it tries")
    assert feed.stats()["connected"] == 0
    nats.start()
    published(publish(nats.url, 1, 1000))
    until(lambda: feed.stats()["sequence"] == 1000, "it begins")
    feed.stop()
    check(work + "/db", 1000)
    nats.close()


def case_large(work, rng):
    """Messages of which few fit a pull's bytes, between small ones."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    published(publish(nats.url, 1, 400, 10, 600000))
    feed = Feed(work + "/db", nats.url)
    until(lambda: feed.stats()["sequence"] == 400, "all of it")
    s = feed.stats()
    assert s["sessions"] == 1 and s["failures"] == 0 and s["poison"] == 40, s
    feed.stop()
    check(work + "/db", 400, 10)
    nats.close()


def case_varved_killed(work, rng):
    """varved is killed and started again in mid-load, and so is nats-server, in turns."""
    nats = Nats(work + "/js")
    nats.kill()
    node = Node(work + "/db", nats.url)  # starts without the broker, and is ready
    assert node.get("/ready") == "ready\n"
    until(lambda: node.feed()["failures"] >= 2, "it tries")
    assert node.feed()["state"] == "connecting" and node.feed()["lastFailure"] != "", node.feed()
    assert node.metric("connected") == 0
    nats.start()
    until(lambda: node.metric("connected") == 1, "it connects, and makes the stream")
    load = publish(nats.url, 1, MESSAGES)
    kills = 0
    while kills < 6 or (load.poll() is None and kills < 12):  # and lets the publisher end
        time.sleep(rng.uniform(0.02, 0.3))
        if kills % 2 == 0:
            node.kill()
            node = Node(work + "/db", nats.url)
        else:
            nats.kill()
            nats.start()
        kills += 1
    published(load)
    until(lambda: node.feed()["sequence"] >= MESSAGES, "all of it", node.feed)
    # The last kill may have come after that.
    until(lambda: node.feed()["state"] == "connected", "it connects again", node.feed)
    s = node.feed()
    assert s["lag"] == 0 and s["lastFailure"] == "", s
    assert node.stop() == 0
    check(work + "/db", MESSAGES)
    nats.close()


def case_varved_partitions(work, rng):
    """The table is spread over shards, each of which may be ahead of the others when varved is
    killed: the stream is read again from the least of their positions."""
    nats = Nats(work + "/js")
    make_stream(work, nats)
    node = Node(work + "/db", nats.url, "nats.enabled=false", "storage.shards=3")
    assert node.stop() == 0
    made = varve("table", "create", "sensors", "--kind", "series", "--partitions", "3", "--data",
                 work + "/db")
    assert made.returncode == 0, made.stderr
    load = publish(nats.url, 1, MESSAGES)
    kills = 0
    while load.poll() is None or kills < 3:
        node = Node(work + "/db", nats.url)
        until(lambda n=node: n.metric("connected") == 1, "it connects")
        time.sleep(rng.uniform(0, 0.2))
        node.kill()
        kills += 1
    published(load)
    node = Node(work + "/db", nats.url)
    until(lambda: node.feed()["sequence"] == MESSAGES, "all of it", node.feed)
    assert node.stop() == 0
    check(work + "/db", MESSAGES)
    nats.close()


def case_varved_stopped(work, rng):
    """Stopped in mid-load: what was fetched is written, and nothing of it comes again."""
    nats = Nats(work + "/js")
    make_stream(work, nats)
    load = publish(nats.url, 1, MESSAGES)
    for _ in range(3):
        node = Node(work + "/db", nats.url, "storage.shards=2")
        until(lambda n=node: n.feed()["messages"] > 0 or load.poll() is not None, "some of it")
        time.sleep(rng.uniform(0, 0.2))
        assert node.feed()["redelivered"] == 0
        assert node.stop() == 0
    published(load)
    node = Node(work + "/db", nats.url)
    until(lambda: node.feed()["sequence"] == MESSAGES, "all of it")
    assert node.metric("redelivered_total") == 0 and node.metric("lag_messages") == 0
    if shutil.which("promtool") is not None:
        said = subprocess.run(["promtool", "check", "metrics"], input=node.get("/metrics"), text=True,
                              capture_output=True, check=False)
        assert said.returncode == 0 and said.stderr == "", said
    if node.feed()["messages"] > 0:
        until(lambda: node.metric("messages_per_second") > 0, "a rate, when its second is over")
    assert node.stop() == 0
    check(work + "/db", MESSAGES)
    nats.close()


def case_varved_full_disk(work, rng):
    """The disk of the store is full: the feed waits. There is room again: it goes on."""
    del rng
    disk = pathlib.Path(work) / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)],
                      capture_output=True, check=False).returncode != 0:
        print("SKIPPED varved_full_disk: no right to mount")
        return
    try:
        nats = Nats(work + "/js")
        make_stream(work, nats)
        fill_disk(work, disk, nats)
        nats.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_disk(work, disk, nats):
    small = ["storage.log_segment_size=1MB", "storage.log_limit=4MB", "storage.memtable_size=1MB"]
    node = Node(disk / "db", nats.url, *small)
    published(publish(nats.url, 1, MESSAGES // 4))
    until(lambda: node.feed()["sequence"] == MESSAGES // 4, "the first part")
    with open(disk / "ballast", "wb") as ballast:
        try:
            while True:
                ballast.write(b"\0" * 65536)
                ballast.flush()
        except OSError:
            pass
    load = publish(nats.url, MESSAGES // 4 + 1, MESSAGES - MESSAGES // 4)
    published(load)
    until(lambda: "full" in node.feed()["lastFailure"] or "space" in node.feed()["lastFailure"],
          "the disk is full")
    s = node.feed()
    assert s["state"] == "connected" and s["sequence"] < MESSAGES, s
    kept = consumer(nats.url)  # nothing is acknowledged that is not written
    assert kept["floor"] <= s["sequence"] < kept["delivered"] and kept["unacknowledged"] > 0, (kept, s)
    (disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
    until(lambda: node.feed()["sequence"] == MESSAGES, "there is room: the rest")
    until(lambda: consumer(nats.url)["floor"] == MESSAGES, "it is acknowledged")
    assert node.stop() == 0
    check(str(disk / "db"), MESSAGES)


def case_varved_tables(work, rng):
    """No table is made where the gate would make none, and a wrong one is not written to."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    published(publish(nats.url, 1, 1000))
    node = Node(work + "/db", nats.url, "ingest.auto_create=false")
    until(lambda: "auto_create" in node.feed()["lastFailure"], "the refusal")
    assert node.get("/ready") == "ready\n" and node.feed()["messages"] == 0
    assert node.stop() == 0
    node = Node(work + "/db", nats.url, "nats.enabled=false")
    assert node.feed() == {"state": "off"} and "varve_nats" not in node.get("/metrics")
    request = urllib.request.Request(f"http://{node.ingest}/api/v1/kv/default/sensors/k", b"v",
                                     method="PUT")
    urllib.request.urlopen(request, timeout=30).close()
    assert node.stop() == 0
    node = Node(work + "/db", nats.url)
    until(lambda: "holds keys and values" in node.feed()["lastFailure"], "the refusal")
    assert node.stop() == 0
    node = Node(work + "/db", nats.url, "nats.table=plant/north")
    until(lambda: node.feed()["sequence"] == 1000, "another table")
    assert node.feed()["table"] == "plant/north", node.feed()
    assert node.stop() == 0
    nats.close()


def case_varved_configured(work, rng):
    """What the configuration has wrong is said before a store is made, with its key."""
    del rng
    wrong = {"nats.url=": "1 to 16", "nats.url=http://x": "form nats://",
             "nats.url=a:1,nats://u:secret@b:x": "server 2", "nats.url=[::1": "server 1",
             "nats.url=a:70000": "server 1", "nats.table=sensors": "tenant/table",
             "nats.stream=a.b": "nats.stream", "nats.subject=": "nats.subject",
             "nats.durable=a b": "nats.durable", "nats.batch=0": "outside",
             "nats.mode=push": "jetstream", "nats.credentials=/no/such": "/no/such",
             "nats.nkey=secret": "nats.nkey_seed", "nats.nkey_seed=/etc/hostname": "nats.nkey",
             "nats.tls_ca=/etc/hostname": "nats.tls", "nats.tls_cert=/etc/hostname": "nats.tls_key"}
    for setting, words in wrong.items():
        for more in ([], ["--check-config"]):
            out = subprocess.run([str(BUILD / "varved"), "--data", work + "/none", "--set",
                                  "nats.enabled=true", "--set", "server.port=0", "--set",
                                  "query.port=0", "--set", setting, *more],
                                 capture_output=True, text=True, timeout=60, check=False)
            assert out.returncode == 2 and words in out.stderr, (setting, more, out)
            assert "secret" not in out.stderr, out
    assert not os.path.exists(work + "/none")


def case_fault_published_while_the_engine_is_down(work, rng):
    """What is published while nobody listens waits for the engine, whether it was stopped or killed."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    count = 0
    for end in ("stop", "kill", "stop"):
        node = Node(work + "/db", nats.url)
        until(lambda c=count: node.feed()["sequence"] == c, "what came before", node.feed)
        getattr(node, end)()
        published(publish(nats.url, count + 1, MESSAGES // 10))
        count += MESSAGES // 10
    node = Node(work + "/db", nats.url)
    until(lambda: node.feed()["sequence"] == count, "all of it", node.feed)
    assert node.feed()["lag"] == 0 and node.feed()["redelivered"] == 0, node.feed()
    assert node.stop() == 0
    check(work + "/db", count)
    nats.close()


def case_fault_a_rate_of_what_a_kill_takes(work, rng):
    """A figure of messages a second is worth what is there after a kill: of those that the counters
    have, all. What the rate is, benchmarks tell; no test asks for one."""
    nats = Nats(work + "/js")
    make_stream(work, nats)
    published(publish(nats.url, 1, MESSAGES, 0))
    for _ in range(3):
        node = Node(work + "/db", nats.url)
        until(lambda n=node: n.feed()["messages"] > 0 or n.feed()["lag"] == 0, "some of it")
        time.sleep(rng.uniform(0, 0.1))
        counted = int(node.metric("sequence"))
        node.kill()
        out = json.loads(subprocess.run([FEED, "check", work + "/db", str(MESSAGES), "0"],
                                        check=True, capture_output=True, text=True).stdout)
        assert out["wrong"] == 0 and MESSAGES - out["missing"] >= counted, (counted, out)
    nats.close()


def case_core(work, rng):
    """A core subscription takes what is published while it listens."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    feed = Feed(work + "/db", nats.url, "core")
    until(lambda: feed.stats()["connected"], "it listens")
    published(publish(nats.url, 1, 3000, 100))
    until(lambda: feed.stats()["messages"] == 3000, "all of it")
    feed.stop()
    check(work + "/db", 3000, 100)
    nats.close()


def case_read_again(work, rng):
    """A consumer of another name reads the stream from its start: nothing is there twice, poison
    included."""
    del rng
    nats = Nats(work + "/js")
    make_stream(work, nats)
    published(publish(nats.url, 1, 5000, 50))
    for durable in ("varve", "again"):
        node = Node(work + "/db", nats.url, f"nats.durable={durable}")
        until(lambda n=node: n.feed()["sequence"] == 5000, "all of it")
        s = node.feed()
        assert s["messages"] == 5000 and s["poison"] == 100, s
        assert node.stop() == 0
        check(work + "/db", 5000, 50)
    nats.close()


def case_varved_stream_made_anew(work, rng):
    """The stream is deleted and made again while varved is away, and once more under it; each of
    them has poison in the same places."""
    del rng
    nats = Nats(work + "/js")
    node = Node(work + "/db", nats.url)
    until(lambda: node.metric("connected") == 1, "the stream is made")
    for life in range(3):
        published(publish(nats.url, 1 + life * 1000, 1000, 100))
        until(lambda: node.feed()["sequence"] == 1000, f"stream {life}", node.feed)
        if life == 0:
            assert node.stop() == 0
        if life < 2:
            subprocess.run([FEED, "stream", nats.url, "EVENTS", "delete"], check=True)
        if life == 0:
            node = Node(work + "/db", nats.url)
            until(lambda: node.metric("connected") == 1, "the stream is made")
        if life == 1:
            until(lambda: node.feed()["sessions"] == 2 and node.metric("connected") == 1,
                  "it is noticed", node.feed)
    assert node.metric("poison_total") == 20
    assert node.stop() == 0
    check(work + "/db", 3000, 100)
    nats.close()


def case_varved_core(work, rng):
    """A core subscription of varved: no past, no stream, back after the server was killed."""
    del rng
    nats = Nats(work + "/js")
    node = Node(work + "/db", nats.url, "nats.mode=core")
    until(lambda: node.metric("connected") == 1, "it listens")
    make_stream(work, nats)  # for what is published to be acknowledged
    published(publish(nats.url, 1, 2000, 100))
    until(lambda: node.feed()["messages"] == 2000, "the first half", node.feed)
    nats.kill()
    until(lambda: node.metric("connected") == 0, "it is lost")
    nats.start()
    until(lambda: node.metric("connected") == 1, "it listens again")
    published(publish(nats.url, 2001, 2000, 100))
    until(lambda: node.feed()["messages"] == 4000, "the second half", node.feed)
    assert node.metric("dropped_total") == 0 and node.metric("poison_total") == 40
    assert node.stop() == 0
    check(work + "/db", 4000, 100)
    nats.close()


def run_cases(cases, name):
    """Each case on a directory of its own; the names on the command line choose among them."""
    if SERVER is None:
        print(f"{name}: SKIPPED: there is no nats-server (apt-get install nats-server)")
        return 77
    wanted = sys.argv[1:]
    for case in cases:
        if wanted and case.__name__[5:] not in wanted:
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="varve-nats-") as work:
            try:
                case(work, random.Random(SEED))
            except BaseException:
                for log in sorted(pathlib.Path(work).glob("*.log")):
                    print(f"--- {log.name}\n{log.read_text()[-4000:]}")
                print(f"{case.__name__}: VV_SEED={SEED}")
                raise
            finally:
                for process in RUNNING:
                    process.kill()
                    process.wait()
                RUNNING.clear()
        print(f"{case.__name__}: {time.monotonic() - begin:.1f} s", flush=True)
    return 0


def main():
    return run_cases([case_plain, case_backlog, case_server_killed, case_feed_killed,
                      case_stream_made_anew, case_no_server, case_large, case_core,
                      case_read_again, case_varved_killed, case_varved_partitions,
                      case_varved_stopped,
                      case_fault_published_while_the_engine_is_down,
                      case_fault_a_rate_of_what_a_kill_takes, case_varved_full_disk,
                      case_varved_stream_made_anew, case_varved_core,
                      case_varved_tables, case_varved_configured], "nats_test")


if __name__ == "__main__":
    sys.exit(main())
