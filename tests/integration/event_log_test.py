#!/usr/bin/python3
"""The event log of a whole varved: every sink gets its lines, one that is away holds up nobody, files
are set aside, levels and limits hold, and figures are pushed.
"""
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import BUILD, TempDir, Varved, varve, wait_until  # noqa: E402


def fields(message):
    """[(number, value)] of a protobuf message; bytes as they are."""
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            n = varint()
            value = message[at:at + n]
            at += n
        else:
            assert kind in (1, 5), kind
            n = 8 if kind == 1 else 4
            value = int.from_bytes(message[at:at + n], "little")
            at += n
        found.append((tag >> 3, value))
    return found


def first(message, *path):
    for number in path:
        message = next(v for n, v in fields(message) if n == number)
    return message


class Collector:
    """A collector of OTLP/HTTP that answers as it is told."""

    def __init__(self):
        self.answers = []  # statuses to give first; then 200
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.answers.pop(0) if outer.answers else 200
                outer.requests.append((self.path, dict(self.headers), body, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def bodies(self, path, status=200):
        """What was taken of a path: the messages of log records, in order."""
        out = []
        for where, _, body, answer in self.requests:
            if where == path and answer == status:
                scope_logs = first(body, 1, 2)
                out += [first(v, 5, 1).decode() for n, v in fields(scope_logs) if n == 2]
        return out

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Datagrams:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.got = []

    def read(self):
        while True:
            try:
                self.got.append(self.socket.recv(65536, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return self.got


def metrics(server):
    with urllib.request.urlopen(f"http://{server.ingest}/metrics", timeout=30) as answer:
        return answer.read().decode()


def metric(server, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", metrics(server), re.M).group(1))


def every_sink_gets_the_lines(tmp):
    collector, syslog, journal = Collector(), Datagrams(tmp / "log"), Datagrams(tmp / "journal")
    file = tmp / "deep" / "varved.log"
    try:
        with Varved(tmp / "data", [
                "log.level=info", "log.sinks=stderr,file,syslog,journal,otlp", f"log.file={file}",
                f"log.syslog_socket={tmp / 'log'}", f"log.journal_socket={tmp / 'journal'}",
                "log.syslog_facility=local3",
                f"log.otlp_endpoint=http://127.0.0.1:{collector.port}/v1/logs",
                "log.otlp_headers=X-Tenant=seven"]) as server:
            wait_until(lambda: "serving" in collector.bodies("/v1/logs"), 30, "a line at the collector")
            wait_until(lambda: any("serving" in d for d in journal.read()), 30, "one at the journal")
            wait_until(lambda: any("serving" in d for d in syslog.read()), 30, "one at syslog")
            wait_until(lambda: file.exists() and "serving" in file.read_text(), 30, "one in the file")
            for sink in ("stderr", "file", "syslog", "journal", "otlp"):
                assert metric(server, f'varve_log_lines_total{{sink="{sink}"}}') >= 1
                assert metric(server, f'varve_log_lost_lines_total{{sink="{sink}"}}') == 0
            assert server.stop() == 0
        stderr = server.log_path.read_text()
        assert file.read_text() == stderr, (file.read_text(), stderr)  # to the last line
        stopped = [d for d in syslog.read() if "stopped" in d]
        assert len(stopped) == 1 and re.match(
            rf"<158>1 \S+ \S+ varved {server.process.pid} varved \[varve@32473 status=\"OK\"\] stopped$",
            stopped[0]), stopped
        assert any(d.startswith("MESSAGE=stopped\nPRIORITY=6\n") for d in journal.read())
        assert collector.bodies("/v1/logs")[-1] == "stopped"
        path, headers, body, _ = collector.requests[0]
        assert headers["X-Tenant"] == "seven" and headers["Content-Type"] == "application/x-protobuf"
        names = {first(v, 1).decode(): first(v, 2, 1).decode(errors="replace")
                 for n, v in fields(first(body, 1, 1)) if n == 1 and fields(first(v, 2))[0][0] == 1}
        assert names["service.name"] == "varved", names
    finally:
        collector.stop()


def a_collector_that_is_away_gets_them_later(tmp):
    collector = Collector()
    collector.answers = [503, 503, 429]
    try:
        with Varved(tmp / "data", [
                "log.level=info", "log.sinks=otlp",
                f"log.otlp_endpoint=http://127.0.0.1:{collector.port}/v1/logs"]) as server:
            wait_until(lambda: "serving" in collector.bodies("/v1/logs"), 60, "a line in the end")
            taken = collector.bodies("/v1/logs")
            assert len(taken) == len(set(taken)), taken  # each once
            assert metric(server, 'varve_log_lost_lines_total{sink="otlp"}') == 0
            assert metric(server, 'varve_log_failing{sink="otlp"}') == 0
            # What it refuses for good is left out, and that is told.
            collector.answers = [400]
            os.kill(server.process.pid, 1)  # SIGHUP: one line
            wait_until(lambda: metric(server, 'varve_log_lost_lines_total{sink="otlp"}') >= 1, 30,
                       "a line that is left out")
            os.kill(server.process.pid, 1)
            wait_until(lambda: any("lines are missing here" in b
                                   for b in collector.bodies("/v1/logs")), 30, "a line about it")
            assert server.stop() == 0
        told = server.log_path.read_text()  # stderr is no sink: only what sinks say of themselves
        assert "a sink of the log fails" in told and "a sink of the log works again" in told, told
        assert "serving" not in told, told
    finally:
        collector.stop()


def a_sink_that_is_nowhere_holds_up_nobody(tmp):
    with Varved(tmp / "data", [
            "log.level=info", "log.sinks=syslog,journal,otlp,file", "log.file=/proc/no/such/log",
            f"log.syslog_socket={tmp / 'none'}", f"log.journal_socket={tmp / 'none'}",
            "log.otlp_endpoint=http://127.0.0.1:9/v1/logs"]) as server:
        for sink in ("syslog", "journal", "otlp", "file"):
            wait_until(lambda s=sink: metric(server, f'varve_log_failing{{sink="{s}"}}') == 1, 30,
                       f"{sink} to be told as failing")
        with urllib.request.urlopen(f"http://{server.ingest}/api/v1/pipeline", timeout=30) as answer:
            sinks = json.loads(answer.read())["log"]["sinks"]
        assert all(s["failing"] and s["error"] for s in sinks if s["name"] != "stderr"), sinks
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 25


def files_are_set_aside(tmp):
    file = tmp / "varved.log"
    with Varved(tmp / "data", ["log.sinks=file", f"log.file={file}", "log.file_size=4KB",
                               "log.file_count=2", "log.rate_limit=0"]) as server:
        def one_more():  # signals that wait are one
            os.kill(server.process.pid, 1)
            return (tmp / "varved.log.2").exists()
        wait_until(one_more, 60, "two full files")
        assert server.stop() == 0
    files = sorted(tmp.glob("varved.log*"))
    assert [f.name for f in files] == ["varved.log", "varved.log.1", "varved.log.2"], files
    assert all(f.stat().st_size <= 4096 for f in files)
    assert "SIGHUP ignored" in file.read_text()


def repeats_are_left_out_and_told(tmp):
    with Varved(tmp / "data", ["log.sinks=stderr", "log.rate_limit=3", "log.rate_interval=300ms"]) as s:
        def one_more():
            os.kill(s.process.pid, 1)
            return "lines of one message were left out" in s.log_path.read_text()
        wait_until(one_more, 60, "a line about lines")
        assert s.stop() == 0
    text = s.log_path.read_text()
    assert re.search(r'level=warn module=varved msg="lines of one message were left out" '
                     r'message="SIGHUP ignored[^"]*" lines=\d+', text), text


def levels_are_by_module(tmp):
    with Varved(tmp / "data", ["log.level=error", "log.levels=db=debug"]) as server:
        assert server.stop() == 0
    text = server.log_path.read_text()
    assert "module=db" in text and "serving" not in text, text


def figures_are_pushed(tmp):
    collector = Collector()
    try:
        with Varved(tmp / "data", [
                f"metrics.push_endpoint=http://127.0.0.1:{collector.port}/v1/metrics",
                "metrics.push_interval_ms=100"]) as server:
            wait_until(lambda: len(collector.requests) >= 5, 30, "pushes as often as was asked")
            wait_until(lambda: metric(server, "varve_metrics_pushes_total") >= 2, 30, "their count")
            assert server.stop() == 0
        names = [first(v, 1).decode() for n, v in fields(first(collector.requests[-1][2], 1, 2)) if n == 2]
        assert "varve_commits_total" in names and "varve_put_seconds" in names, names
        text = None
        with Varved(tmp / "data2", ["metrics.enabled=false"]) as server:
            try:
                metrics(server)
            except urllib.error.HTTPError as e:
                text = e.code
            assert text == 404, text
            assert server.stop() == 0
    finally:
        collector.stop()


def names_of_the_environment(tmp):
    config = tmp / "varved.yaml"
    config.write_text("log:\n  level: info\n")
    env = {**os.environ, "CONFIG_FILE": str(config), "SERVER_PORT": "0", "STORAGE_BUCKET": "b",
           "VARVE_QUERY_PORT": "0"}

    def run(*args, **more):
        return subprocess.run([str(BUILD / "varved"), *args], capture_output=True, text=True,
                              env={**env, **more}, timeout=60, check=False)

    done = run("--check-config")
    assert done.returncode == 2 and "storage.bucket: it is set and storage.backend is not" in done.stderr
    done = run("--print-config", VARVE_STORAGE_BACKEND="memory")
    assert 'level: info' in done.stdout and 'bucket: "b"' in done.stdout, done
    assert "  port: 0" in done.stdout
    for bad, words in (({"VARVE_STORAGE_BACKEND": "/no/such.so"}, "storage.backend: "),
                       ({"CONFIG_FILE": "/no/such.yaml"}, "/no/such.yaml"),
                       ({"VARVE_STORAGE_BACKEND": "s3", "VARVE_RETRY_MAX_BACKOFF_MS": "1"},
                        "retry.max_backoff_ms: 1 ms is less than")):
        done = run("--check-config", **bad)
        assert done.returncode == 2 and words in done.stderr, (bad, done)


def lines_of(server, trace):
    """Of a trace, stage by stage: {msg: [values]}, of lines in logfmt."""
    found = {}
    for line in server.log_path.read_text().splitlines():
        if trace in line:
            values = {k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', line)}
            found.setdefault(values["msg"], []).append(values)
    return found


def ask(server, path, body, headers):
    request = urllib.request.Request(f"http://{server.ingest}{path}", body.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def a_trace_is_followed_to_its_object(tmp):
    """One request by its traceparent, one span by its own id, through every stage; and where the
    object store cannot be written, in the line that says so."""
    objects, rules = tmp / "objects", tmp / "rules"
    objects.mkdir()
    rules.write_text("n = json $.n int\nbad = json $.s int\n")
    one, two, span = "0af7651916cd43dd8448eb211c80319c", "ab" * 16, "5b8efff798038103d269b633813fc60c"
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": span, "spanId": "eee19b7ec3c1b174", "name": "x", "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000"}]}]}]}
    to_json = {"Content-Type": "application/json"}
    with Varved(tmp / "data", [
            "storage.backend=file", f"storage.bucket={objects}", "processing.batch_timeout_ms=200",
            "log.levels=stream=debug,extract=debug,tier=debug"]) as server:
        made = varve("table", "create", "events", "--kind", "stream", "--extract", rules, "--tenant", "plant",
                       "--server", server.ingest)
        assert made.returncode == 0, made
        where = "/api/v1/stream/append?tenant=plant&table=events"
        for trace in (one, two):
            ask(server, where, '{"n":7,"s":"x"}',
                {"Content-Type": "text/plain", "traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        ask(server, "/v1/traces", json.dumps(spans), to_json)
        for trace in (one, two, span):
            wait_until(lambda t=trace: "uploaded" in lines_of(server, t), 60, f"an object of {trace}")
        for trace, table in ((one, "events"), (two, "events"), (span, "traces")):
            stages = lines_of(server, trace)
            wanted = ["accepted", "extracted", "batched", "uploaded"]
            assert [w for w in wanted if w in stages] == [w for w in wanted if w != "extracted" or trace != span], stages
            for stage in ("accepted", "batched", "uploaded"):
                assert len(stages[stage]) == 1 and stages[stage][0]["table"] == table, stages
            up, accepted = stages["uploaded"][0], stages["accepted"][0]
            assert trace == up["trace_id"] or trace in up["trace_ids"].split(","), up
            assert int(up["first_offset"]) <= int(accepted["first_offset"]) < int(up["next_offset"]), stages
            assert up["object"] == stages["batched"][0]["object"]
            assert sum(p.stat().st_size for p in objects.rglob(pathlib.Path(up["object"]).name)) == int(up["bytes"])
        said = lines_of(server, one)["extracted"][0]
        assert (said["module"], said["messages"], said["dead"], said["errors"]) == ("extract", "1", "0", "1"), said
        (objects / "messages").rename(tmp / "moved")
        (objects / "messages").write_text("")  # no directory: nothing can be made in it
        failing = "cd" * 16
        ask(server, where, '{"n":8}', {"Content-Type": "text/plain", "traceparent": f"00-{failing}-b7ad6b7169203331-01"})
        wait_until(lambda: "failed" in lines_of(server, failing), 60, "a line of a failure")
        failed = lines_of(server, failing)["failed"][0]
        assert failed["module"] == "tier" and failed["level"] == "warn" and failed["trace_id"] == failing, failed
        assert failed["error"] and failed["object"], failed
        assert server.stop() == 0


def main():
    cases = [a_trace_is_followed_to_its_object, every_sink_gets_the_lines, a_collector_that_is_away_gets_them_later,
             a_sink_that_is_nowhere_holds_up_nobody, files_are_set_aside, repeats_are_left_out_and_told,
             levels_are_by_module, figures_are_pushed, names_of_the_environment]
    only = sys.argv[1:]
    with TempDir() as tmp:
        for case in cases:
            if only and case.__name__ not in only:
                continue
            sub = pathlib.Path(tmp) / case.__name__
            sub.mkdir()
            began = time.monotonic()
            case(sub)
            print(f"ok {case.__name__} ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    main()
