#!/usr/bin/env node
// The exporters of OpenTelemetry for node against varved: traces, logs and metrics over gRPC, over
// HTTP with protobuf and over HTTP with JSON and gzip. Usage: otlp_client.js INGEST
'use strict';

const assert = require('node:assert');
const { SpanKind, SpanStatusCode } = require('@opentelemetry/api');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');

const [, , address] = process.argv;
const COUNT = 20;

function exporters(form) {
  const url = (path) => (form === 'grpc' ? { url: `http://${address}` }
    : { url: `http://${address}${path}`, compression: form === 'http' ? 'gzip' : 'none' });
  const load = (signal, name) => require(`@opentelemetry/exporter-${signal}-otlp-${form}`)[name];
  return {
    trace: new (load('trace', 'OTLPTraceExporter'))(url('/v1/traces')),
    logs: new (load('logs', 'OTLPLogExporter'))(url('/v1/logs')),
    metrics: new (load('metrics', 'OTLPMetricExporter'))(url('/v1/metrics')),
  };
}

// The result of each export is checked: a processor would only log it.
function checked(exporter, form) {
  const inner = exporter.export.bind(exporter);
  exporter.exported = 0;
  exporter.export = (items, done) => inner(items, (result) => {
    assert.strictEqual(result.code, 0, `${form}: ${result.error}`);
    exporter.exported++;
    done(result);
  });
  return exporter;
}

async function send(form) {
  const to = exporters(form);
  const resource = resourceFromAttributes({ 'service.name': 'node', form });
  const tracing = new BasicTracerProvider({
    resource, spanProcessors: [new BatchSpanProcessor(checked(to.trace, form))],
  });
  const tracer = tracing.getTracer('shop', '1.0');
  for (let i = 0; i < COUNT; i++) {
    const span = tracer.startSpan(`GET /${i}`, { kind: SpanKind.SERVER, attributes: { i, list: ['a', 'b'] } });
    span.addEvent('event', { n: 1.5 });
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'no' });
    span.end();
  }
  await tracing.forceFlush();
  await tracing.shutdown();

  const logExporter = checked(to.logs, form);
  const logging = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: logExporter })] });
  const logger = logging.getLogger('shop');
  for (let i = 0; i < COUNT; i++)
    logger.emit({ severityNumber: 17, severityText: 'ERROR', body: 'it broke', attributes: { i } });
  await logging.forceFlush();
  await logging.shutdown();

  const reader = new PeriodicExportingMetricReader({
    exporter: checked(to.metrics, form), exportIntervalMillis: 3600000,
  });
  const metering = new MeterProvider({ resource, readers: [reader] });
  const meter = metering.getMeter('shop');
  const placed = meter.createCounter('orders.placed');
  const size = meter.createHistogram('orders.size', { advice: { explicitBucketBoundaries: [1, 10, 100] } });
  for (let i = 0; i < COUNT; i++) {
    placed.add(1, { route: '/cart' });
    size.record(i, { route: '/cart' });
  }
  await metering.forceFlush();
  await metering.shutdown();
  for (const signal of Object.keys(to))
    assert.ok(to[signal].exported > 0, `${form}: nothing of ${signal} was exported`);
}

(async () => {
  for (const form of ['grpc', 'proto', 'http'])
    await send(form);
})().catch((err) => {
  console.error(err);
  process.exit(1);
});
