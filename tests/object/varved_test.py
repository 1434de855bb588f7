#!/usr/bin/python3
"""varved and an object store that is away, refuses, and comes back: it serves all the same, is not
ready and says why, and is ready when what was wrong is mended, without a restart.

varved_test.py; VARVE_BUILD is the build directory.
"""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import scripted  # noqa: E402
from varvelib import TempDir, Varved, wait_until  # noqa: E402

FAST = ["retry.max_retries=1", "retry.initial_backoff_ms=1", "retry.max_backoff_ms=5"]


def settings(endpoint, **more):
    keys = {"backend": "s3", "bucket": "bkt", "endpoint": endpoint, "region": "us-east-1",
            "access_key": "AKID", "secret_key": "sec/ret+key=", **more}
    return [f"storage.{k}={v}" for k, v in keys.items()] + FAST + ["log.level=info"]


def refused(tmp, name, why, break_it, mend_it):
    """Not ready for a reason that names what is wrong; ready after it was mended."""
    s3 = scripted.S3Server()
    break_it(s3)
    try:
        with Varved(tmp / name, settings(s3.endpoint)) as server:
            wait_until(lambda: re.search(why, server.get("/ready")[1]), 30, f"/ready to say: {why}")
            status, said = server.get("/ready")
            assert status == 503 and "sec/ret" not in said, said
            assert server.get("/health") == (200, "ok\n")
            health = json.loads(server.get("/health", {"Accept": "application/json"})[1])
            assert health["is_healthy"] is False and re.search(why, health["reason"]), health
            assert server.metric("varve_object_reachable") == 0
            pipeline = json.loads(server.get("/api/v1/pipeline")[1])
            assert not pipeline["ready"] and pipeline["objectStore"]["hasAnswered"] is False, pipeline
            put = urllib.request.Request(f"http://{server.ingest}/api/v1/kv/t/kv/k", b"v", method="PUT")
            with urllib.request.urlopen(put, timeout=30) as answer:  # it serves
                assert answer.status == 204
            mend_it(s3)
            wait_until(lambda: server.get("/ready")[0] == 200, 90, "readiness")
            assert server.metric("varve_object_reachable") == 1
            assert server.stop() == 0
        log = server.log_path.read_text()
        assert "the object store cannot be used" in log and "the object store answers" in log, log
        assert "sec/ret" not in log
    finally:
        s3.stop()
    print(f"ok {name}")


def set_to(**values):
    def change(s3):
        for k, v in values.items():
            setattr(s3, k, v)
    return change


def throttled(s3):
    s3.fail_next("list", scripted.code(503, "SlowDown"), times=1000)


def nobody_listens(tmp):
    """An address without a server, which is there later."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with Varved(tmp / "nobody", settings(f"http://127.0.0.1:{port}")) as server:
        wait_until(lambda: "nothing answers" in server.get("/ready")[1], 30, "a reason")
        assert server.stop() == 0
    print("ok nobody_listens")


def it_stops_while_the_store_hangs(tmp):
    s3 = scripted.S3Server()
    s3.fail_next("*", scripted.hang(120), times=100)
    try:
        with Varved(tmp / "hangs", settings(s3.endpoint)) as server:
            wait_until(lambda: len(s3.seen) > 0, 30, "a question")
            assert server.get("/ready")[0] == 503
            assert server.stop() == 0  # within its own bound, not the store's
    finally:
        s3.stop()
    print("ok it_stops_while_the_store_hangs")


def append(server, text, trace=None):
    headers = {"Content-Type": "text/plain"}
    if trace:
        headers["traceparent"] = f"00-{trace}-b7ad6b7169203331-01"
    ask = urllib.request.Request(f"http://{server.ingest}/api/v1/stream/append?tenant=plant&table=events",
                                 text.encode(), headers)
    with urllib.request.urlopen(ask, timeout=60) as answer:
        assert answer.status == 200


def uploads_fail_and_come_back(tmp):
    """Messages reach the store; then it fails: after two uploads in a row the node is not ready and
    says so, appends go on; then it is back and everything gets there."""
    s3 = scripted.S3Server()
    trace = "0af7651916cd43dd8448eb211c80319c"
    try:
        with Varved(tmp / "uploads", settings(s3.endpoint) + [
                "processing.batch_timeout_ms=50", "processing.failures_max=2",
                "storage.breaker_failures=0", "log.levels=tier=debug,stream=debug"]) as server:
            wait_until(lambda: server.get("/ready")[0] == 200, 60, "readiness")
            append(server, "one", trace)
            wait_until(lambda: server.metric("varve_tier_messages_total") == 1, 60, "an object")
            assert server.metric("varve_tier_healthy") == 1
            before = len(s3.objects)
            s3.fail_next("*", scripted.code(500, "InternalError"), times=100000)
            append(server, "two")
            wait_until(lambda: server.get("/ready")[0] == 503, 60, "a node that is not ready")
            said = server.get("/ready")[1]
            assert "uploads to the object store failed in a row" in said, said
            pipeline = json.loads(server.get("/api/v1/pipeline")[1])
            stages = {s["name"]: s for s in pipeline["stages"]}
            assert stages["upload"]["healthy"] is False and stages["upload"]["failed"] >= 2, stages
            assert stages["batch"]["waitingMessages"] >= 1, stages
            assert server.metric("varve_tier_consecutive_failures") >= 2
            append(server, "three")  # goes on
            with s3.lock:
                s3.faults.clear()
            wait_until(lambda: server.get("/ready")[0] == 200, 90, "readiness again")
            wait_until(lambda: server.metric("varve_tier_messages_total") == 3, 60, "all messages")
            assert server.metric("varve_tier_waiting_messages") == 0 and len(s3.objects) > before
            if shutil.which("promtool"):
                done = subprocess.run(["promtool", "check", "metrics"], input=server.get("/metrics")[1],
                                      capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, done
            assert server.stop() == 0
        log = server.log_path.read_text()
        assert "msg=accepted tenant=plant table=events messages=1 " in log and f"trace_id={trace}" in log, log
        for stage in ("msg=batched", "msg=uploaded", "msg=failed"):
            assert stage in log, (stage, log)
    finally:
        s3.stop()
    print("ok uploads_fail_and_come_back")


def main():
    with TempDir() as tmp:
        refused(tmp, "wrong_secret", "SignatureDoesNotMatch", set_to(secret="another"),
                set_to(secret="sec/ret+key="))
        refused(tmp, "unknown_key", "InvalidAccessKeyId", set_to(access="OTHER"), set_to(access="AKID"))
        refused(tmp, "no_bucket", "NoSuchBucket", set_to(bucket="other"), set_to(bucket="bkt"))
        refused(tmp, "token", "ExpiredToken", set_to(token="fresh"), set_to(token=None))
        refused(tmp, "throttled", "SlowDown", throttled, lambda s3: s3.faults.clear())
        nobody_listens(tmp)
        it_stops_while_the_store_hangs(tmp)
        uploads_fail_and_come_back(tmp)


main()
