/*
 * bench_otlp.c - OTLP Export of traces: requests of 512 spans, some 170 KiB each.
 *
 *     bench_otlp decode [MILLISECONDS]
 *     bench_otlp object-a-span DIR [SECONDS]
 *     bench_otlp export INGEST PID [SECONDS] [IN_FLIGHT]
 *
 * decode: check and messages alone, one core, no store. object-a-span: what a sink does that writes
 * one object for each span, into a directory, without a sync: the rate at which such a design stays
 * behind its senders. export: closed loop over gRPC on a running
 * varved whose process is PID, one connection, one thread; an answer counts when it took all spans,
 * which are synced by then. CPU of the server is that of its process over the run. Prints one JSON
 * line; claim: the OTLP rows of docs/PERFORMANCE.md.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/util.h"
#include "client/client.h"
#include "otlp/otlp.h"
#include "otlp/otlp_test_request.h"

#define SPANS 512u
#define VARIANTS 16u /* requests that differ */
#define BODY_MAX (8u * 1024 * 1024)
#define CALL_TIMEOUT_NS (60 * VV_NS_PER_S)
#define METHOD "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

typedef struct load {
    cli_conn *conn;
    vv_buf request[VARIANTS];
    uint64_t started;
    uint64_t done;
    uint64_t failed;
    unsigned open;
    int64_t end_ns;
    vv_hist latency;
    char why[400];
} load;

typedef struct flight {
    load *l;
    int64_t begin_ns;
    bool is_partial;
} flight;

static int64_t now_ns(clockid_t clock)
{
    struct timespec ts;
    (void)clock_gettime(clock, &ts);
    return ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

static void make_requests(vv_buf request[VARIANTS])
{
    for (unsigned i = 0; i < VARIANTS; i++) {
        vv_buf_init(&request[i], BODY_MAX);
        otlp_test_spans(&request[i], (uint64_t)i * SPANS, SPANS);
    }
}

static void free_requests(vv_buf request[VARIANTS])
{
    for (unsigned i = 0; i < VARIANTS; i++)
        vv_buf_fini(&request[i]);
}

/* ---- decode ---- */

/* False: something was not taken. */
static bool decode_one(vv_slice request, vv_arena *arena, size_t *bytes)
{
    otlp_walk w;
    otlp_summary sum;
    feed_result read = {0};
    vv_message *messages = NULL;
    size_t count = 0;
    vv_arena_reset(arena);
    if (otlp_check(OTLP_TRACES, request, &sum, NULL) != VV_OK)
        return false;
    otlp_walk_begin(&w, OTLP_TRACES, request, VV_STREAM_MESSAGE_MAX);
    if (otlp_walk_next(&w, arena, sum.records, SIZE_MAX, &messages, &count, &read, NULL) != VV_OK)
        return false;
    *bytes = 0;
    for (size_t i = 0; i < count; i++)
        *bytes += messages[i].value.len;
    return count == SPANS;
}

static int run_decode(int64_t milliseconds)
{
    vv_buf request[VARIANTS];
    vv_arena arena;
    uint64_t n = 0;
    size_t bytes = 0;
    bool ok = true;
    make_requests(request);
    vv_arena_init(&arena, 64u << 20);
    const int64_t begin = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    int64_t used = 0;
    while (ok && used < milliseconds * VV_NS_PER_MS) {
        for (unsigned i = 0; ok && i < VARIANTS; i++, n++)
            ok = decode_one(vv_buf_slice(&request[i]), &arena, &bytes);
        used = now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin;
    }
    const double seconds = (double)used / 1e9;
    (void)printf("{\"bench\":\"otlp_decode\",\"spans_a_request\":%u,\"request_bytes\":%zu,"
                 "\"value_bytes_a_span\":%zu,\"requests_per_cpu_s\":%.0f,\"spans_per_cpu_s\":%.0f,"
                 "\"cpu_ns_a_span\":%.0f}\n",
                 SPANS, request[0].len, bytes / SPANS, (double)n / seconds,
                 (double)n * SPANS / seconds, (double)used / (double)(n * SPANS));
    vv_arena_fini(&arena);
    free_requests(request);
    return ok ? 0 : 1;
}

/* ---- one object for each span ---- */

static bool write_object(const char *dir, uint64_t number, vv_slice value)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%016" PRIx64, dir, number);
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        return false;
    const bool ok = fwrite(value.data, 1, value.len, f) == value.len;
    return fclose(f) == 0 && ok;
}

static int run_objects(const char *dir, int64_t seconds)
{
    vv_buf request[VARIANTS];
    vv_arena arena;
    uint64_t spans = 0;
    uint64_t requests = 0;
    bool ok = true;
    make_requests(request);
    vv_arena_init(&arena, 64u << 20);
    const int64_t begin = now_ns(CLOCK_MONOTONIC);
    while (ok && now_ns(CLOCK_MONOTONIC) - begin < seconds * VV_NS_PER_S) {
        otlp_walk w;
        feed_result read = {0};
        vv_message *m = NULL;
        size_t count = 0;
        vv_arena_reset(&arena);
        otlp_walk_begin(&w, OTLP_TRACES, vv_buf_slice(&request[requests++ % VARIANTS]),
                        VV_STREAM_MESSAGE_MAX);
        ok = otlp_walk_next(&w, &arena, SPANS, SIZE_MAX, &m, &count, &read, NULL) == VV_OK;
        for (size_t i = 0; ok && i < count; i++)
            ok = write_object(dir, spans++, m[i].value);
    }
    const double took = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
    (void)printf("{\"bench\":\"otlp_object_a_span\",\"spans_a_request\":%u,\"seconds\":%.2f,"
                 "\"requests_per_s\":%.0f,\"spans_per_s\":%.0f}\n",
                 SPANS, took, (double)requests / took, (double)spans / took);
    vv_arena_fini(&arena);
    free_requests(request);
    return ok ? 0 : 1;
}

/* ---- export ---- */

static void start(flight *f);

static void refuse(load *l, const char *why)
{
    l->failed++;
    (void)snprintf(l->why, sizeof l->why, "%s", why);
}

/* An answer with anything in it is a partial success. */
static void on_message(void *ctx, cli_call *call, vv_slice m)
{
    flight *f = ctx;
    (void)call;
    f->is_partial = m.len > 0;
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    flight *f = ctx;
    load *l = f->l;
    const int64_t now = now_ns(CLOCK_MONOTONIC);
    (void)call;
    l->open--;
    if (result->status != VV_OK || f->is_partial) {
        refuse(l, result->status != VV_OK ? result->message : "not all spans were taken");
        return;
    }
    l->done++;
    vv_hist_add(&l->latency, (uint64_t)(now - f->begin_ns));
    if (now < l->end_ns)
        start(f);
}

static void start(flight *f)
{
    load *l = f->l;
    cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = f};
    cli_call *call = NULL;
    vv_error err = {0};
    f->begin_ns = now_ns(CLOCK_MONOTONIC);
    f->is_partial = false;
    if (cli_call_start(l->conn, METHOD, CALL_TIMEOUT_NS, &handler, &call, &err) != VV_OK ||
        cli_call_send(call, vv_buf_slice(&l->request[l->started++ % VARIANTS]), &err) != VV_OK) {
        refuse(l, err.msg);
        return;
    }
    cli_call_half_close(call);
    l->open++;
}

/* User and system time of a process, in seconds; negative when it cannot be read. */
static double cpu_of(const char *pid)
{
    char path[64];
    char text[1024];
    unsigned long long user = 0;
    unsigned long long sys = 0;
    (void)snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    const char *at = strrchr(text, ')'); /* the name may hold blanks */
    if (at == NULL ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys) != 2)
        return -1;
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static int run_export(const char *address, const char *pid, int64_t seconds, unsigned in_flight)
{
    static load l;
    vv_error err = {0};
    flight *flights = calloc(in_flight, sizeof *flights);
    vv_status st = cli_open(address, NULL, &l.conn, &err);
    if (flights == NULL || st != VV_OK) {
        (void)fprintf(stderr, "bench_otlp: %s\n", err.msg);
        free(flights);
        return 1;
    }
    make_requests(l.request);
    const double cpu = cpu_of(pid);
    const int64_t begin = now_ns(CLOCK_MONOTONIC);
    l.end_ns = begin + seconds * VV_NS_PER_S;
    for (unsigned i = 0; i < in_flight; i++) {
        flights[i].l = &l;
        start(&flights[i]);
    }
    while (l.open > 0 && ((st = cli_step(l.conn, VV_NS_PER_S, &err)) == VV_OK || st == VV_TIMEOUT))
        continue;
    const double took = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
    const double used = cpu_of(pid) - cpu;
    const double spans = (double)l.done * SPANS;
    (void)printf(
        "{\"bench\":\"otlp_export\",\"spans_a_request\":%u,\"request_bytes\":%zu,"
        "\"in_flight\":%u,\"seconds\":%.2f,\"requests\":%" PRIu64 ",\"requests_per_s\":%.0f,"
        "\"spans_per_s\":%.0f,\"server_cpu_us_a_span\":%.2f,\"p50_us\":%.0f,"
        "\"p99_us\":%.0f,\"failed\":%" PRIu64 "}\n",
        SPANS, l.request[0].len, in_flight, took, l.done, (double)l.done / took, spans / took,
        used * 1e6 / spans, (double)vv_hist_percentile(&l.latency, 0.5) / 1e3,
        (double)vv_hist_percentile(&l.latency, 0.99) / 1e3, l.failed);
    if (l.failed > 0)
        (void)fprintf(stderr, "bench_otlp: %s\n", l.why);
    cli_close(l.conn);
    free_requests(l.request);
    free(flights);
    return l.failed == 0 && l.open == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "decode") == 0)
        return run_decode(argc > 2 ? strtoll(argv[2], NULL, 10) : 500);
    if (argc >= 3 && strcmp(argv[1], "object-a-span") == 0)
        return run_objects(argv[2], argc > 3 ? strtoll(argv[3], NULL, 10) : 2);
    if (argc >= 4 && strcmp(argv[1], "export") == 0)
        return run_export(argv[2], argv[3], argc > 4 ? strtoll(argv[4], NULL, 10) : 5,
                          argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 8);
    (void)fprintf(stderr, "usage: bench_otlp decode [MILLISECONDS] | object-a-span DIR [SECONDS] | "
                          "export INGEST PID [SECONDS] "
                          "[IN_FLIGHT]\n");
    return 2;
}
