/*
 * bench_txn.c - what a transaction costs over a plain batch of the same writes.
 *
 * It backs no claim of a rate: it puts transactions and batches of the same writes side by side.
 * Synced, both wait for the same group commit; what a transaction's own work costs shows at `os`.
 *
 *     bench_txn directory [seconds a row [way]]
 *
 * Rows: way (batch, snapshot, serializable, read+write) x keys x threads x durability; one JSON
 * line each, with the share of commits that were refused. `hot` rows draw their keys from a
 * hundred, the others from a million.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "varve/varve.h"

#define VALUE_SIZE 100u
#define THREADS_MAX 64u
#define KEYS_COLD 1000000u
#define KEYS_HOT 100u

typedef enum way { BATCH, SNAPSHOT, SERIALIZABLE, READ_WRITE, SCAN_WRITE } way;

static const char *const way_names[] = {"batch", "snapshot", "serializable", "serializable get+put",
                                        "serializable scan10+put"};

static const char *only; /* the way to run; NULL: all */

typedef struct row {
    vv_db *db;
    vv_table *table;
    way way;
    unsigned keys;
    vv_durability durability;
    uint64_t space;
    _Atomic bool stop;
    _Atomic uint64_t commits;
    _Atomic uint64_t conflicts;
} row;

typedef struct worker {
    row *row;
    vv_thread *thread;
    uint64_t seed;
} worker;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_txn: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static vv_slice key_of(uint64_t n, char out[24])
{
    return vv_slice_of(out, (size_t)snprintf(out, 24, "key-%016llx", (unsigned long long)n));
}

static vv_status do_batch(row *r, vv_rng *rng, vv_batch *b, vv_slice value, vv_error *err)
{
    char key[24];
    vv_batch_clear(b);
    for (unsigned i = 0; i < r->keys; i++)
        must(vv_batch_put(b, r->table, key_of(vv_rng_below(rng, r->space), key), value, 0, err),
             err);
    return vv_write(r->db, b, r->durability, NULL, err);
}

static void scan_ten(row *r, vv_txn *t, vv_slice from, vv_error *err)
{
    vv_cursor *c = NULL;
    must(vv_txn_scan(t, r->table, NULL, &c, err), err);
    must(vv_cursor_seek(c, from, err), err);
    for (int i = 0; i < 10 && vv_cursor_valid(c); i++)
        must(vv_cursor_next(c, err), err);
    vv_cursor_close(c);
}

static vv_status do_txn(row *r, vv_rng *rng, vv_slice value, vv_error *err)
{
    char text[24];
    vv_txn *t = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = r->way == SNAPSHOT ? VV_ISOLATION_SNAPSHOT : VV_ISOLATION_SERIALIZABLE;
    opt.durability = r->durability;
    must(vv_txn_begin(r->db, &opt, &t, err), err);
    for (unsigned i = 0; i < r->keys; i++) {
        vv_value v = {0};
        vv_slice key = key_of(vv_rng_below(rng, r->space), text);
        if (r->way == READ_WRITE && vv_txn_get(t, r->table, key, &v, err) == VV_OK)
            vv_value_release(&v);
        if (r->way == SCAN_WRITE)
            scan_ten(r, t, key, err);
        must(vv_txn_put(t, r->table, key, value, 0, err), err);
    }
    return vv_txn_commit(t, NULL, err);
}

static void worker_main(void *arg)
{
    worker *w = arg;
    row *r = w->row;
    vv_error err = {0};
    vv_rng rng;
    uint8_t value[VALUE_SIZE];
    vv_batch *b = vv_batch_create(r->db);
    vv_rng_init(&rng, w->seed);
    vv_rng_bytes(&rng, value, sizeof value);
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        vv_slice v = vv_slice_of(value, sizeof value);
        vv_status st = r->way == BATCH ? do_batch(r, &rng, b, v, &err) : do_txn(r, &rng, v, &err);
        if (st != VV_CONFLICT)
            must(st, &err);
        atomic_fetch_add_explicit(st == VV_OK ? &r->commits : &r->conflicts, 1,
                                  memory_order_relaxed);
    }
    vv_batch_destroy(b);
}

static void run(row *r, unsigned threads, double seconds)
{
    if (only != NULL && strcmp(only, way_names[r->way]) != 0)
        return;
    static worker workers[THREADS_MAX];
    vv_error err = {0};
    atomic_store(&r->stop, false);
    atomic_store(&r->commits, 0);
    atomic_store(&r->conflicts, 0);
    int64_t start = now();
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (worker){.row = r, .seed = i + 1};
        must(vv_threads_real()->create("bench", VV_THREAD_NORMAL, worker_main, &workers[i],
                                       &workers[i].thread, &err),
             &err);
    }
    vv_clock_sleep(vv_clock_real(), (int64_t)(seconds * (double)VV_NS_PER_S));
    atomic_store(&r->stop, true);
    for (unsigned i = 0; i < threads; i++)
        vv_threads_real()->join(workers[i].thread);
    double took = (double)(now() - start) / (double)VV_NS_PER_S;
    double commits = (double)atomic_load(&r->commits);
    double conflicts = (double)atomic_load(&r->conflicts);
    printf("{\"bench\":\"txn\",\"way\":\"%s\",\"keys\":%u,\"threads\":%u,\"durability\":\"%s\","
           "\"hot\":%s,\"commits_per_s\":%.0f,\"conflict_share\":%.4f}\n",
           way_names[r->way], r->keys, threads, r->durability == VV_DURABLE_SYNC ? "sync" : "os",
           r->space == KEYS_HOT ? "true" : "false", commits / took,
           conflicts == 0 ? 0 : conflicts / (commits + conflicts));
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {1, 8, 64};
    static const unsigned keys[] = {1, 10};
    vv_error err = {0};
    row r = {.space = KEYS_COLD};
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_txn directory [seconds a row [way]]\n");
        return 2;
    }
    only = argc > 3 ? argv[3] : NULL;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = UINT64_C(2) << 30;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    topt.if_not_exists = true;
    must(vv_db_open(argv[1], &opt, &r.db, &err), &err);
    must(vv_table_create(r.db, "bench", "txn", &topt, &r.table, &err), &err);
    for (int sync = 1; sync >= 0; sync--)
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            for (size_t t = 0; t < ARRAY_LEN(threads); t++)
                for (way w = BATCH; w <= SCAN_WRITE; w++) {
                    r.durability = sync ? VV_DURABLE_SYNC : VV_DURABLE_OS;
                    r.keys = keys[k];
                    r.way = w;
                    run(&r, threads[t], seconds);
                }
    r.durability = VV_DURABLE_SYNC;
    r.space = KEYS_HOT;
    r.keys = 10;
    for (way w = SNAPSHOT; w <= READ_WRITE; w++)
        for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
            r.way = w;
            run(&r, threads[t], seconds);
        }
    vv_table_close(r.table);
    must(vv_db_close(r.db, &err), &err);
    return 0;
}
