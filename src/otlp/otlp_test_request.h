/*
 * otlp_test_request.h - Export requests as exporters make them, for tests and benchmarks.
 */
#ifndef VARVE_OTLP_OTLP_TEST_REQUEST_H
#define VARVE_OTLP_OTLP_TEST_REQUEST_H

#include <stdio.h>

#include "base/util.h"
#include "base/varint.h"
#include "codec/protowire.h"

#define OTLP_TEST_T0 UINT64_C(1700000000000000000)

static inline void otlp_test_text(vv_buf *b, uint32_t field, const char *key, const char *value)
{
    size_t mark = wire_begin(b, field);
    wire_put_bytes(b, 1, vv_slice_str(key));
    size_t any = wire_begin(b, 2);
    wire_put_bytes(b, 1, vv_slice_str(value));
    wire_end(b, any);
    wire_end(b, mark);
}

static inline void otlp_test_int(vv_buf *b, uint32_t field, const char *key, int64_t value)
{
    size_t mark = wire_begin(b, field);
    wire_put_bytes(b, 1, vv_slice_str(key));
    size_t any = wire_begin(b, 2);
    wire_put_varint(b, 3, (uint64_t)value);
    wire_end(b, any);
    wire_end(b, mark);
}

static inline void otlp_test_resource(vv_buf *b, const char *service)
{
    size_t mark = wire_begin(b, 1);
    otlp_test_text(b, 1, "service.name", service);
    otlp_test_text(b, 1, "service.instance.id", "shop-7f9c");
    otlp_test_text(b, 1, "host.name", "node-3.example.org");
    otlp_test_text(b, 1, "telemetry.sdk.language", "c");
    otlp_test_int(b, 1, "process.pid", 4711);
    wire_end(b, mark);
}

static inline void otlp_test_scope(vv_buf *b)
{
    size_t mark = wire_begin(b, 1);
    wire_put_string(b, 1, vv_slice_str("shop.http"));
    wire_put_string(b, 2, vv_slice_str("1.2.3"));
    wire_end(b, mark);
}

/* 16 bytes, or 8, that no two numbers have alike. */
static inline void otlp_test_id(vv_buf *b, uint32_t field, uint64_t number, size_t len)
{
    uint8_t id[16] = {0xab, 0xcd};
    vv_put_be64(id + len - 8, number * 2 + 1);
    wire_put_bytes(b, field, vv_slice_of(id, len));
}

/* A span as one of an HTTP server: some 250 bytes. */
static inline void otlp_test_span(vv_buf *b, uint64_t number)
{
    size_t mark = wire_begin(b, 2);
    otlp_test_id(b, 1, number / 8, 16);
    otlp_test_id(b, 2, number, 8);
    otlp_test_id(b, 4, number / 8 * 8, 8);
    wire_put_string(b, 5, vv_slice_str("GET /cart/:id"));
    wire_put_varint(b, 6, 2);
    wire_put_fixed64(b, 7, OTLP_TEST_T0 + number * 1000);
    wire_put_fixed64(b, 8, OTLP_TEST_T0 + number * 1000 + 250000);
    otlp_test_text(b, 9, "http.request.method", "GET");
    otlp_test_text(b, 9, "url.path", "/cart/23984234");
    otlp_test_text(b, 9, "server.address", "shop.example.org");
    otlp_test_int(b, 9, "http.response.status_code", 200);
    otlp_test_text(b, 9, "network.peer.address", "10.0.4.77");
    otlp_test_text(b, 9, "user_agent.original", "Mozilla/5.0");
    size_t status = wire_begin(b, 15);
    wire_put_varint(b, 3, 1);
    wire_end(b, status);
    wire_end(b, mark);
}

static inline void otlp_test_spans(vv_buf *b, uint64_t from, uint64_t count)
{
    size_t group = wire_begin(b, 1);
    otlp_test_resource(b, "shop");
    size_t scope = wire_begin(b, 2);
    otlp_test_scope(b);
    for (uint64_t i = 0; i < count; i++)
        otlp_test_span(b, from + i);
    wire_put_string(b, 3, vv_slice_str("https://opentelemetry.io/schemas/1.26.0"));
    wire_end(b, scope);
    wire_end(b, group);
}

static inline void otlp_test_log(vv_buf *b, uint64_t number, const char *body)
{
    size_t mark = wire_begin(b, 2);
    wire_put_fixed64(b, 1, OTLP_TEST_T0 + number);
    wire_put_fixed64(b, 11, OTLP_TEST_T0 + number + 5);
    wire_put_varint(b, 2, 17);
    size_t any = wire_begin(b, 5);
    wire_put_bytes(b, 1, vv_slice_str(body));
    wire_end(b, any);
    otlp_test_int(b, 6, "line", (int64_t)number);
    otlp_test_id(b, 9, number, 16);
    otlp_test_id(b, 10, number, 8);
    wire_end(b, mark);
}

static inline void otlp_test_logs(vv_buf *b, uint64_t from, uint64_t count)
{
    size_t group = wire_begin(b, 1);
    otlp_test_resource(b, "shop");
    size_t scope = wire_begin(b, 2);
    otlp_test_scope(b);
    for (uint64_t i = 0; i < count; i++)
        otlp_test_log(b, from + i, "the cart is empty");
    wire_end(b, scope);
    wire_end(b, group);
}

/* A metric with one point of a kind: field 5 gauge, 7 sum. */
static inline void otlp_test_number(vv_buf *b, uint32_t kind, const char *name, double value,
                                    uint64_t time)
{
    size_t metric = wire_begin(b, 2);
    wire_put_string(b, 1, vv_slice_str(name));
    size_t data = wire_begin(b, kind);
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, time);
    wire_put_double_always(b, 4, value);
    otlp_test_text(b, 7, "route", "/cart");
    wire_end(b, point);
    if (kind == 7)
        wire_put_varint(b, 2, 2);
    wire_end(b, data);
    wire_end(b, metric);
}

static inline void otlp_test_metrics(vv_buf *b, uint64_t time)
{
    size_t group = wire_begin(b, 1);
    otlp_test_resource(b, "shop");
    size_t scope = wire_begin(b, 2);
    otlp_test_scope(b);
    otlp_test_number(b, 5, "queue.size", 7, time);
    otlp_test_number(b, 7, "http.requests", 1234, time);
    wire_end(b, scope);
    wire_end(b, group);
}

/* One metric in a request, whose data are what put() writes. */
static inline void otlp_test_put_metric(vv_buf *b, uint32_t kind, const char *name,
                                        void (*put)(vv_buf *b))
{
    size_t group = wire_begin(b, 1);
    size_t scope = wire_begin(b, 2);
    size_t metric = wire_begin(b, 2);
    wire_put_string(b, 1, vv_slice_str(name));
    size_t data = wire_begin(b, kind);
    put(b);
    wire_end(b, data);
    wire_end(b, metric);
    wire_end(b, scope);
    wire_end(b, group);
}

/* Counts packed and bounds not, as both may come. */
static inline void otlp_test_put_histogram(vv_buf *b)
{
    static const uint64_t counts[] = {3, 0, 4};
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_fixed64(b, 4, 7);
    wire_put_double_always(b, 5, 12.5);
    size_t packed = wire_begin(b, 6);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        vv_buf_append_le64(b, counts[i]);
    wire_end(b, packed);
    wire_put_double_always(b, 7, 0.5);
    wire_put_double_always(b, 7, 10);
    wire_put_double_always(b, 11, 0.25);
    wire_put_double_always(b, 12, 8);
    otlp_test_text(b, 9, "code", "200");
    wire_end(b, point);
    wire_put_varint(b, 2, 2);
}

static inline void otlp_test_put_summary(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    wire_put_fixed64(b, 3, 9000);
    wire_put_fixed64(b, 4, 10);
    wire_put_double_always(b, 5, 99);
    size_t q = wire_begin(b, 6);
    wire_put_double_always(b, 1, 0.99);
    wire_put_double_always(b, 2, 42);
    wire_end(b, q);
    wire_end(b, point);
}

/* A side of an exponential histogram, packed; field 8 is above zero, 9 below. */
static inline void otlp_test_put_side(vv_buf *b, uint32_t field, int32_t offset,
                                      const uint64_t *counts, size_t count)
{
    uint8_t number[VV_VARINT_MAX];
    size_t side = wire_begin(b, field);
    wire_put_varint(b, 1, offset < 0 ? ~((uint32_t)offset << 1) : (uint32_t)offset << 1);
    size_t packed = wire_begin(b, 2);
    for (size_t i = 0; i < count; i++)
        vv_buf_append(b, number, vv_varint_put(number, counts[i]));
    wire_end(b, packed);
    wire_end(b, side);
}

/* Of scale 0, with a base of 2: 2 in -4..-2, 1 in -2..-1, 3 zeros, 4 in 1..2, none in 2..4, 5 in
 * 4..8. */
static inline void otlp_test_put_exponential(vv_buf *b)
{
    size_t point = wire_begin(b, 1);
    otlp_test_text(b, 1, "code", "200");
    wire_put_fixed64(b, 3, 9000);
    wire_put_fixed64(b, 4, 16);
    wire_put_double_always(b, 5, 22.5);
    wire_put_varint(b, 6, 0);
    wire_put_fixed64(b, 7, 3);
    otlp_test_put_side(b, 8, 0, (const uint64_t[]){4, 0, 5}, 3);
    otlp_test_put_side(b, 9, 0, (const uint64_t[]){1, 2}, 2);
    wire_put_double_always(b, 12, -3.5);
    wire_put_double_always(b, 13, 7);
    wire_end(b, point);
    wire_put_varint(b, 2, 2);
}

#endif
