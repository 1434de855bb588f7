#!/usr/bin/python3
"""The Python grpcio client (gRPC C core) against varved: every call of the storage services, health
and reflection, deadlines, cancellation, gzip, big and bad messages, and a drain in mid-stream.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import grpc  # noqa: E402
from varvelib import Messages, TempDir, Varved, method, wait_until  # noqa: E402

PB = Messages()
ING = "/storage.IngestionService/"
QRY = "/storage.QueryService/"
GRPC_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def record(rid, tenant="py", schema="records", ts=None, metadata=None, **fields):
    r = PB.common.DataRecord()
    r.id.tenant_id.id = tenant
    r.id.entity_id.id = rid
    r.schema.name = schema
    if ts is not None:
        r.timestamp.seconds = ts
    for k, v in (metadata or {}).items():
        r.metadata[k] = v
    r.data.update(fields)
    return r


class Client:
    def __init__(self, server):
        self.ingest = grpc.insecure_channel(server.ingest, GRPC_OPTIONS)
        self.query = grpc.insecure_channel(server.query, GRPC_OPTIONS)

    def call(self, path, request, reply, channel=None, **kwargs):
        channel = channel or (self.query if path.startswith(QRY) else self.ingest)
        return method(channel, "unary_unary", path, reply)(request, **kwargs)


def expect(code, fn):
    try:
        fn()
    except grpc.RpcError as e:
        assert e.code() == code, f"{e.code()} instead of {code}: {e.details()}"
        return e.details()
    raise AssertionError(f"no error where {code} was due")


def ingest_record_and_get_it_back(c):
    req = PB.ingestion.IngestRecordRequest(
        record=record("a", ts=1000, metadata={"site": "north"}, temp=21.5, ok=True,
                      deep={"x": {"y": "z"}}, tags=["p", 7, None]))
    call = method(c.ingest, "unary_unary", ING + "IngestRecord",
                  PB.ingestion.IngestRecordResponse)
    reply, info = call.with_call(req)
    assert reply.status.code == 0 and reply.record_id == "a" and reply.version > 0, reply
    assert ("varve-durability", "sync") in [(m.key, m.value) for m in info.trailing_metadata()]
    get = PB.query.GetRecordRequest()
    get.record_id.tenant_id.id = "py"
    get.record_id.entity_id.id = "a"
    got = c.call(QRY + "GetRecord", get, PB.query.GetRecordResponse)
    assert got.found and got.record.data == req.record.data, got
    assert got.record.metadata["site"] == "north" and got.record.timestamp.seconds == 1000
    assert got.record.version == reply.version
    for durability in ("os", "none"):
        req.options["durability"] = durability
        _, info = call.with_call(req)
        assert ("varve-durability", durability) in [(m.key, m.value)
                                                    for m in info.trailing_metadata()]
    req.options["durability"] = "perhaps"
    expect(grpc.StatusCode.INVALID_ARGUMENT, lambda: call(req))


def versions_can_be_read_back(c):
    versions = []
    for n in range(3):
        req = PB.ingestion.IngestRecordRequest(record=record("v", n=n))
        versions.append(c.call(ING + "IngestRecord", req, PB.ingestion.IngestRecordResponse).version)
    assert versions == sorted(set(versions))
    for n, v in enumerate(versions):
        get = PB.query.GetRecordRequest(version=v)
        get.record_id.tenant_id.id = "py"
        get.record_id.entity_id.id = "v"
        got = c.call(QRY + "GetRecord", get, PB.query.GetRecordResponse)
        assert got.found and got.record.data["n"] == n and got.record.version == v, (n, got)


def batches_split_or_hold_together(c):
    req = PB.ingestion.IngestBatchRequest()
    req.records.extend(record(f"b{i}", ts=2000 + i, n=i, parity=["even", "odd"][i % 2])
                       for i in range(1000))
    reply = c.call(ING + "IngestBatch", req, PB.ingestion.IngestBatchResponse)
    assert (reply.successful_count, reply.failed_count) == (1000, 0), reply.status
    assert [r.record_id for r in reply.results] == [f"b{i}" for i in range(1000)]

    bad = PB.ingestion.IngestBatchRequest()
    bad.records.extend([record("good1", n=1), record("", n=2), record("good2", n=3)])
    reply = c.call(ING + "IngestBatch", bad, PB.ingestion.IngestBatchResponse)
    assert (reply.successful_count, reply.failed_count) == (2, 1), reply
    assert reply.results[1].status.code == 3 and reply.results[1].error_message, reply

    bad.transactional = True
    for r, name in zip(bad.records, ("t1", "", "t2")):
        r.id.entity_id.id = name
    why = expect(grpc.StatusCode.INVALID_ARGUMENT,
                 lambda: c.call(ING + "IngestBatch", bad, PB.ingestion.IngestBatchResponse))
    assert "1" in why, why
    gets = PB.query.GetRecordsRequest()
    for name in ("t1", "t2", "good1", "b7"):
        rid = gets.record_ids.add()
        rid.tenant_id.id = "py"
        rid.entity_id.id = name
    got = c.call(QRY + "GetRecords", gets, PB.query.GetRecordsResponse)
    assert [r.found for r in got.results] == [False, False, True, True], got

    big = PB.ingestion.IngestBatchRequest(transactional=True)
    big.records.extend(record(f"big{i}", blob="x" * 1000000) for i in range(18))
    expect(grpc.StatusCode.RESOURCE_EXHAUSTED,
           lambda: c.call(ING + "IngestBatch", big, PB.ingestion.IngestBatchResponse))
    big.transactional = False
    reply = c.call(ING + "IngestBatch", big, PB.ingestion.IngestBatchResponse)
    assert reply.successful_count == 18, reply.status


def stream(c, options, records, commit_at=None):
    init = PB.ingestion.IngestStreamRequest()
    init.init.tenant_id.id = "py"
    for k, v in options.items():
        init.init.options[k] = v

    def requests():
        yield init
        for n, r in enumerate(records):
            yield PB.ingestion.IngestStreamRequest(record=r)
            if commit_at == n:
                yield PB.ingestion.IngestStreamRequest(
                    commit=PB.ingestion.StreamCommit(force_flush=True))

    call = method(c.ingest, "stream_stream", ING + "IngestStream",
                  PB.ingestion.IngestStreamResponse)
    return list(call(requests(), timeout=60))


def streams_acknowledge_in_order(c):
    replies = stream(c, {}, [record(f"s{i}", n=i) for i in range(300)])
    acks = [r.ack for r in replies if r.HasField("ack")]
    assert [a.sequence_number for a in acks] == list(range(1, 301))
    assert [a.record_id for a in acks] == [f"s{i}" for i in range(300)]
    assert all(a.version > 0 for a in acks)
    replies = stream(c, {"ack": "batch"}, [record(f"sb{i}", n=i) for i in range(5000)], 100)
    acks = [r.ack.sequence_number for r in replies if r.HasField("ack")]
    assert acks == sorted(acks) and acks[-1] == 5000 and len(acks) < 5000, len(acks)
    replies = stream(c, {}, [record("e1", n=1), record("", n=2), record("e3", n=3)])
    errors = [r.error for r in replies if r.HasField("error")]
    assert len(errors) == 1 and errors[0].sequence_number == 2 and errors[0].status.code == 3
    assert [r.ack.sequence_number for r in replies if r.HasField("ack")] == [1, 3]


def a_stream_gets_statistics(c):
    def slow():
        for i in range(4):
            yield record(f"slow{i}", n=i)
            time.sleep(0.5)
    stats = [r.stats for r in stream(c, {}, slow()) if r.HasField("stats")]
    assert stats and stats[-1].records_received >= 1 and stats[-1].bytes_received > 0, stats


def query(c, **kwargs):
    req = PB.query.QueryRequest()
    req.tenant_id.id = "py"
    req.schema.name = kwargs.pop("schema", "records")
    for column, op, value in kwargs.pop("filters", []):
        f = req.filters.add(column=column, operator=op)
        if isinstance(value, list):
            f.value.list_value.extend(value)
        elif isinstance(value, str):
            f.value.string_value = value
        elif isinstance(value, bool):
            f.value.bool_value = value
        else:
            f.value.number_value = value
    for column, descending in kwargs.pop("order_by", []):
        req.order_by.add(column=column, descending=descending)
    if "time" in kwargs:
        req.time_range.start.seconds, req.time_range.end.seconds = kwargs.pop("time")
    req.projection.extend(kwargs.pop("projection", []))
    for k, v in kwargs.items():
        setattr(req, k, v)
    return req


def queries_filter_order_and_page(c):
    run = lambda req: c.call(QRY + "Query", req, PB.query.QueryResponse)  # noqa: E731
    ids = lambda reply: [r.id.entity_id.id for r in reply.records]  # noqa: E731
    reply = run(query(c, filters=[("n", ">=", 10), ("n", "<", 20), ("parity", "=", "odd")],
                      order_by=[("n", True)], projection=["n"]))
    assert ids(reply) == ["b19", "b17", "b15", "b13", "b11"], reply
    assert list(reply.records[0].data.fields) == ["n"]
    assert reply.query_stats.scanned_rows >= 1000 and reply.query_stats.returned_rows == 5
    reply = run(query(c, time=(2010, 2015)))
    assert ids(reply) == [f"b{i}" for i in range(10, 15)] and reply.query_stats.used_index, reply
    assert reply.query_stats.scanned_rows < 100
    reply = run(query(c, filters=[("parity", "=", "even")], order_by=[("n", False)], limit=3,
                      offset=2))
    assert ids(reply) == ["b4", "b6", "b8"] and reply.has_more, reply
    assert ids(run(query(c, filters=[("deep.x.y", "=", "z")]))) == ["a"]
    assert ids(run(query(c, filters=[("_metadata.site", "=", "north")]))) == ["a"]
    assert ids(run(query(c, filters=[("_id", "=", "b5")]))) == ["b5"]
    assert ids(run(query(c, filters=[("n", "=", "5")]))) == []  # a type mismatch is false
    assert ids(run(query(c, filters=[("n", "in", [5.0, 6.0]), ("parity", "!=", "even")]))) == ["b5"]
    assert ids(run(query(c, filters=[("parity", "contains", "dd"), ("n", "<=", 1)]))) == ["b1"]
    expect(grpc.StatusCode.INVALID_ARGUMENT,
           lambda: run(query(c, filters=[("n", "resembles", 1)])))
    expect(grpc.StatusCode.NOT_FOUND, lambda: run(query(c, schema="no_such_table")))
    streamed = method(c.query, "unary_stream", QRY + "QueryStream", PB.query.QueryStreamResponse)
    replies = list(streamed(query(c, filters=[("parity", "=", "odd")])))
    assert sum(r.HasField("record") for r in replies) == 500
    assert replies[-1].HasField("stats") and replies[-1].stats.returned_rows == 500


def aggregates_and_plans(c):
    ask = PB.query.AggregateRequest(group_by=["parity"])
    ask.tenant_id.id = "py"
    ask.schema.name = "records"
    ask.filters.add(column="parity", operator="in").value.list_value.extend(["even", "odd"])
    ask.filters.add(column="n", operator="<").value.number_value = 10
    ask.aggregates.add(function="count", alias="rows")
    ask.aggregates.add(function="sum", column="n", alias="total")
    ask.having.add(column="total", operator=">=").value.number_value = 20
    reply = c.call(QRY + "Aggregate", ask, PB.query.AggregateResponse)
    got = {r.group_by_values["parity"].string_value:
           (r.aggregate_values["rows"].number_value, r.aggregate_values["total"].number_value)
           for r in reply.results}
    assert got == {"even": (5, 20), "odd": (5, 25)}, reply
    assert reply.query_stats.scanned_rows >= 10, reply.query_stats
    ask.aggregates.add(function="median", column="n")
    expect(grpc.StatusCode.INVALID_ARGUMENT,
           lambda: c.call(QRY + "Aggregate", ask, PB.query.AggregateResponse))

    ask = PB.query.QueryRequest()
    ask.tenant_id.id = "py"
    ask.schema.name = "records"
    ask.filters.add(column="_id", operator="=").value.string_value = "b7"
    reply = c.call(QRY + "ExplainQuery", ask, PB.query.QueryPlanResponse)
    assert "KeyLookup" in reply.plan.plan_text and reply.plan.nodes, reply
    ask.filters[0].operator = "~"
    expect(grpc.StatusCode.INVALID_ARGUMENT,
           lambda: c.call(QRY + "ExplainQuery", ask, PB.query.QueryPlanResponse))


def status_and_health(c):
    status = c.call(ING + "GetIngestionStatus", PB.ingestion.IngestionStatusRequest(),
                    PB.ingestion.IngestionStatusResponse)
    assert status.metrics.total_records_ingested > 1000 and status.metrics.wal_size_bytes > 0
    assert status.metrics.failed_records >= 2 and status.metrics.p99_latency_ms > 0, status
    for prefix in (ING, QRY):
        reply = c.call(prefix + "HealthCheck", PB.common.HealthCheckRequest(),
                       PB.common.HealthCheckResponse)
        assert reply.status == 1, reply
    health = "/grpc.health.v1.Health/"
    for channel in (c.ingest, c.query):
        for service in ("", "storage.IngestionService", "storage.QueryService", "varve.v1.Kv"):
            reply = c.call(health + "Check", PB.health.HealthCheckRequest(service=service),
                           PB.health.HealthCheckResponse, channel)
            assert reply.status == 1, (service, reply)
        expect(grpc.StatusCode.NOT_FOUND,
               lambda ch=channel: c.call(health + "Check",
                                         PB.health.HealthCheckRequest(service="none"),
                                         PB.health.HealthCheckResponse, ch))
    watch = method(c.ingest, "unary_stream", health + "Watch", PB.health.HealthCheckResponse)
    w = watch(PB.health.HealthCheckRequest())
    assert next(w).status == 1
    w.cancel()


def reflection_lists_and_describes(c):
    for version in ("v1", "v1alpha"):
        call = method(c.query, "stream_stream",
                      f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                      PB.reflection.ServerReflectionResponse)
        requests = [
            PB.reflection.ServerReflectionRequest(list_services=""),
            PB.reflection.ServerReflectionRequest(file_containing_symbol="storage.DataRecord"),
            PB.reflection.ServerReflectionRequest(
                file_containing_symbol="storage.IngestionService.IngestStream"),
            PB.reflection.ServerReflectionRequest(file_by_filename="varve/v1/kv.proto"),
            PB.reflection.ServerReflectionRequest(file_containing_symbol="no.such.Thing"),
        ]
        r = list(call(iter(requests)))
        names = {s.name for s in r[0].list_services_response.service}
        assert {"storage.IngestionService", "storage.QueryService", "varve.v1.Kv",
                "grpc.health.v1.Health"} <= names, names
        assert all(len(x.file_descriptor_response.file_descriptor_proto) > 0 for x in r[1:4])
        assert r[4].error_response.error_code == 5


def kv_calls(c):
    kv = "/varve.v1.Kv/"
    table = PB.kv.TableRef(tenant="py", table="kv")
    v1 = c.call(kv + "Put", PB.kv.PutRequest(table=table, key=b"k", value=b"\x00\xff"),
                PB.kv.PutResponse).version
    got = c.call(kv + "Get", PB.kv.GetRequest(table=table, key=b"k"), PB.kv.GetResponse, c.query)
    assert got.found and got.value == b"\x00\xff" and got.version == v1
    cas = PB.kv.CompareAndSwapRequest(table=table, key=b"k", expected=b"other", value=b"new")
    got = c.call(kv + "CompareAndSwap", cas, PB.kv.CompareAndSwapResponse)
    assert not got.swapped and got.current == b"\x00\xff"
    cas.expected = b"\x00\xff"
    assert c.call(kv + "CompareAndSwap", cas, PB.kv.CompareAndSwapResponse).swapped
    cas = PB.kv.CompareAndSwapRequest(table=table, key=b"fresh", absent=True, value=b"1")
    assert c.call(kv + "CompareAndSwap", cas, PB.kv.CompareAndSwapResponse).swapped
    assert not c.call(kv + "CompareAndSwap", cas, PB.kv.CompareAndSwapResponse).swapped
    batch = PB.kv.BatchRequest(producer=b"p1", sequence=1)
    for i in range(2000):
        op = batch.operations.add()
        op.put.table.CopyFrom(table)
        op.put.key = b"scan%05d" % i
        op.put.value = b"v" * 500
    assert not c.call(kv + "Batch", batch, PB.kv.BatchResponse).duplicate
    assert c.call(kv + "Batch", batch, PB.kv.BatchResponse).duplicate
    scan = method(c.ingest, "unary_stream", kv + "Scan", PB.kv.ScanResponse)
    pages = list(scan(PB.kv.ScanRequest(table=table, prefix=b"scan", page_bytes=65536)))
    keys = [e.key for p in pages for e in p.entries]
    assert keys == [b"scan%05d" % i for i in range(2000)] and len(pages) > 5
    assert len({p.version for p in pages}) == 1
    keys = [e.key for p in scan(PB.kv.ScanRequest(table=table, begin=b"scan00010",
                                                  end=b"scan00020", reverse=True, limit=3))
            for e in p.entries]
    assert keys == [b"scan00019", b"scan00018", b"scan00017"], keys
    c.call(kv + "Put", PB.kv.PutRequest(table=table, key=b"brief", value=b"x", ttl_ms=1),
           PB.kv.PutResponse)
    wait_until(lambda: not c.call(kv + "Get", PB.kv.GetRequest(table=table, key=b"brief"),
                                  PB.kv.GetResponse).found, 10, "a key with a TTL of 1 ms is gone")
    c.call(kv + "Delete", PB.kv.DeleteRequest(table=table, key=b"scan", range_end=b"scao"),
           PB.kv.DeleteResponse)
    assert not list(p for p in scan(PB.kv.ScanRequest(table=table, prefix=b"scan")) if p.entries)
    expect(grpc.StatusCode.INVALID_ARGUMENT,
           lambda: c.call(kv + "Put", PB.kv.PutRequest(table=table, key=b"x" * 1025), PB.kv.PutResponse))
    expect(grpc.StatusCode.NOT_FOUND,
           lambda: c.call(kv + "Get", PB.kv.GetRequest(table=PB.kv.TableRef(table="nope"), key=b"x"),
                          PB.kv.GetResponse))


def tables_can_be_made_and_dropped(c):
    admin = "/varve.v1.Admin/"
    table = PB.kv.TableRef(tenant="py", table="made")
    info = c.call(admin + "CreateTable", PB.admin.CreateTableRequest(table=table), PB.admin.TableInfo)
    assert info.table.table == "made" and info.kind == 1
    expect(grpc.StatusCode.ABORTED,
           lambda: c.call(admin + "CreateTable", PB.admin.CreateTableRequest(table=table),
                          PB.admin.TableInfo))
    tables = c.call(admin + "ListTables", PB.admin.ListTablesRequest(tenant="py"),
                    PB.admin.ListTablesResponse).tables
    assert {"made", "kv", "records"} <= {t.table.table for t in tables}
    for name, request in (("CreateTable", PB.admin.CreateTableRequest(table=table)),
                          ("DropTable", table), ("Checkpoint", PB.admin.CheckpointRequest())):
        expect(grpc.StatusCode.UNIMPLEMENTED,  # what changes something is on the ingest port alone
               lambda name=name, request=request: c.call(admin + name, request, PB.admin.TableInfo,
                                                         c.query))
    info = c.call(admin + "DescribeTable", table, PB.admin.TableInfo, c.query)
    assert info.table.table == "made", info
    c.call(admin + "DropTable", table, PB.admin.DropTableResponse)
    expect(grpc.StatusCode.NOT_FOUND,
           lambda: c.call(admin + "DescribeTable", table, PB.admin.TableInfo))
    assert c.call(admin + "Status", PB.admin.StatusRequest(), PB.admin.StatusResponse).ready


def protocol_edges(c):
    expect(grpc.StatusCode.UNIMPLEMENTED,
           lambda: c.call("/storage.IngestionService/NoSuch", PB.common.HealthCheckRequest(),
                          PB.common.HealthCheckResponse))
    raw = c.ingest.unary_unary(ING + "IngestRecord")
    expect(grpc.StatusCode.INVALID_ARGUMENT, lambda: raw(b"\x0a\xff\xff\xff\xff\x0f garbage"))
    # google.protobuf.Value nested 100,000 deep: Value{list_value{values: Value{...}}}, inside out.
    heads = []
    size = 0
    for _ in range(100000):
        values = b"\x0a" + varint(size)
        size += len(values)
        head = b"\x32" + varint(size) + values
        size += len(head) - len(values)
        heads.append(head)
    inner = b"".join(reversed(heads))
    ident = field(1, field(2, field(1, b"deep")))
    deep = field(1, ident + field(2, field(1, field(1, b"k") + field(2, inner))))
    reply = PB.ingestion.IngestRecordResponse.FromString(raw(deep))
    assert reply.status.code == 3 and reply.version == 0, reply  # a fault of the one record
    assert "nest" in reply.status.message or "deep" in reply.status.message, reply
    expect(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: raw(b"\x00" * (65 << 20)))
    gz = method(c.ingest, "unary_unary", ING + "IngestRecord", PB.ingestion.IngestRecordResponse)
    assert gz(PB.ingestion.IngestRecordRequest(record=record("gz", text="z" * 100000)),
              compression=grpc.Compression.Gzip).version > 0
    big = record("ten_mb", text="y" * (10 << 20))
    assert c.call(ING + "IngestRecord", PB.ingestion.IngestRecordRequest(record=big),
                  PB.ingestion.IngestRecordResponse).version > 0
    futures = [gz.future(PB.ingestion.IngestRecordRequest(record=record(f"c{i}", n=i)))
               for i in range(500)]
    assert all(f.result().version > 0 for f in futures)
    hold = threading.Event()

    def never():
        hold.wait(20)
        yield PB.ingestion.IngestStreamRequest()
    call = method(c.ingest, "stream_stream", ING + "IngestStream",
                  PB.ingestion.IngestStreamResponse)
    expect(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(call(never(), timeout=0.3)))
    s = call(never())
    s.cancel()
    expect(grpc.StatusCode.CANCELLED, lambda: list(s))
    hold.set()
    assert gz(PB.ingestion.IngestRecordRequest(record=record("after", n=1))).version > 0


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def a_stream_survives_the_drain(server, c):
    """SIGTERM in mid-stream: the open stream finishes with OK and every ack, the exit code is 0."""
    half = threading.Event()
    go_on = threading.Event()

    def records():
        for i in range(200):
            if i == 100:
                half.set()
                go_on.wait(30)
            yield record(f"drain{i}", n=i)

    replies = []
    worker = threading.Thread(target=lambda: replies.extend(stream(c, {}, records())))
    worker.start()
    assert half.wait(30)
    stopper = threading.Thread(target=lambda: replies.append(server.stop()))
    stopper.start()
    time.sleep(0.3)
    go_on.set()
    worker.join(60)
    stopper.join(60)
    code = [r for r in replies if isinstance(r, int)]
    acks = [r.ack.sequence_number for r in replies if not isinstance(r, int) and r.HasField("ack")]
    assert acks == list(range(1, 201)), len(acks)
    assert code == [0], code


def main():
    cases = [ingest_record_and_get_it_back, versions_can_be_read_back,
             batches_split_or_hold_together, streams_acknowledge_in_order,
             a_stream_gets_statistics, queries_filter_order_and_page, aggregates_and_plans,
             status_and_health,
             reflection_lists_and_describes, kv_calls, tables_can_be_made_and_dropped,
             protocol_edges]
    with TempDir() as tmp, Varved(tmp / "data") as server:
        client = Client(server)
        for case in cases:
            case(client)
            print(f"ok {case.__name__}")
        a_stream_survives_the_drain(server, client)
        print("ok a_stream_survives_the_drain")
    print(f"{len(cases) + 1} cases with grpcio {grpc.__version__}")


if __name__ == "__main__":
    main()
