/*
 * bench.h - closed-loop load: what each client of `varve bench` does, and what they share.
 */
#ifndef VARVE_CMD_VARVE_BENCH_H
#define VARVE_CMD_VARVE_BENCH_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/rng.h"
#include "client/client.h"
#include "cmd.h"

typedef struct bench bench;
typedef struct bench_client bench_client;

/* One kind of load. */
typedef struct bench_work {
    const char *name;
    const char *help;
    const char *method; /* of the calls */
    bool streams;       /* one call a client, for the whole run */
    bool needs_keys;    /* reads what a fill wrote */
    bool needs_records; /* likewise */
    uint64_t in_flight; /* default */
    /* Write the next request of a client; returns how many items it carries. */
    uint64_t (*request)(bench_client *c, vv_buf *out);
    /* Items in one answer, 0 when those of the request count. May be NULL. */
    uint64_t (*answer)(vv_slice message);
} bench_work;

extern const bench_work bench_works[];
extern const size_t bench_work_count;

struct bench {
    const bench_work *work;
    const cmd_common *common;
    const char *table;
    vv_clock *clock;
    uint64_t clients;
    uint64_t in_flight;
    uint64_t value_size;
    uint64_t batch;
    uint64_t keys;
    int durability;
    int64_t run_ns;
    int64_t warmup_ns;
    int64_t start_ns; /* measured from here */
    int64_t end_ns;
    vv_hist latency_ns;     /* of a call; of a record for streams */
    _Atomic uint64_t calls; /* answered while it was measured */
    _Atomic uint64_t items; /* records or keys in them */
    _Atomic uint64_t errors;
    _Atomic int stop;
    _Atomic int failure_taken;
    vv_error failure; /* the first; under failure_taken */
    vv_status failed;
};

struct bench_client {
    bench *bench;
    uint64_t index;
    cli_conn *conn;
    vv_rng rng;
    uint64_t next; /* number of the next key or record */
    vv_buf request;
    vv_buf filler; /* value_size bytes */
};

/** Run one client until bench->end_ns. The body of its thread. */
void bench_client_run(void *client);
/** Write keys or records for those who read them. */
VV_MUST_CHECK vv_status bench_fill(bench *b, vv_error *err);

#endif
