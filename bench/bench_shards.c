/*
 * bench_shards.c - what several shards, and several threads that apply, do to a batch fill.
 *
 * It backs the figures of docs/PERFORMANCE.md, "Shards". Producers put random keys into a table
 * that is partitioned over all shards, collect a batch of each shard, and queue it (vv_write_async)
 * or write it themselves (vv_write).
 *
 *     bench_shards directory [keys a row [rounds]]
 *
 * Rows: way x producers x shards x apply threads; interleaved rounds, one JSON line each with the
 * rate, the CPU time of the whole process for an operation, and how many groups were shared.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "base/util.h"
#include "db/db.h"
#include "io/env.h"
#include "varve/varve.h"

#define VALUE_SIZE 100u
#define BATCH_KEYS 1000u
#define SHARDS_MAX 4u
#define PRODUCERS_MAX 4u
#define IN_FLIGHT 4u /* batches of a producer */

typedef struct row {
    bool queued;
    unsigned producers;
    uint32_t shards;
    uint32_t apply_threads;
} row;

typedef struct run {
    vv_db *db;
    vv_table *table;
    const row *row;
    uint64_t keys; /* of each producer */
} run;

typedef struct producer {
    run *run;
    vv_thread *thread;
    uint64_t seed;
    _Atomic unsigned in_flight;
} producer;

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_shards: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

typedef struct sent {
    producer *of;
    vv_batch *batch;
} sent;

static void on_done(void *ctx, vv_status st, const vv_write_result *result, const vv_error *err)
{
    sent *s = ctx;
    (void)result;
    must(st, err);
    vv_batch_destroy(s->batch);
    atomic_fetch_sub(&s->of->in_flight, 1);
    free(s);
}

static void send_batch(producer *p, vv_batch *batch)
{
    vv_error err = {0};
    if (!p->run->row->queued) {
        must(vv_write(p->run->db, batch, VV_DURABLE_OS, NULL, &err), &err);
        vv_batch_destroy(batch);
        return;
    }
    sent *s = malloc(sizeof *s);
    if (s == NULL)
        abort();
    *s = (sent){p, batch};
    while (atomic_load(&p->in_flight) >= IN_FLIGHT * p->run->row->shards)
        (void)usleep(20);
    atomic_fetch_add(&p->in_flight, 1);
    vv_status st;
    while ((st = vv_write_async(p->run->db, batch, VV_DURABLE_OS, on_done, s, &err)) == VV_BUSY)
        (void)usleep(50);
    must(st, &err);
}

static void produce(void *arg)
{
    producer *p = arg;
    run *r = p->run;
    vv_batch *open[SHARDS_MAX] = {0};
    uint8_t value[VALUE_SIZE];
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, p->seed);
    vv_rng_bytes(&rng, value, sizeof value);
    for (uint64_t i = 0; i < r->keys; i++) {
        char text[24];
        uint64_t n = vv_rng_next(&rng);
        vv_slice key = vv_slice_of(
            text, (size_t)snprintf(text, sizeof text, "%016llx", (unsigned long long)n));
        uint32_t shard = r->row->shards == 1 ? 0 : db_shard_of_key(r->table, key);
        if (open[shard] == NULL)
            open[shard] = vv_batch_create(r->db);
        memcpy(value, &n, sizeof n);
        must(vv_batch_put(open[shard], r->table, key, vv_slice_of(value, sizeof value), 0, &err),
             &err);
        if (vv_batch_count(open[shard]) == BATCH_KEYS) {
            send_batch(p, open[shard]);
            open[shard] = NULL;
        }
    }
    for (uint32_t s = 0; s < SHARDS_MAX; s++)
        if (open[s] != NULL)
            send_batch(p, open[s]);
    while (atomic_load(&p->in_flight) > 0)
        (void)usleep(20);
}

static void measure(const char *dir, const row *what, uint64_t keys)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    env_process_stats before;
    env_process_stats after;
    producer ps[PRODUCERS_MAX] = {0};
    char command[512];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        exit(1);
    opt.shard_count = what->shards;
    opt.apply_threads = what->apply_threads;
    opt.memory_limit = UINT64_C(1) << 30;
    run r = {.row = what, .keys = keys / what->producers};
    must(vv_db_open(dir, &opt, &r.db, &err), &err);
    topt.partitions = what->shards;
    must(vv_table_create(r.db, "bench", "fill", &topt, &r.table, &err), &err);
    env_process_stats_read(&before);
    int64_t start = vv_clock_mono(vv_clock_real());
    for (unsigned i = 0; i < what->producers; i++) {
        ps[i].run = &r;
        ps[i].seed = i + 1;
        must(vv_threads_real()->create("produce", VV_THREAD_NORMAL, produce, &ps[i], &ps[i].thread,
                                       &err),
             &err);
    }
    for (unsigned i = 0; i < what->producers; i++)
        vv_threads_real()->join(ps[i].thread);
    int64_t took = vv_clock_mono(vv_clock_real()) - start;
    env_process_stats_read(&after);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(r.db, &s);
    (void)printf("{\"way\":\"%s\",\"producers\":%u,\"shards\":%u,\"apply_threads\":%u,"
                 "\"ops_per_s\":%.0f,\"cpu_ns_per_op\":%.0f,\"groups_apart\":%llu,"
                 "\"stalled_ms\":%llu}\n",
                 what->queued ? "queued" : "own", what->producers, what->shards,
                 what->apply_threads, (double)keys * 1e9 / (double)took,
                 (double)(after.cpu_ns - before.cpu_ns) / (double)keys,
                 (unsigned long long)s.groups_apart,
                 (unsigned long long)((s.stalled_ns + s.throttled_ns) / VV_NS_PER_MS));
    (void)fflush(stdout);
    vv_table_close(r.table);
    must(vv_db_close(r.db, &err), &err);
    (void)!system(command);
}

int main(int argc, char **argv)
{
    static const row rows[] = {
        {true, 1, 1, 1}, {true, 1, 2, 1}, {true, 1, 2, 2},  {true, 2, 1, 1},
        {true, 2, 2, 1}, {true, 2, 2, 2}, {false, 2, 1, 1}, {false, 2, 2, 1},
    };
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_shards directory [keys a row [rounds]]\n");
        return 2;
    }
    char dir[400];
    (void)snprintf(dir, sizeof dir, "%s/bench-shards", argv[1]);
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 5;
    for (uint64_t i = 0; i < rounds; i++)
        for (size_t k = 0; k < ARRAY_LEN(rows); k++)
            measure(dir, &rows[k], keys);
    return 0;
}
