#!/usr/bin/env node
// Clients of other people against the series of varved: apache-arrow reads what is exported,
// @influxdata/influxdb-client writes line protocol, prometheus-query asks. Usage:
// series_client.js INGEST QUERY
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const http = require('node:http');
const zlib = require('node:zlib');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const arrow = require('apache-arrow');
const { InfluxDB, Point, HttpError, canRetryHttpCall, setLogger } = require('@influxdata/influxdb-client');
const { PrometheusDriver } = require('prometheus-query');

const [, , ingestAddress, queryAddress] = process.argv;
setLogger({ error() {}, warn() {} }); // what matters comes back from the calls
const T0 = 1700000000000; // ms
const GOOD = 0;
const BAD = 0x80000000;
const UNCERTAIN = 0x40000000;

// ---- what is put there, and read back without a client ----

const protoDir = path.join(__dirname, '..', '..', 'proto');
const api = grpc.loadPackageDefinition(loader.loadSync(['varve/v1/series.proto'], {
  includeDirs: [protoDir], keepCase: true, longs: String, defaults: true,
}));
const series = new api.varve.v1.Series(ingestAddress, grpc.credentials.createInsecure());

function put(sensor, columns) {
  const labels = [{ name: '__name__', value: 'sensor' }, { name: 'sensor', value: sensor }];
  const request = { tenant: 'default', table: 'sensors', series: [
    { labels, time_unit_ns: '1000000', ...columns }] };
  return new Promise((resolve, reject) => {
    series.IngestSamples(request, (err, reply) => (err ? reject(err) : resolve(reply)));
  });
}

function times(count, step = 1000) {
  return Array.from({ length: count }, (_, i) => String(T0 + i * step));
}

async function get(address, where) {
  const answer = await fetch(`http://${address}${where}`);
  const text = await answer.text();
  assert.strictEqual(answer.status, 200, `${where}: ${text}`);
  return JSON.parse(text);
}

// [{labels, points}] of a selector, in the order of the labels.
async function samples(table, match) {
  const ask = new URLSearchParams({ table, match, start: '0s', end: '4000000000s', all_quality: 'true' });
  const { series: found } = await get(queryAddress, `/api/v1/series/query?${ask}`);
  return found.sort((a, b) => (JSON.stringify(a.labels) < JSON.stringify(b.labels) ? -1 : 1));
}

// The server may be on its way back: asked again while nobody answers.
async function patiently(ask) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask();
    } catch (why) {
      if (!(why instanceof TypeError) || tries === 600)
        throw why;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
}

// ---- Arrow ----

async function exported(sensor, start = T0, end = T0 + 10000000) {
  const answer = await fetch(
    `http://${queryAddress}/api/v1/export?sensor=${sensor}&start=${start}&end=${end}&format=arrow`);
  assert.strictEqual(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^application\/vnd\.apache\.arrow\.stream/);
  const table = arrow.tableFromIPC(Buffer.from(await answer.arrayBuffer()));
  assert.deepStrictEqual(table.schema.fields.map((f) => f.name), ['timestamp', 'value', 'quality']);
  assert.strictEqual(String(table.schema.fields[0].type), 'Timestamp<NANOSECOND, UTC>');
  assert.strictEqual(String(table.schema.fields[2].type), 'Uint32');
  return table;
}

// The raw nanoseconds of a column of times, whatever the reader makes of them.
function nanoseconds(table) {
  return table.getChild('timestamp').data.flatMap((d) => Array.from(d.values, BigInt));
}

const cases = {
  async arrow_numbers_and_quality() {
    const values = [1.5, -0, NaN, Infinity, -Infinity, 5e-324, Number.MAX_VALUE];
    const quality = [GOOD, BAD, UNCERTAIN, GOOD, BAD, GOOD, 1];
    await put('f', { type: 'SAMPLE_TYPE_F64', time: times(7), f64: values, quality });
    const table = await exported('f');
    assert.strictEqual(String(table.schema.fields[1].type), 'Float64');
    const got = Array.from(table.getChild('value'));
    assert(values.every((v, i) => Object.is(v, got[i])), String(got));
    assert.deepStrictEqual(Array.from(table.getChild('quality')), quality.map((q) => Number(q < UNCERTAIN)));
    assert.deepStrictEqual(nanoseconds(table), times(7).map((t) => BigInt(t) * 1000000n));
    assert.strictEqual(Number(table.getChild('timestamp').get(0)), T0);
  },

  async arrow_whole_numbers_texts_and_switches() {
    const whole = ['0', '-1', '9007199254740993', '9223372036854775807', '-9223372036854775808'];
    await put('i', { type: 'SAMPLE_TYPE_I64', time: times(5), i64: whole, quality: [GOOD, BAD, 0, 0, 0] });
    const integers = await exported('i');
    assert.strictEqual(String(integers.schema.fields[1].type), 'Int64');
    assert.deepStrictEqual(Array.from(integers.getChild('value')), whole.map(BigInt));
    assert.deepStrictEqual(Array.from(integers.getChild('quality')), [1, 0, 1, 1, 1]);
    const text = ['', 'on', 'größer, "quoted"\n', '日本', 'x'.repeat(5000)];
    await put('s', { type: 'SAMPLE_TYPE_STRING', time: times(5), text });
    const texts = await exported('s');
    assert.strictEqual(String(texts.schema.fields[1].type), 'Utf8');
    assert.deepStrictEqual(Array.from(texts.getChild('value')), text);
    await put('b', { type: 'SAMPLE_TYPE_BOOL', time: times(3), boolean: [true, false, true] });
    const switches = await exported('b');
    assert.strictEqual(String(switches.schema.fields[1].type), 'Bool');
    assert.deepStrictEqual(Array.from(switches.getChild('value')), [true, false, true]);
  },

  async arrow_nothing() {
    for (const [sensor, type] of [['f', 'Float64'], ['i', 'Int64'], ['s', 'Utf8']]) {
      const table = await exported(sensor, 5, 6);
      assert.strictEqual(table.numRows, 0);
      assert.strictEqual(String(table.schema.fields[1].type), type);
    }
    const unknown = await fetch(`http://${queryAddress}/api/v1/export?sensor=none&start=0&end=9&format=arrow`);
    assert.strictEqual(unknown.status, 404);
    const none = await fetch(
      `http://${queryAddress}/api/v1/series/query?table=sensors&match=none&start=0&end=9&format=arrow`);
    assert.strictEqual(arrow.tableFromIPC(Buffer.from(await none.arrayBuffer())).numRows, 0);
  },

  // More than a batch, read as it comes.
  async arrow_streams() {
    const count = 50000;
    for (let from = 0; from < count; from += 10000) {
      await put('long', { type: 'SAMPLE_TYPE_F64',
        time: times(count, 10).slice(from, from + 10000),
        f64: Array.from({ length: 10000 }, (_, i) => (from + i) / 8) });
    }
    const answer = await fetch(`http://${queryAddress}/api/v1/export?sensor=long&start=${T0}` +
      `&end=${T0 + count * 10}&format=arrow`);
    const reader = await arrow.RecordBatchReader.from(answer.body);
    let rows = 0;
    let batches = 0;
    for await (const batch of reader) {
      for (const value of batch.getChild('value')) assert.strictEqual(value, rows++ / 8);
      batches += 1;
    }
    assert.strictEqual(rows, count);
    assert(batches > 1);
  },

  // Windows without samples are nulls of Arrow, between numbers.
  async arrow_nulls() {
    await put('gaps', { type: 'SAMPLE_TYPE_F64', time: [T0, T0 + 3000].map(String), f64: [1.5, 2.5] });
    const ask = new URLSearchParams({ table: 'sensors', match: '{sensor="gaps"}', start: `${T0}ms`,
      end: `${T0 + 4000}ms`, format: 'arrow', step: '1', aggregate: 'avg', fill: 'null' });
    const answer = await fetch(`http://${queryAddress}/api/v1/series/query?${ask}`);
    const table = arrow.tableFromIPC(Buffer.from(await answer.arrayBuffer()));
    const values = table.getChild('value');
    assert.deepStrictEqual(Array.from(values), [1.5, null, null, 2.5]);
    assert.strictEqual(values.nullCount, 2);
  },

  async arrow_of_several_series() {
    const ask = new URLSearchParams({ table: 'sensors', match: '{sensor=~"f|i"}', start: `${T0}ms`,
      end: `${T0 + 2000}ms`, all_quality: 'true', format: 'arrow', step: '1', aggregate: 'count' });
    const answer = await fetch(`http://${queryAddress}/api/v1/series/query?${ask}`);
    const table = arrow.tableFromIPC(Buffer.from(await answer.arrayBuffer()));
    assert.strictEqual(answer.status, 200);
    assert.deepStrictEqual(table.schema.fields.map((f) => f.name), ['series', 'time', 'value', 'quality']);
    assert.deepStrictEqual(Array.from(table.getChild('series')).sort(),
      ['sensor{sensor="f"}', 'sensor{sensor="f"}', 'sensor{sensor="i"}', 'sensor{sensor="i"}']);
  },

  // ---- line protocol ----

  async influx_points_of_each_kind() {
    const { sent } = await write('kinds', 'ms', {}, (w) => {
      const point = new Point('oven').tag('site', 'a b,c=d').tag('größe', 'ü"x').timestamp(T0)
        .floatField('temp', 21.25).intField('count', Number.MAX_SAFE_INTEGER).uintField('u', 7)
        .booleanField('on', false).stringField('note', 'say "hi", back\\slash, a=b');
      w.writePoint(point);
      return 1;
    });
    assert.strictEqual(sent.length, 1);
    const labels = { site: 'a b,c=d', größe: 'ü"x' };
    for (const [name, value] of [['temp', 21.25], ['u', 7], ['on', false],
      ['note', 'say "hi", back\\slash, a=b']]) {
      const [one] = await samples('kinds', `oven_${name}`);
      assert.deepStrictEqual(one.labels, { __name__: `oven_${name}`, ...labels });
      assert.deepStrictEqual(one.points, [[T0, value]]);
    }
    const answer = await fetch(`http://${queryAddress}/api/v1/series/query?table=kinds&match=oven_count` +
      '&start=0s&end=4000000000s');
    assert((await answer.text()).includes(String(Number.MAX_SAFE_INTEGER)));
  },

  async influx_each_precision() {
    const moment = 1700000000;
    const scale = { s: 1n, ms: 1000n, us: 1000000n, ns: 1000000000n };
    for (const [precision, unit] of Object.entries(scale)) {
      await write('precise', precision, {}, (w) => one(w, new Point(`p_${precision}`)
        .floatField('v', 1).timestamp(String(BigInt(moment) * unit + (unit > 1n ? 1n : 0n)))));
      const [got] = await samples('precise', `p_${precision}_v`);
      const want = { s: '1700000000000', ms: '1700000000001', us: '1700000000000.001', ns: '1700000000000.000001' };
      assert.strictEqual(got.points[0][0], Number(want[precision]));
    }
    const before = Date.now();
    await write('precise', 'ms', {}, (w) => one(w, new Point('now').floatField('v', 1)));
    const [now] = await samples('precise', 'now_v');
    assert(now.points[0][0] >= before - 1000 && now.points[0][0] <= Date.now() + 1000);
  },

  // What a proxy sees between the client and us is gzip.
  async influx_gzip() {
    const { sent } = await write('zipped', 'ms', { gzipThreshold: 1 }, (w) => {
      for (let i = 0; i < 2000; i++)
        w.writePoint(new Point('m').tag('host', `h${i % 20}`).floatField('v', i).timestamp(T0 + i));
      return 2000;
    });
    assert(sent.length >= 2 && sent.every((s) => s.encoding === 'gzip'), JSON.stringify(sent));
    const found = await samples('zipped', 'm_v');
    assert.strictEqual(found.length, 20);
    assert.deepStrictEqual(found.flatMap((s) => s.points.map((p) => p[1])).sort((a, b) => a - b),
      Array.from({ length: 2000 }, (_, i) => i));
    const broken = await post('/api/v2/write?org=o&bucket=zipped&precision=ms',
      zlib.gzipSync('m v=1').subarray(0, 12), { 'content-encoding': 'gzip' });
    assert.strictEqual(broken.status, 400);
    const bomb = await post('/api/v2/write?org=o&bucket=zipped&precision=ms',
      zlib.gzipSync(Buffer.alloc(200 << 20)), { 'content-encoding': 'gzip' });
    assert(bomb.status === 400 || bomb.status === 413, String(bomb.status));
  },

  // One bad line costs itself, and the client is told, once.
  async influx_partial_writes() {
    const { failures, sent } = await write('partial', 'ms', {}, (w) => records(w, [
      `m,host=a v=1 ${T0}`, 'this is no line', `m,host=b v=2 ${T0}`, `m,host=a v="text" ${T0 + 1}`]));
    assert.strictEqual(sent.length, 1, 'a refusal is not sent again');
    assert.strictEqual(failures.length, 1);
    assert(failures[0] instanceof HttpError);
    assert.strictEqual(failures[0].statusCode, 400);
    assert.match(failures[0].message, /partial write: .*dropped=2/);
    assert.strictEqual(failures[0].code, 'invalid');
    assert.deepStrictEqual((await samples('partial', 'm_v')).map((s) => s.points), [[[T0, 1]], [[T0, 2]]]);
  },

  async influx_refusals() {
    for (const [bucket, precision, words] of [['', 'ms', /bucket/], ['x', 'fortnight', /precision/],
      ['bad name', 'ms', /name/]]) {
      const { failures } = await write(bucket, precision, {}, (w) => records(w, [`m v=1 ${T0}`]));
      assert.strictEqual(failures.length, 1, `${bucket} ${precision}`);
      assert.strictEqual(failures[0].statusCode, 400);
      assert.strictEqual(failures[0].code, 'invalid');
      assert.match(failures[0].message, words);
    }
  },

  // ---- PromQL ----

  async prometheus_client() {
    const lines = [];
    for (let i = 0; i < 60; i++)
      for (const host of ['a', 'b'])
        lines.push(`node_load,host=${host} total=${i * (host === 'a' ? 10 : 20)} ${T0 + i * 10000}`);
    await write('metrics', 'ms', {}, (w) => records(w, lines));
    const prom = new PrometheusDriver({ endpoint: `http://${queryAddress}/prometheus` });
    const end = T0 + 590000;
    const instant = await prom.instantQuery('sum(rate(node_load_total[5m]))', end);
    assert.strictEqual(instant.resultType, 'vector');
    assert.strictEqual(instant.result[0].value.value, 3);
    const each = await prom.instantQuery('node_load_total', end);
    assert.deepStrictEqual(each.result.map((r) => [r.metric.name, r.metric.labels.host, r.value.value]).sort(),
      [['node_load_total', 'a', 590], ['node_load_total', 'b', 1180]]);
    const range = await prom.rangeQuery('max by (host) (node_load_total)', T0, end, 30);
    assert.strictEqual(range.resultType, 'matrix');
    assert.deepStrictEqual(range.result.map((r) => r.values.length), [20, 20]);
    assert.strictEqual(range.result[0].values[0].time.getTime(), T0);
    const found = await prom.series(['node_load_total{host="a"}'], T0, end);
    assert.deepStrictEqual(found.map((m) => [m.name, m.labels]), [['node_load_total', { host: 'a' }]]);
    assert((await prom.labelNames()).includes('host'));
    assert.deepStrictEqual(await prom.labelValues('host'), ['a', 'b']);
    assert.deepStrictEqual(await prom.metadata(), {});
    for (const [query, type, words] of [['topk(1, node_load_total)', 'execution', /topk/],
      ['sum(', 'bad_data', /./]])
      await assert.rejects(prom.instantQuery(query), (why) => { // an object of the client's own
        assert.strictEqual(why.prometheus.errorType, type, JSON.stringify(why));
        return words.test(why.prometheus.error);
      });
    await assert.rejects(prom.rules());
  },
};

// Run alone, by name: whoever started us kills the server once we have begun.
const alone = {
  // What the client sends again is there once.
  async influx_over_kills() {
    const batches = 40;
    const { failures } = await write('killed', 'ms', { batchSize: 100, maxRetries: 30, maxRetryTime: 60000 },
      async (w) => {
        console.log('begun');
        for (let b = 0; b < batches; b++) {
          for (let i = 0; i < 100; i++)
            one(w, new Point('m').tag('host', `h${i % 10}`).floatField('v', b * 100 + i).timestamp(T0 + b * 100 + i));
          await new Promise((resolve) => { setTimeout(resolve, 50); });
        }
        return batches * 100;
      }, `http://${ingestAddress}`);
    assert.deepStrictEqual(failures, []);
    const points = (await patiently(() => samples('killed', 'm_v'))).flatMap((s) => s.points);
    assert.deepStrictEqual(points.sort((a, b) => a[0] - b[0]),
      Array.from({ length: batches * 100 }, (_, i) => [T0 + i, i]));
  },
};

// ---- writing ----

function post(where, body, headers) {
  return fetch(`http://${ingestAddress}${where}`, { method: 'POST', body, headers });
}

function one(writer, point) {
  writer.writePoint(point);
  return 1;
}

function records(writer, lines) {
  writer.writeRecords(lines);
  return lines.length;
}

// Lets the client write what fill gives it (and counts), to url or through a proxy that notes what was
// sent.
async function write(bucket, precision, options, fill, url) {
  const sent = [];
  const proxy = http.createServer((request, response) => {
    const [host, port] = ingestAddress.split(':');
    const headers = { ...request.headers, host: ingestAddress };
    const on = http.request({ host, port, path: request.url, method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    sent.push({ url: request.url, encoding: request.headers['content-encoding'] });
    request.pipe(on);
  });
  await new Promise((resolve) => { proxy.listen(0, '127.0.0.1', resolve); });
  const failures = [];
  let settled = 0;
  const client = new InfluxDB({ url: url ?? `http://127.0.0.1:${proxy.address().port}`, token: 'any' });
  const writer = client.getWriteApi('org', bucket, precision, {
    batchSize: 1000, maxRetries: 2, minRetryDelay: 10, maxRetryDelay: 20, flushInterval: 0,
    writeSuccess(lines) { settled += lines.length; },
    writeFailed(error, lines) {
      if (canRetryHttpCall(error)) return; // the client sends them again
      failures.push(error);
      settled += lines.length;
    },
    ...options });
  const count = await fill(writer);
  const told = (err) => assert(failures.includes(err), String(err));
  await writer.flush().catch(told);
  while (settled < count) // what was flushed by its size is not waited for
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  await writer.close().catch(told);
  proxy.closeAllConnections();
  await new Promise((resolve) => { proxy.close(resolve); });
  return { sent, failures };
}

async function main() {
  const wanted = process.argv.slice(4);
  for (const [name, run] of Object.entries({ ...cases, ...alone })) {
    if (wanted.length > 0 ? !wanted.includes(name) : name in alone) continue;
    try {
      await run();
    } catch (err) {
      console.error(`${name}: ${err.stack}`);
      process.exitCode = 1;
    }
  }
  series.close();
  console.log(`${Object.keys(cases).length} cases`);
}

main();
