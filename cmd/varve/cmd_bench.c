/*
 * cmd_bench.c - load a server and tell rate and latency.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "bench.h"
#include "io/env.h"
#include "out.h"
#include "store.h"

#define CLIENTS_MAX 1024u

typedef struct args {
    uint64_t clients;
    uint64_t in_flight;
    uint64_t value_size;
    uint64_t batch;
    uint64_t keys;
    int64_t seconds_ns;
    int64_t warmup_ns;
    const char *durability;
    bool no_fill;
} args;

static const cmd_opt opts[] = {
    {"clients", 'c', CMD_COUNT, offsetof(args, clients), "N",
     "connections, each on a thread; default 1"},
    {"in-flight", 'm', CMD_COUNT, offsetof(args, in_flight), "N",
     "calls (of ingest-stream: records) without an answer, per client; default by load"},
    {"value-size", 'v', CMD_SIZE, offsetof(args, value_size), "BYTES",
     "of a value, or of a whole record; default 100"},
    {"batch", 'b', CMD_COUNT, offsetof(args, batch), "N",
     "records of a batch, keys of a scan; default 1000"},
    {"keys", 'k', CMD_COUNT, offsetof(args, keys), "N",
     "different keys; default 1000000, reads 100000"},
    {"seconds", 'n', CMD_DURATION, offsetof(args, seconds_ns), "TIME", "measured time; default 10"},
    {"warmup", 0, CMD_DURATION, offsetof(args, warmup_ns), "TIME", "before it; default 1"},
    {"durability", 0, CMD_CHOICE, offsetof(args, durability), "sync|os|none", "default sync"},
    {"no-fill", 0, CMD_FLAG, offsetof(args, no_fill), NULL, "what is read is there already"},
};

/* Nanoseconds as microseconds with two places. */
static out_cell microseconds(uint64_t ns)
{
    uint64_t hundredths = ns / 10;
    return out_double((double)hundredths / 100);
}

static void print(const cmd_ctx *ctx, bench *b)
{
    static const char *const names[] = {
        "load",  "clients", "in_flight", "value_size", "batch",  "durability", "seconds", "calls",
        "items", "rate",    "mb_per_s",  "errors",     "p50_us", "p99_us",     "p999_us", "max_us",
    };
    static const char *const durability[] = {"sync", "sync", "os", "none"};
    double seconds = (double)b->run_ns / 1e9;
    double items = (double)atomic_load(&b->items);
    uint64_t at[3] = {vv_hist_percentile(&b->latency_ns, 0.5),
                      vv_hist_percentile(&b->latency_ns, 0.99),
                      vv_hist_percentile(&b->latency_ns, 0.999)};
    out_writer o;
    out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
    const out_cell cells[] = {
        out_text(b->work->name),
        out_uint(b->clients),
        out_uint(b->in_flight),
        out_uint(b->value_size),
        out_uint(b->batch),
        out_text(durability[b->durability]),
        out_double(seconds),
        out_uint(atomic_load(&b->calls)),
        out_uint(atomic_load(&b->items)),
        out_double((double)(uint64_t)(items / seconds)),
        out_double((double)(uint64_t)(items * (double)b->value_size / seconds / 1e4) / 100),
        out_uint(atomic_load(&b->errors)),
        microseconds(at[0]),
        microseconds(at[1]),
        microseconds(at[2]),
        microseconds(vv_hist_max(&b->latency_ns)),
    };
    out_row(&o, cells);
    out_end(&o);
}

static vv_status run_clients(bench *b, vv_error *err)
{
    const vv_threads *threads = vv_threads_real();
    bench_client *clients = vv_calloc(b->clients, sizeof *clients);
    vv_thread **running = vv_calloc(b->clients, sizeof(void *));
    vv_status st = VV_OK;
    uint64_t n = 0;
    if (clients == NULL || running == NULL) {
        vv_free(clients);
        vv_free(running);
        return vv_fail(err, VV_NO_MEMORY, "%" PRIu64 " clients", b->clients);
    }
    for (; n < b->clients; n++) {
        clients[n] = (bench_client){.bench = b, .index = n};
        st = threads->create("bench", VV_THREAD_NORMAL, bench_client_run, &clients[n], &running[n],
                             err);
        if (st != VV_OK)
            break;
    }
    if (st != VV_OK)
        atomic_store(&b->stop, 1);
    for (uint64_t i = 0; i < n; i++)
        threads->join(running[i]);
    vv_free(clients);
    vv_free(running);
    return st;
}

static int measure(cmd_ctx *ctx, const args *a, bench *b)
{
    vv_error err = {0};
    if (!a->no_fill && (b->work->needs_keys || b->work->needs_records)) {
        (void)fprintf(stderr, "filling %" PRIu64 " keys\n", b->keys);
        vv_status st = bench_fill(b, &err);
        if (st != VV_OK)
            return cmd_fail(ctx, st, &err);
    }
    b->start_ns = vv_clock_mono(b->clock) + b->warmup_ns;
    b->end_ns = b->start_ns + b->run_ns;
    vv_status st = run_clients(b, &err);
    if (st != VV_OK)
        return cmd_fail(ctx, st, &err);
    print(ctx, b);
    if (atomic_load(&b->errors) == 0)
        return CMD_OK;
    int code = cmd_fail(ctx, b->failed, &b->failure);
    return code == CMD_OK ? CMD_ERROR : code;
}

static const char *const words[] = {"put",           "get",        "scan",  "ingest-batch",
                                    "ingest-stream", "get-record", "query", NULL};

static int run(cmd_ctx *ctx, const void *opaque, int argc, char **argv)
{
    const args *a = opaque;
    const bench_work *work = NULL;
    for (size_t i = 0; argc == 1 && i < bench_work_count; i++)
        if (strcmp(bench_works[i].name, argv[0]) == 0)
            work = &bench_works[i];
    if (work == NULL)
        return cmd_usage(ctx, "one load is needed: put, get, scan, ingest-batch, ingest-stream, "
                              "get-record or query");
    if (a->clients > CLIENTS_MAX || a->in_flight > 10000000 || a->value_size > VV_VALUE_MAX)
        return cmd_usage(ctx, "at most %u clients, 10000000 in flight, values of 15 MiB",
                         CLIENTS_MAX);
    static const char *const counts[] = {"clients", "in-flight", "value-size",
                                         "batch",   "keys",      "seconds"};
    const bool zero[] = {a->clients == 0, a->in_flight == 0, a->value_size == 0,
                         a->batch == 0,   a->keys == 0,      a->seconds_ns == 0};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (zero[i] && cmd_given(ctx, counts[i]))
            return cmd_usage(ctx, "--%s is 0: it must be more", counts[i]);
    bool reads = work->needs_keys || work->needs_records;
    bool records = work->needs_records || strncmp(work->name, "ingest", 6) == 0;
    bench *b = vv_calloc(1, sizeof *b);
    if (b == NULL)
        return cmd_fail(ctx, VV_NO_MEMORY, &(vv_error){.msg = "out of memory"});
    b->work = work;
    b->common = &ctx->common;
    b->table = ctx->common.table != NULL ? ctx->common.table : records ? "records" : "bench";
    b->clock = vv_clock_real();
    b->clients = a->clients > 0 ? a->clients : 1;
    b->in_flight = a->in_flight > 0 ? a->in_flight : work->in_flight;
    b->value_size = a->value_size > 0 ? a->value_size : 100;
    b->batch = a->batch > 0 ? a->batch : 1000;
    b->keys = a->keys > 0 ? a->keys : reads ? 100000 : 1000000;
    b->run_ns = a->seconds_ns > 0 ? a->seconds_ns : 10 * VV_NS_PER_S;
    b->warmup_ns = cmd_given(ctx, "warmup") ? a->warmup_ns : VV_NS_PER_S;
    if (a->durability != NULL)
        (void)store_parse_durability(a->durability, &b->durability);
    int code = measure(ctx, a, b);
    vv_free(b);
    return code;
}

const cmd_command cmd_bench = {
    .name = "bench",
    .summary = "load a server, tell rate and latency",
    .synopsis = "put|get|scan|ingest-batch|ingest-stream|get-record|query",
    .details =
        "Closed loop: each client starts the next call when one is answered. Latencies are of a\n"
        "call, for ingest-stream from sending a record to its acknowledgement. The loads write to\n"
        "the table \"bench\" (records: \"records\") of --tenant, under keys bench-000000000000 "
        "on.\n",
    .with = CMD_WITH_SERVER | CMD_WITH_TENANT | CMD_WITH_TABLE | CMD_WITH_OUTPUT,
    .opts = opts,
    .opt_count = ARRAY_LEN(opts),
    .args_size = sizeof(args),
    .words = words,
    .run = run,
};
