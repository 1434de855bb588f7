/*
 * bench_feeds.c - the decoders of src/feeds alone: samples a second on one core.
 *
 * It backs the figures of docs/PERFORMANCE.md, "Feeds". A sink that only counts takes the samples.
 *
 *     bench_feeds [milliseconds of CPU of a row]
 *
 * line: ten floats a line with six tags. remote: eight labels a series, with one sample (as
 * Prometheus sends a scrape) and with a hundred. columns: a hundred samples a series.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "feeds/feed_columns.h"
#include "feeds/feed_line.h"
#include "feeds/feed_remote.h"

#define SERIES 2000u
#define BODY_MAX (64u * 1024 * 1024)
#define START_MS INT64_C(1719835200000)

typedef struct counter {
    feed_sink sink;
    uint64_t samples;
} counter;

static vv_status take_series(feed_sink *sink, const feed_label *labels, size_t count,
                             feed_type type, vv_error *err)
{
    (void)sink, (void)labels, (void)count, (void)type, (void)err;
    return VV_OK;
}

static vv_status take_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                              const uint32_t *quality, size_t count, vv_error *err)
{
    (void)time_ns, (void)values, (void)quality, (void)err;
    VV_CONTAINER_OF(sink, counter, sink)->samples += count;
    return VV_OK;
}

/* ---- bodies ---- */

static void put_line(vv_buf *out, unsigned n)
{
    vv_buf_printf(out,
                  "cpu,hostname=host_%u,region=eu-west-1,datacenter=eu-west-1b,rack=%u,os=Ubuntu16,"
                  "service=%u usage_user=%u.25",
                  n, n % 100, n % 20, n % 90);
    for (unsigned f = 1; f < 10; f++)
        vv_buf_printf(out, ",usage_%u=%u.5", f, (n * f) % 100);
    vv_buf_printf(out, " %" PRId64 "\n", (START_MS + n) * 1000000);
}

static void put_label(vv_buf *out, vv_buf *part, const char *name, const char *value)
{
    vv_buf_reset(part);
    wire_put_string(part, 1, vv_slice_str(name));
    wire_put_string(part, 2, vv_slice_str(value));
    wire_put_string(out, 1, vv_buf_slice(part));
}

static void put_labels(vv_buf *series, vv_buf *part, unsigned n)
{
    static const char *const names[] = {"cluster", "instance", "job", "namespace", "node", "pod"};
    char text[32];
    put_label(series, part, "__name__", "container_cpu_usage_seconds_total");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(text, sizeof text, "%s-%05u", names[i], n % (unsigned)(10 + 100 * i));
        put_label(series, part, names[i], text);
    }
    put_label(series, part, "zone", "eu-west-1b");
}

static void put_remote(vv_buf *out, vv_buf *series, vv_buf *part, unsigned n, unsigned samples)
{
    vv_buf_reset(series);
    put_labels(series, part, n);
    for (unsigned i = 0; i < samples; i++) {
        vv_buf_reset(part);
        wire_put_double_always(part, 1, (double)n + i * 0.5);
        wire_put_int(part, 2, START_MS + i * 15000);
        wire_put_string(series, 2, vv_buf_slice(part));
    }
    wire_put_string(out, 1, vv_buf_slice(series));
}

static void put_varints(vv_buf *out, uint32_t field, vv_buf *part, int64_t first, int64_t step,
                        unsigned count)
{
    vv_buf_reset(part);
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[VV_VARINT_MAX];
        int64_t v = i == 0 ? first : step;
        uint64_t zigzag = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
        vv_buf_append(part, bytes, vv_varint_put(bytes, zigzag));
    }
    wire_put_string(out, field, vv_buf_slice(part));
}

static void put_columns(vv_buf *out, vv_buf *series, vv_buf *part, unsigned n, unsigned samples)
{
    vv_buf_reset(series);
    put_labels(series, part, n);
    wire_put_uint(series, 2, 1); /* float64 */
    put_varints(series, 4, part, START_MS * 1000000, 15000000000, samples);
    vv_buf_reset(part);
    for (unsigned i = 0; i < samples; i++) {
        double d = (double)n + i * 0.5;
        vv_buf_append(part, &d, sizeof d);
    }
    wire_put_string(series, 6, vv_buf_slice(part));
    wire_put_string(out, 4, vv_buf_slice(series));
}

/* ---- runs ---- */

typedef enum kind { LINE, REMOTE, COLUMNS } kind;

typedef struct test {
    const char *name;
    kind kind;
    unsigned samples; /* of a series in the body */
} test;

static void must(vv_status st, const vv_error *err, const feed_result *r)
{
    if (st == VV_OK && r->refused == 0)
        return;
    (void)fprintf(stderr, "bench_feeds: %s %s\n", st == VV_OK ? "refused" : err->msg,
                  r->first_refusal);
    exit(1);
}

static void make_body(const test *row, vv_buf *body)
{
    vv_buf series, part;
    vv_buf_init(&series, BODY_MAX);
    vv_buf_init(&part, BODY_MAX);
    vv_buf_reset(body);
    for (unsigned n = 0; n < SERIES; n++) {
        if (row->kind == LINE)
            put_line(body, n);
        else if (row->kind == REMOTE)
            put_remote(body, &series, &part, n, row->samples);
        else
            put_columns(body, &series, &part, n, row->samples);
    }
    vv_buf_fini(&series);
    vv_buf_fini(&part);
}

static void decode(const test *row, feed_line *line, vv_slice body, feed_sink *sink)
{
    const feed_line_options options = {.unit_ns = 1};
    feed_result result = {0};
    feed_columns columns;
    vv_error err = {0};
    vv_status st = VV_OK;
    if (row->kind == LINE)
        st = feed_line_decode(line, body, &options, sink, &result, &err);
    else if (row->kind == REMOTE)
        st = feed_remote_decode(body, sink, &result, &err);
    else
        st = feed_columns_open(body, &columns, &err);
    if (st == VV_OK && row->kind == COLUMNS)
        st = feed_columns_decode(&columns, sink, &result, &err);
    must(st, &err, &result);
}

/* Of this process, which has one thread: other programs do not count. */
static int64_t cpu_ns(void)
{
    return (int64_t)clock() * (INT64_C(1000000000) / CLOCKS_PER_SEC);
}

int main(int argc, char **argv)
{
    static const test rows[] = {{"line, 10 fields", LINE, 10},
                                {"remote, 1 sample a series", REMOTE, 1},
                                {"remote, 100 samples a series", REMOTE, 100},
                                {"columns, 100 samples a series", COLUMNS, 100},
                                {"columns, 10 samples a series", COLUMNS, 10}};
    static const feed_sink_ops ops = {take_series, take_samples};
    int64_t length = (argc > 1 ? strtoll(argv[1], NULL, 10) : 1000) * 1000000;
    feed_line *line = feed_line_create();
    vv_buf body;
    vv_buf_init(&body, BODY_MAX);
    if (line == NULL)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        counter c = {.sink = {&ops}};
        make_body(&rows[i], &body);
        decode(&rows[i], line, vv_buf_slice(&body), &c.sink); /* warm */
        double per_body = (double)c.samples;
        c.samples = 0;
        int64_t begin = cpu_ns(), now = begin;
        while (now - begin < length) {
            decode(&rows[i], line, vv_buf_slice(&body), &c.sink);
            now = cpu_ns();
        }
        (void)printf("{\"bench\": \"feeds\", \"row\": \"%s\", \"bytes_a_sample\": %.1f, "
                     "\"ns_a_sample\": %.1f, \"samples_per_second\": %.0f}\n",
                     rows[i].name, (double)body.len / per_body,
                     (double)(now - begin) / (double)c.samples,
                     (double)c.samples * 1e9 / (double)(now - begin));
    }
    vv_buf_fini(&body);
    feed_line_destroy(line);
    return 0;
}
