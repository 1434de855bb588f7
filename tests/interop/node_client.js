#!/usr/bin/env node
// The @grpc/grpc-js client against varved: every call of the storage services, health with Watch,
// reflection in both versions, big and bad messages, many calls at once, deadlines and cancellation. Usage: node_client.js INGEST QUERY
// SMALL, the last with a message limit of 1 MiB
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [, , ingestAddress, queryAddress, smallAddress] = process.argv;
const protoDir = path.join(__dirname, '..', '..', 'proto');
const files = ['storage/ingestion.proto', 'storage/query.proto', 'varve/v1/kv.proto',
  'grpc/health/v1/health.proto', 'grpc/reflection/v1/reflection.proto',
  'grpc/reflection/v1alpha/reflection.proto'];
const api = grpc.loadPackageDefinition(loader.loadSync(files, {
  includeDirs: [protoDir, '/usr/include'], keepCase: true, longs: Number, defaults: true,
  oneofs: true,
}));
const options = { 'grpc.max_send_message_length': -1, 'grpc.max_receive_message_length': -1 };
const insecure = grpc.credentials.createInsecure();
const ingest = new api.storage.IngestionService(ingestAddress, insecure, options);
const query = new api.storage.QueryService(queryAddress, insecure, options);
const kv = new api.varve.v1.Kv(ingestAddress, insecure, options);
const health = new api.grpc.health.v1.Health(queryAddress, insecure, options);

function call(client, method, request, callOptions = {}) {
  return new Promise((resolve, reject) => {
    client[method](request, callOptions, (err, reply) => (err ? reject(err) : resolve(reply)));
  });
}

async function expectCode(code, promise) {
  try {
    await promise;
  } catch (err) {
    assert.strictEqual(err.code, code, `${err.code} instead of ${code}: ${err.details}`);
    return err;
  }
  throw new Error(`no error where ${code} was due`);
}

function record(id, fields, extra = {}) {
  const data = { fields: {} };
  for (const [k, v] of Object.entries(fields)) {
    data.fields[k] = typeof v === 'number' ? { numberValue: v, number_value: v }
      : { stringValue: v, string_value: v };
  }
  return { id: { tenant_id: { id: 'js' }, entity_id: { id } }, data, schema: { name: 'records' },
    ...extra };
}

// The loader may name the fields of well-known types either way.
function number(value) {
  return value.number_value ?? value.numberValue;
}

function list(strings) {
  const values = strings.map((s) => ({ stringValue: s, string_value: s }));
  return { listValue: { values }, list_value: { values } };
}

function stream(options2, records) {
  return new Promise((resolve, reject) => {
    const replies = [];
    const s = ingest.IngestStream();
    s.on('data', (r) => replies.push(r));
    s.on('error', reject);
    s.on('end', () => resolve(replies));
    s.write({ init: { tenant_id: { id: 'js' }, options: options2 } });
    for (const r of records) s.write({ record: r });
    s.write({ commit: { force_flush: true } });
    s.end();
  });
}

const cases = {
  async records_round_trip() {
    const reply = await call(ingest, 'IngestRecord', { record: record('a', { x: 1.5, s: 'ä' }) });
    assert(reply.version > 0 && reply.record_id === 'a' && reply.status.code === 0);
    const got = await call(query, 'GetRecord', {
      record_id: { tenant_id: { id: 'js' }, entity_id: { id: 'a' } } });
    assert(got.found);
    assert.strictEqual(got.record.data.fields.x.number_value ?? got.record.data.fields.x.numberValue, 1.5);
  },
  async a_thousand_in_a_batch() {
    const records = Array.from({ length: 1000 }, (_, i) => record(`b${i}`, { i }));
    const reply = await call(ingest, 'IngestBatch', { records, transactional: true });
    assert.strictEqual(reply.successful_count, 1000);
    assert.strictEqual(new Set(reply.results.map((r) => r.version)).size, 1);
  },
  async a_stream_keeps_its_order() {
    const replies = await stream({}, Array.from({ length: 300 }, (_, i) => record(`s${i}`, { i })));
    const acks = replies.filter((r) => r.response === 'ack').map((r) => r.ack.sequence_number);
    assert.deepStrictEqual(acks, Array.from({ length: 300 }, (_, i) => i + 1));
  },
  async a_stream_with_batch_acks() {
    const replies = await stream({ ack: 'batch' },
      Array.from({ length: 5000 }, (_, i) => record(`sb${i}`, { i })));
    const acks = replies.filter((r) => r.response === 'ack').map((r) => r.ack.sequence_number);
    assert.strictEqual(acks.at(-1), 5000);
    assert(acks.length < 5000);
  },
  async ping_pong() {
    await new Promise((resolve, reject) => {
      const s = ingest.IngestStream();
      let n = 0;
      s.on('data', (r) => {
        if (r.response !== 'ack') return;
        assert.strictEqual(r.ack.sequence_number, ++n);
        if (n === 20) s.end();
        else s.write({ record: record(`p${n}`, { n }) });
      });
      s.on('error', reject);
      s.on('end', () => (n === 20 ? resolve() : reject(new Error(`${n} acks`))));
      s.write({ record: record('p0', { n: 0 }) });
    });
  },
  async queries_stream() {
    const request = { tenant_id: { id: 'js' }, schema: { name: 'records' },
      filters: [{ column: 'i', operator: '>=', value: { numberValue: 990, number_value: 990 } },
        { column: '_id', operator: 'contains', value: { stringValue: 'b', string_value: 'b' } }] };
    const rows = await new Promise((resolve, reject) => {
      const got = [];
      query.QueryStream(request).on('data', (r) => got.push(r)).on('error', reject)
        .on('end', () => resolve(got));
    });
    assert(rows.at(-1).stats && rows.length > 10);
    const reply = await call(query, 'Query', { ...request, limit: 10000 }); // 0 means 1,000
    assert.strictEqual(reply.records.length, rows.filter((r) => r.record).length);
  },
  async ten_megabytes() {
    const reply = await call(ingest, 'IngestRecord',
      { record: record('big', { blob: 'x'.repeat(10 << 20) }) });
    assert(reply.version > 0);
    const got = await call(query, 'GetRecord', {
      record_id: { tenant_id: { id: 'js' }, entity_id: { id: 'big' } } });
    const blob = got.record.data.fields.blob;
    assert.strictEqual((blob.string_value ?? blob.stringValue).length, 10 << 20);
  },
  // Node refuses any answer while it holds 10 MB of its own unsent bytes, so the limit is small here;
  // the Python client sends 65 MB against the default.
  async too_big_then_a_good_call() {
    const small = new api.varve.v1.Kv(smallAddress, insecure, options);
    const table = { tenant: 'js', table: 'kv' };
    await expectCode(grpc.status.RESOURCE_EXHAUSTED,
      call(small, 'Put', { table, key: Buffer.from('k'), value: Buffer.alloc(5 << 20) }));
    await call(small, 'Put', { table, key: Buffer.from('k'), value: Buffer.from('v') });
    const got = await call(small, 'Get', { table, key: Buffer.from('k') });
    assert.strictEqual(got.value.toString(), 'v');
    small.close();
  },
  async five_hundred_at_once() {
    const replies = await Promise.all(Array.from({ length: 500 }, (_, i) =>
      call(ingest, 'IngestRecord', { record: record(`c${i}`, { i }) })));
    assert(replies.every((r) => r.version > 0));
  },
  async cancel_and_deadline() {
    const s = ingest.IngestStream();
    const ended = new Promise((resolve) => { s.on('error', resolve); });
    s.on('data', () => {});
    s.cancel();
    assert.strictEqual((await ended).code, grpc.status.CANCELLED);
    const idle = ingest.IngestStream({ deadline: Date.now() + 300 });
    idle.on('data', () => {});
    const err = await new Promise((resolve) => { idle.on('error', resolve); });
    assert.strictEqual(err.code, grpc.status.DEADLINE_EXCEEDED);
  },
  async unknown_method_and_bad_bytes() {
    const raw = new grpc.Client(ingestAddress, insecure);
    const send = (p, bytes) => new Promise((resolve, reject) => {
      raw.makeUnaryRequest(p, (x) => x, (x) => x, bytes,
        (e, r) => (e ? reject(e) : resolve(r)));
    });
    await expectCode(grpc.status.UNIMPLEMENTED,
      send('/storage.IngestionService/NoSuch', Buffer.alloc(0)));
    await expectCode(grpc.status.INVALID_ARGUMENT,
      send('/storage.IngestionService/IngestRecord', Buffer.from('0affffffff0f', 'hex')));
    raw.close();
  },
  async gzip_request() {
    const gz = new api.storage.IngestionService(ingestAddress, insecure,
      { 'grpc.default_compression_algorithm': 2 });
    const reply = await call(gz, 'IngestRecord',
      { record: record('gz', { text: 'z'.repeat(200000) }) });
    assert(reply.version > 0);
    gz.close();
  },
  async many_records_by_id() {
    const ids = ['b1', 'nobody', 'b2'].map((id) => ({ tenant_id: { id: 'js' }, entity_id: { id } }));
    const reply = await call(query, 'GetRecords', { record_ids: ids });
    assert.deepStrictEqual(reply.results.map((r) => r.found), [true, false, true]);
    assert.strictEqual(reply.results[2].record.id.entity_id.id, 'b2');
    assert.strictEqual(number(reply.results[2].record.data.fields.i), 2);
  },
  async aggregates() {
    const request = { tenant_id: { id: 'js' }, schema: { name: 'records' },
      filters: [{ column: '_id', operator: 'in', value: list(['b1', 'b2', 'b3', 'p0']) }],
      aggregates: [{ function: 'count', alias: 'rows' }, { function: 'max', column: 'i', alias: 'top' }] };
    const reply = await call(query, 'Aggregate', request);
    assert.strictEqual(reply.results.length, 1);
    assert.strictEqual(number(reply.results[0].aggregate_values.rows), 4);
    assert.strictEqual(number(reply.results[0].aggregate_values.top), 3);
    await expectCode(grpc.status.INVALID_ARGUMENT,
      call(query, 'Aggregate', { ...request, aggregates: [{ function: 'median', column: 'i' }] }));
  },
  async plans() {
    const reply = await call(query, 'ExplainQuery', { tenant_id: { id: 'js' },
      schema: { name: 'records' },
      filters: [{ column: '_id', operator: '=', value: { stringValue: 'b1', string_value: 'b1' } }] });
    assert(reply.plan.plan_text.includes('KeyLookup') && reply.plan.nodes.length > 0, reply.plan);
  },
  async health_is_watched() {
    for (const [service, want] of [['', 'SERVING'], ['no.such.Service', 'SERVICE_UNKNOWN']]) {
      const watch = health.Watch({ service });
      const first = await new Promise((resolve, reject) => {
        watch.on('data', resolve);
        watch.on('error', reject);
      });
      const names = { 1: 'SERVING', 3: 'SERVICE_UNKNOWN' };
      assert.strictEqual(names[first.status] ?? first.status, want);
      const ended = new Promise((resolve) => { watch.removeAllListeners('error').on('error', resolve); });
      watch.cancel();
      assert.strictEqual((await ended).code, grpc.status.CANCELLED);
    }
  },
  async reflection_in_both_versions() {
    for (const version of ['v1', 'v1alpha']) {
      const client = new api.grpc.reflection[version].ServerReflection(queryAddress, insecure, options);
      const s = client.ServerReflectionInfo();
      const replies = [];
      const ended = new Promise((resolve, reject) => {
        s.on('data', (r) => replies.push(r));
        s.on('error', reject);
        s.on('end', resolve);
      });
      s.write({ list_services: '' });
      s.write({ file_containing_symbol: 'storage.QueryService' });
      s.write({ file_by_filename: 'no/such.proto' });
      s.end();
      await ended;
      const names = replies[0].list_services_response.service.map((x) => x.name);
      for (const want of ['storage.IngestionService', 'storage.QueryService', 'varve.v1.Kv',
        'varve.v1.Admin', 'grpc.health.v1.Health', `grpc.reflection.${version}.ServerReflection`]) {
        assert(names.includes(want), `${want} is not in ${names}`);
      }
      assert(replies[1].file_descriptor_response.file_descriptor_proto[0].length > 100);
      assert.strictEqual(replies[2].error_response.error_code, grpc.status.NOT_FOUND);
      client.close();
    }
  },
  async health_is_serving() {
    const reply = await call(health, 'Check', { service: '' });
    assert(reply.status === 'SERVING' || reply.status === 1);
    for (const client of [ingest, query]) {
      const r = await call(client, 'HealthCheck', {});
      assert(r.status === 'SERVING' || r.status === 1);
    }
    const status = await call(ingest, 'GetIngestionStatus', {});
    assert(status.metrics.total_records_ingested > 1000);
  },
};

async function main() {
  for (const [name, fn] of Object.entries(cases)) {
    await fn();
    console.log(`ok ${name}`);
  }
  console.log(`${Object.keys(cases).length} cases with grpc-js`);
  process.exit(0); // what a case left open must not keep it waiting
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
