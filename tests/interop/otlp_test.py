#!/usr/bin/python3
"""OpenTelemetry and StorageEngine against varved: what grpcio and the exporters of npm send is
stored, an answer outlives SIGKILL, and an id makes a message known over a restart."""
import base64
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from varvelib import ROOT, TempDir, Varved, method, varve  # noqa: E402

MODULES = ROOT / "tests/interop/node_modules"
CLIENT = ROOT / "tests/interop/otlp_client.js"
PROTOS = ["common/v1/common", "resource/v1/resource", "trace/v1/trace", "logs/v1/logs", "metrics/v1/metrics",
          "collector/trace/v1/trace_service", "collector/logs/v1/logs_service",
          "collector/metrics/v1/metrics_service"]


class Pb:
    """The messages, compiled for Python."""

    def __init__(self):
        out = tempfile.mkdtemp(prefix="varve-pb-")
        files = [f"opentelemetry/proto/{p}.proto" for p in PROTOS] + ["storage_engine/msg.proto"]
        subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", *files], check=True)
        sys.path.insert(0, out)
        self.trace = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        self.engine = importlib.import_module("storage_engine.msg_pb2")


def messages(server, table, tenant="default"):
    done = varve("stream", "read", "--server", server.ingest, "--table", table, "--tenant", tenant, "-o", "json")
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def spans(pb, first, count):
    request = pb.trace.ExportTraceServiceRequest()
    group = request.resource_spans.add()
    name = group.resource.attributes.add(key="service.name")
    name.value.string_value = "python"
    scope = group.scope_spans.add()
    for i in range(first, first + count):
        scope.spans.add(trace_id=(i + 1).to_bytes(16, "big"), span_id=(i + 1).to_bytes(8, "big"), name=f"span {i}",
                        start_time_unix_nano=1700000000000000000 + i, end_time_unix_nano=1700000000000001000 + i)
    return request


def acknowledged_is_durable(pb, data):
    """The opposite of an answer on enqueue: SIGKILL right behind the answer loses nothing."""
    for round_ in range(3):
        with Varved(data) as server, grpc.insecure_channel(server.ingest) as channel:
            export = method(channel, "unary_unary",
                            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                            pb.trace.ExportTraceServiceResponse)
            process = method(channel, "unary_unary", "/storage_engine.StorageEngine/ProcessMessage",
                             pb.engine.ProcessResponse)
            reply = export(spans(pb, round_ * 50, 50), timeout=60)
            assert not reply.HasField("partial_success"), reply
            said = process(pb.engine.Message(id=f"id {round_}", content=f"text {round_}", timestamp=1700000000),
                           timeout=60)
            server.kill()
            assert said.success and said.message == f"stored at offset {round_}", said
    with Varved(data) as server, grpc.insecure_channel(server.ingest) as channel:
        got = messages(server, "traces")
        assert len(got) == 150, len(got)
        about = got[149]["attributes"]
        assert about["name"] == "span 149" and about["service.name"] == "python", got[149]
        got = messages(server, "messages")
        assert [(m["key"], m["value"]) for m in got] == [(f"id {i}", f"text {i}") for i in range(3)], got
        assert got[0]["event"].startswith("2023-11-14T22:13:20"), got[0]
        process = method(channel, "unary_unary", "/storage_engine.StorageEngine/ProcessMessage",
                         pb.engine.ProcessResponse)
        again = process(pb.engine.Message(id="id 1", content="text 1", timestamp=1700000000), timeout=60)
        assert again.success and again.message == "stored at offset 1 before", again
        other = process(pb.engine.Message(id="id 1", content="other", timestamp=1700000000), timeout=60)
        assert not other.success, other
        assert len(messages(server, "messages")) == 3
        assert server.stop() == 0


def post(server, path, body, headers):
    request = urllib.request.Request(f"http://{server.ingest}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def values_are_a_request(pb, data):
    """What is stored can be exported again, as it is."""
    with Varved(data) as server, grpc.insecure_channel(server.ingest) as channel:
        export = method(channel, "unary_unary", "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                        pb.trace.ExportTraceServiceResponse)
        export(spans(pb, 0, 20), timeout=60)
        with urllib.request.urlopen(f"http://{server.query}/api/v1/stream/read?table=traces", timeout=60) as reply:
            lines = [json.loads(line) for line in reply.read().splitlines()]
        stored = b"".join(base64.b64decode(m["value_base64"]) if "value_base64" in m
                          else m["value"].encode() for m in lines)
        status, body = post(server, "/v1/traces", stored,
                            {"content-type": "application/x-protobuf", "x-tenant": "again"})
        assert (status, body) == (200, b""), (status, body)
        again = messages(server, "traces", "again")
        assert [m["attributes"] for m in again] == [m["attributes"] for m in messages(server, "traces")]
        assert server.stop() == 0


def exporters(data):
    """The clients of OpenTelemetry for node, over gRPC, HTTP with protobuf, and HTTP with JSON."""
    with Varved(data) as server:
        done = subprocess.run(["node", str(CLIENT), server.ingest], check=False, timeout=240)
        assert done.returncode == 0, "the exporters failed"
        for form in ("grpc", "proto", "http"):
            got = [m for m in messages(server, "traces") if m["attributes"].get("form") == form]
            assert len(got) == 20, (form, len(got))
            assert all((m["attributes"]["service.name"], m["attributes"]["kind"]) == ("node", "server")
                       for m in got), got[0]
            got = [m for m in messages(server, "logs") if m["attributes"].get("form") == form]
            assert len(got) == 20, (form, len(got))
            about = got[0]["attributes"]
            assert (about["severity"], about["body"]) == ("ERROR", "it broke"), got[0]
            done = varve("series", "latest", "--table", "metrics", "--server", server.ingest, "-o", "json", "--match", f"form={form}")
            assert done.returncode == 0, done
            text = done.stdout
            assert "orders.placed" in text and "orders.size_bucket" in text and "orders.size_count" in text, text
        assert server.stop() == 0


def main():
    pb = Pb()
    with TempDir() as tmp:
        tmp = pathlib.Path(tmp)
        acknowledged_is_durable(pb, tmp / "killed")
        values_are_a_request(pb, tmp / "again")
        if (MODULES / "@opentelemetry/exporter-trace-otlp-grpc/package.json").exists():
            exporters(tmp / "node")
        else:
            print(f"SKIPPED: no exporters of OpenTelemetry in {MODULES}: run tools/setup_node.sh where npm's "
                  "registry answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
