/*
 * bench_db.c - what programs see of the store through its public interface.
 *
 * Claims: 8 / 25 / 80 thousand durable commits a second at 1 / 8 / 64 threads; random fill 450
 * thousand keys a second one by one and 700 thousand in batches of 1,000 (`os`); hundreds of
 * thousands of small batches a second through the queue, synced; 660 thousand random reads a second
 * a thread; a restart after SIGKILL with 1 GB of unflushed log of 1 KiB values in less than 5 s.
 *
 *     bench_db directory [--short] [keys]
 *
 * Each row is one JSON line; --short is for a look, the full form takes minutes.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "varve/varve.h"

#define VALUE_SIZE 100u
#define THREADS_MAX 64
#define BATCH 1000u
#define QUEUE_DEPTH 4096u

typedef struct bench {
    const char *dir;
    bool is_short;
    uint64_t keys;
    int64_t row_ns;
    vv_db *db;
    vv_table *table;
    _Atomic uint64_t answered;
    vv_hist hist;
} bench;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st, const vv_error *err, const char *what)
{
    if (st == VV_OK)
        return;
    fprintf(stderr, "bench_db: %s: %s: %s\n", what, vv_status_name(st), err->msg);
    exit(1);
}

static void remove_store(const bench *b)
{
    char command[512];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->dir);
    if (system(command) != 0)
        exit(1);
}

static vv_options roomy(void)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = UINT64_C(4) << 30;
    opt.memtable_size = UINT64_C(64) << 20;
    return opt;
}

static void open_store(bench *b, const vv_options *opt)
{
    vv_error err = {0};
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    topt.if_not_exists = true;
    must(vv_db_open(b->dir, opt, &b->db, &err), &err, "open");
    must(vv_table_create(b->db, "bench", "kv", &topt, &b->table, &err), &err, "table");
}

static void close_store(bench *b)
{
    vv_error err = {0};
    vv_table_close(b->table);
    must(vv_db_close(b->db, &err), &err, "close");
}

static void row(bench *b, const char *name, const char *durability, unsigned threads,
                uint64_t batch, uint64_t done, int64_t ns)
{
    printf(
        "{\"bench\":\"db\",\"row\":\"%s\",\"durability\":\"%s\",\"threads\":%u,\"batch\":%" PRIu64
        ",\"keys\":%" PRIu64 ",\"value_bytes\":%u,\"per_s\":%.0f",
        name, durability, threads, batch, b->keys, VALUE_SIZE, (double)done * 1e9 / (double)ns);
    if (vv_hist_count(&b->hist) > 0)
        printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f",
               (double)vv_hist_percentile(&b->hist, 0.5) / 1e3,
               (double)vv_hist_percentile(&b->hist, 0.99) / 1e3,
               (double)vv_hist_percentile(&b->hist, 0.999) / 1e3,
               (double)vv_hist_max(&b->hist) / 1e3);
    printf(",\"version\":\"%s\"}\n", vv_version());
    (void)fflush(stdout);
    vv_hist_reset(&b->hist);
}

static vv_slice key_of(uint64_t n, char out[24])
{
    (void)snprintf(out, 24, "%016" PRIu64, n);
    return vv_slice_of(out, 16);
}

/* ---- durable commits, by threads ---- */

typedef struct worker {
    bench *b;
    uint64_t seed;
    int64_t until;
    uint64_t done;
    bool missing;
} worker;

static void commit_worker(void *arg)
{
    worker *w = arg;
    vv_rng rng;
    uint8_t value[VALUE_SIZE];
    char key[24];
    vv_rng_init(&rng, w->seed);
    vv_rng_bytes(&rng, value, sizeof value);
    while (true) {
        vv_error err = {0};
        int64_t start = now();
        if (start > w->until)
            return;
        vv_slice k = key_of(vv_rng_below(&rng, w->b->keys), key);
        must(vv_put(w->b->table, k, vv_slice_of(value, sizeof value), &err), &err, "put");
        vv_hist_add(&w->b->hist, (uint64_t)(now() - start));
        w->done++;
    }
}

static uint64_t run_workers(bench *b, unsigned threads, void (*run)(void *arg), bool missing)
{
    static worker w[THREADS_MAX];
    vv_thread *t[THREADS_MAX];
    uint64_t done = 0;
    for (unsigned i = 0; i < threads; i++) {
        vv_error err = {0};
        w[i] = (worker){.b = b, .seed = i + 1, .until = now() + b->row_ns, .missing = missing};
        must(vv_threads_real()->create("bench", VV_THREAD_NORMAL, run, &w[i], &t[i], &err), &err,
             "thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        vv_threads_real()->join(t[i]);
        done += w[i].done;
    }
    return done;
}

static void rows_of_commits(bench *b)
{
    static const unsigned threads[] = {1, 8, 64};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        int64_t start = now();
        uint64_t done = run_workers(b, threads[i], commit_worker, false);
        row(b, "commit", "sync", threads[i], 1, done, now() - start);
    }
}

/* ---- fill ---- */

static void fill(bench *b, const char *name, uint64_t batch_size, uint64_t count, uint64_t seed)
{
    vv_rng rng;
    vv_error err = {0};
    uint8_t value[VALUE_SIZE];
    char key[24];
    vv_rng_init(&rng, seed);
    vv_rng_bytes(&rng, value, sizeof value);
    vv_batch *batch = vv_batch_create(b->db);
    int64_t start = now();
    for (uint64_t n = 0; n < count; n += batch_size) {
        vv_batch_clear(batch);
        for (uint64_t i = 0; i < batch_size; i++) {
            vv_slice k = key_of(vv_rng_below(&rng, b->keys), key);
            must(vv_batch_put(batch, b->table, k, vv_slice_of(value, sizeof value), 0, &err), &err,
                 "batch");
        }
        int64_t at = now();
        vv_status st = vv_write(b->db, batch, VV_DURABLE_OS, NULL, &err);
        while (st == VV_BUSY)
            st = vv_write(b->db, batch, VV_DURABLE_OS, NULL, &err);
        must(st, &err, name);
        vv_hist_add(&b->hist, (uint64_t)(now() - at));
    }
    row(b, name, "os", 1, batch_size, count, now() - start);
    vv_batch_destroy(batch);
}

/* ---- the queue ---- */

typedef struct queued {
    bench *b;
    vv_batch *batch;
    int64_t start;
    _Atomic bool is_free;
} queued;

static void note_done(void *ctx, vv_status status, const vv_write_result *result,
                      const vv_error *err)
{
    queued *q = ctx;
    (void)result;
    must(status, err, "async");
    vv_hist_add(&q->b->hist, (uint64_t)(now() - q->start));
    atomic_fetch_add(&q->b->answered, 1);
    atomic_store_explicit(&q->is_free, true, memory_order_release);
}

static void queue_rows(bench *b, uint64_t batch_size, uint64_t count)
{
    vv_rng rng;
    vv_error err = {0};
    uint8_t value[VALUE_SIZE];
    char key[24];
    unsigned depth = batch_size == 1 ? QUEUE_DEPTH : 16;
    queued *q = calloc(depth, sizeof *q);
    vv_rng_init(&rng, 5);
    vv_rng_bytes(&rng, value, sizeof value);
    for (unsigned i = 0; i < depth; i++) {
        q[i].b = b;
        q[i].batch = vv_batch_create(b->db);
        atomic_init(&q[i].is_free, true);
    }
    atomic_store(&b->answered, 0);
    int64_t start = now();
    for (uint64_t n = 0; n < count; n += batch_size) {
        queued *slot = &q[n / batch_size % depth];
        while (!atomic_load_explicit(&slot->is_free, memory_order_acquire))
            (void)usleep(20);
        vv_batch_clear(slot->batch);
        for (uint64_t i = 0; i < batch_size; i++) {
            vv_slice k = key_of(vv_rng_below(&rng, b->keys), key);
            must(vv_batch_put(slot->batch, b->table, k, vv_slice_of(value, sizeof value), 0, &err),
                 &err, "batch");
        }
        atomic_store(&slot->is_free, false);
        slot->start = now();
        vv_status st;
        while ((st = vv_write_async(b->db, slot->batch, VV_DURABLE_SYNC, note_done, slot, &err)) ==
               VV_BUSY)
            (void)usleep(20);
        must(st, &err, "async");
    }
    while (atomic_load(&b->answered) < (count + batch_size - 1) / batch_size)
        (void)usleep(20);
    row(b, "async", "sync", 1, batch_size, count, now() - start);
    for (unsigned i = 0; i < depth; i++)
        vv_batch_destroy(q[i].batch);
    free(q);
}

/* ---- reads ---- */

static void get_worker(void *arg)
{
    worker *w = arg;
    vv_rng rng;
    char key[24];
    uint64_t found = 0;
    vv_rng_init(&rng, w->seed + 100);
    for (; w->done % 64 != 0 || now() < w->until; w->done++) {
        vv_error err = {0};
        vv_value v;
        vv_slice k = key_of(vv_rng_below(&rng, w->b->keys), key);
        if (w->missing)
            key[15] = 'x';
        vv_status st = vv_get(w->b->table, NULL, k, &v, &err);
        if (st == VV_OK) {
            found++;
            vv_value_release(&v);
        } else if (st != VV_NOT_FOUND) {
            must(st, &err, "get");
        }
    }
    if (w->missing == (found > 0)) {
        fprintf(stderr, "bench_db: %" PRIu64 " of %" PRIu64 " keys were found\n", found, w->done);
        exit(1);
    }
}

static void seek_worker(void *arg)
{
    worker *w = arg;
    vv_rng rng;
    char key[24];
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_rng_init(&rng, w->seed + 200);
    must(vv_cursor_open(w->b->table, NULL, &c, &err), &err, "cursor");
    for (; w->done % 16 != 0 || now() < w->until; w->done++) {
        must(vv_cursor_seek(c, key_of(vv_rng_below(&rng, w->b->keys), key), &err), &err, "seek");
        for (unsigned i = 0; i < 10 && vv_cursor_valid(c); i++)
            must(vv_cursor_next(c, &err), &err, "next");
    }
    vv_cursor_close(c);
}

static void scan_row(bench *b)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    uint64_t count = 0;
    uint64_t bytes = 0;
    must(vv_cursor_open(b->table, NULL, &c, &err), &err, "cursor");
    int64_t start = now();
    must(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), &err, "seek");
    for (; vv_cursor_valid(c); count++) {
        bytes += vv_cursor_value(c).len;
        must(vv_cursor_next(c, &err), &err, "next");
    }
    row(b, "scan", "-", 1, 1, count, now() - start);
    vv_cursor_close(c);
    if (bytes != count * VALUE_SIZE)
        exit(1);
}

static void timed_row(bench *b, const char *name, unsigned threads, void (*run)(void *arg),
                      bool missing)
{
    int64_t start = now();
    uint64_t done = run_workers(b, threads, run, missing);
    row(b, name, "-", threads, 1, done, now() - start);
}

static void rows_of_reads(bench *b)
{
    timed_row(b, "get", 1, get_worker, false);
    timed_row(b, "get", 2, get_worker, false);
    timed_row(b, "get_missing", 1, get_worker, true);
    timed_row(b, "seek_next_10", 1, seek_worker, false);
    scan_row(b);
}

/* ---- restart ---- */

#define RESTART_VALUE 1024u

/* The child: fill the log until it is killed. */
static void fill_log(bench *b, const vv_options *opt, uint64_t bytes, int tell)
{
    vv_error err = {0};
    static uint8_t value[RESTART_VALUE];
    char key[24];
    vv_rng rng;
    vv_rng_init(&rng, 9);
    open_store(b, opt);
    vv_batch *batch = vv_batch_create(b->db);
    for (uint64_t n = 0; n * RESTART_VALUE < bytes;) {
        vv_batch_clear(batch);
        for (unsigned i = 0; i < 100; i++, n++) {
            vv_rng_bytes(&rng, value, sizeof value);
            must(vv_batch_put(batch, b->table, key_of(n, key), vv_slice_of(value, sizeof value), 0,
                              &err),
                 &err, "batch");
        }
        must(vv_write(b->db, batch, VV_DURABLE_OS, NULL, &err), &err, "fill");
    }
    if (write(tell, "x", 1) != 1)
        _exit(1);
    for (;;)
        (void)pause();
}

static void restart_row(bench *b, const char *name, const vv_options *opt, uint64_t bytes)
{
    int tell[2];
    char x;
    remove_store(b);
    if (pipe(tell) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0)
        fill_log(b, opt, bytes, tell[1]);
    if (child < 0 || read(tell[0], &x, 1) != 1 || kill(child, SIGKILL) != 0 ||
        waitpid(child, NULL, 0) != child)
        exit(1);
    (void)close(tell[0]);
    (void)close(tell[1]);
    int64_t start = now();
    open_store(b, opt);
    int64_t ns = now() - start;
    vv_stats s = {.size = sizeof s};
    vv_stats_read(b->db, &s);
    printf("{\"bench\":\"db\",\"row\":\"%s\",\"log_bytes\":%" PRIu64 ",\"value_bytes\":%u,"
           "\"entries\":%" PRIu64 ",\"seconds\":%.3f,\"version\":\"%s\"}\n",
           name, bytes, RESTART_VALUE, s.recovery_entries, (double)ns / 1e9, vv_version());
    (void)fflush(stdout);
    close_store(b);
    remove_store(b);
}

static void rows_of_restart(bench *b)
{
    uint64_t bytes = b->is_short ? 128 * VV_MIB : VV_GIB;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = UINT64_C(16) << 30; /* a memtable that takes it all: nothing is flushed */
    opt.memtable_size = UINT64_C(2) << 30;
    opt.log_limit = UINT64_C(8) << 30;
    restart_row(b, "restart_unflushed", &opt, bytes);
    opt = (vv_options)VV_OPTIONS_INIT;
    restart_row(b, "restart_defaults", &opt, bytes);
}

int main(int argc, char **argv)
{
    static bench b;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_db directory [--short] [keys]\n");
        return 2;
    }
    b.dir = argv[1];
    b.is_short = argc > 2 && strcmp(argv[2], "--short") == 0;
    b.keys = b.is_short ? 300000 : 2000000;
    if (argc > 2 + b.is_short)
        b.keys = strtoull(argv[2 + b.is_short], NULL, 10);
    b.row_ns = b.is_short ? VV_NS_PER_S / 2 : 3 * VV_NS_PER_S;
    vv_options opt = roomy();
    remove_store(&b);
    open_store(&b, &opt);
    rows_of_commits(&b);
    fill(&b, "fill_random", 1, b.keys, 1);
    fill(&b, "overwrite", 1, b.keys, 2);
    close_store(&b);
    remove_store(&b);
    open_store(&b, &opt);
    fill(&b, "fill_random", BATCH, b.keys, 1);
    fill(&b, "overwrite", BATCH, b.keys, 2);
    queue_rows(&b, 1, b.keys);
    queue_rows(&b, BATCH, b.keys);
    rows_of_reads(&b);
    close_store(&b);
    rows_of_restart(&b);
    return 0;
}
