/*
 * bench_stream.c - appends to a stream and reads from it, one JSON line.
 *
 *     bench_stream directory [seconds a row [threads [engine]]]
 *
 * Rows: synced appends of 256-byte messages, one at a time and 500 at a time, by one producer and
 * by many that share the log's sync; the same without waiting for the disk (os); reads of all of
 * them from the first offset on; and one message by its offset. It backs the claim that messages
 * are taken at the rate of the log: an append of 500 is one entry and one key.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "varve/varve.h"

#define SIZE 256u
#define BATCH 500u
#define THREADS_MAX 64u

typedef struct row {
    vv_table *table;
    size_t batch;
    vv_durability durability;
    _Atomic bool stop;
    _Atomic uint64_t appends;
    vv_hist latency;
} row;

typedef struct worker {
    row *row;
    vv_thread *thread;
    unsigned number;
} worker;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_stream: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

/* Half of a message's bytes repeat, as those of logs and sensors do. */
static void fill(vv_rng *rng, uint8_t *bytes, vv_message *m)
{
    vv_rng_bytes(rng, bytes, SIZE / 2);
    memset(bytes + SIZE / 2, 'x', SIZE / 2);
    *m = (vv_message){.value = vv_slice_of(bytes, SIZE)};
}

static void worker_main(void *arg)
{
    static _Atomic unsigned runs;
    worker *w = arg;
    row *r = w->row;
    vv_error err = {0};
    vv_rng rng;
    char name[32];
    uint8_t(*bytes)[SIZE] = malloc(r->batch * SIZE);
    vv_message *m = malloc(r->batch * sizeof *m);
    if (bytes == NULL || m == NULL)
        exit(1);
    vv_rng_init(&rng, w->number + 1);
    for (size_t i = 0; i < r->batch; i++)
        fill(&rng, bytes[i], &m[i]);
    (void)snprintf(name, sizeof name, "producer-%u", atomic_fetch_add(&runs, 1));
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.durability = r->durability;
    opt.producer = vv_slice_str(name);
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        int64_t start = now();
        must(vv_stream_append(r->table, m, r->batch, &opt, NULL, &err), &err);
        vv_hist_add(&r->latency, (uint64_t)(now() - start));
        opt.sequence += r->batch;
        atomic_fetch_add_explicit(&r->appends, 1, memory_order_relaxed);
    }
    free(m);
    free(bytes);
}

static void run(vv_table *table, size_t batch, unsigned threads, vv_durability durability,
                double seconds)
{
    static worker workers[THREADS_MAX];
    static row r;
    vv_error err = {0};
    r.table = table;
    r.batch = batch;
    r.durability = durability;
    atomic_store(&r.stop, false);
    atomic_store(&r.appends, 0);
    vv_hist_reset(&r.latency);
    int64_t start = now();
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (worker){.row = &r, .number = i};
        must(vv_threads_real()->create("bench", VV_THREAD_NORMAL, worker_main, &workers[i],
                                       &workers[i].thread, &err),
             &err);
    }
    vv_clock_sleep(vv_clock_real(), (int64_t)(seconds * (double)VV_NS_PER_S));
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < threads; i++)
        vv_threads_real()->join(workers[i].thread);
    double took = (double)(now() - start) / (double)VV_NS_PER_S;
    double appends = (double)atomic_load(&r.appends);
    printf("{\"row\":\"append\",\"durability\":\"%s\",\"batch\":%zu,\"threads\":%u,"
           "\"appends_per_s\":%.0f,\"messages_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f},",
           durability == VV_DURABLE_SYNC ? "sync" : "os", batch, threads, appends / took,
           appends * (double)batch / took, (double)vv_hist_percentile(&r.latency, 0.5) / 1000,
           (double)vv_hist_percentile(&r.latency, 0.99) / 1000);
}

static void read_all(vv_table *table, uint64_t count_max)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    uint64_t count = 0;
    uint64_t bytes = 0;
    opt.messages_max = count_max;
    int64_t start = now();
    must(vv_stream_cursor_open(table, &opt, &c, &err), &err);
    for (vv_status st; (st = vv_stream_cursor_next(c, &m, &err)) != VV_NOT_FOUND; count++) {
        must(st, &err);
        bytes += m.value.len;
    }
    vv_stream_cursor_close(c);
    double took = (double)(now() - start) / (double)VV_NS_PER_S;
    printf("{\"row\":\"read\",\"messages\":%llu,\"messages_per_s\":%.0f,\"mb_per_s\":%.0f},",
           (unsigned long long)count, (double)count / took, (double)bytes / took / 1e6);
}

static void read_one(vv_table *table, double seconds)
{
    vv_error err = {0};
    vv_rng rng;
    vv_stream_stats s = {.size = sizeof s};
    uint64_t count = 0;
    must(vv_stream_stats_read(table, 0, NULL, &s, &err), &err);
    vv_rng_init(&rng, 7);
    int64_t start = now();
    int64_t end = start + (int64_t)(seconds * (double)VV_NS_PER_S);
    for (; now() < end; count++) {
        vv_stream_cursor *c = NULL;
        vv_message m;
        vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
        opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET,
                                      .offset = vv_rng_below(&rng, s.next_offset)};
        must(vv_stream_cursor_open(table, &opt, &c, &err), &err);
        must(vv_stream_cursor_next(c, &m, &err), &err);
        vv_stream_cursor_close(c);
    }
    printf("{\"row\":\"read one\",\"per_s\":%.0f}",
           (double)count / ((double)(now() - start) / (double)VV_NS_PER_S));
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_stream directory [seconds [threads [engine]]]\n");
        return 1;
    }
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 16;
    bool is_tree = argc > 4 && strcmp(argv[4], "btree") == 0;
    vv_error err = {0};
    vv_db *db = NULL;
    vv_table *table = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    if (threads == 0 || threads > THREADS_MAX)
        threads = 16;
    to.kind = VV_TABLE_STREAM;
    to.if_not_exists = true;
    to.engine = is_tree ? VV_ENGINE_BTREE : VV_ENGINE_LSM;
    must(vv_db_open(argv[1], &opt, &db, &err), &err);
    must(vv_table_create(db, "bench", "messages", &to, &table, &err), &err);
    printf("{\"bench\":\"stream\",\"engine\":\"%s\",\"message\":%u,\"seconds\":%.1f,\"rows\":[",
           is_tree ? "btree" : "lsm", SIZE, seconds);
    run(table, 1, 1, VV_DURABLE_SYNC, seconds);
    run(table, 1, threads, VV_DURABLE_SYNC, seconds);
    run(table, 1, 1, VV_DURABLE_OS, seconds);
    run(table, BATCH, 1, VV_DURABLE_SYNC, seconds);
    run(table, BATCH, 4, VV_DURABLE_SYNC, seconds);
    read_all(table, 5000000);
    read_one(table, seconds);
    printf("]}\n");
    vv_table_close(table);
    must(vv_db_close(db, &err), &err);
    return 0;
}
