/*
 * side_rows.c - one row of figures each: writes, synced commits, reads, scans, a reader beside a
 * writer.
 *
 * A row of writes: the time is from the first key to the return of the last commit. Then the store
 * settles (flush, compaction, write-back), and CPU, bytes written and size are taken after that: a
 * debt left behind shows in them and in per_s_settled. A row of reads runs on a settled, warm
 * store.
 */
#include "side_rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"

#define THREADS_MAX 64u

static side_worker workers[THREADS_MAX];

static int64_t now_ns(void)
{
    return vv_clock_mono(vv_clock_real());
}

static int64_t after(double seconds)
{
    return now_ns() + (int64_t)(seconds * 1e9);
}

static void must_be(side_run *run, const side_before *before, uint64_t n, const vv_slice *value,
                    side_depth depth)
{
    const char *wrong = side_check(&run->data, before, n, value, depth);
    if (wrong != NULL)
        side_fail("check", "key %" PRIu64 ": %s", n, wrong);
}

/* ---- one line of output ---------------------------------------------------------------------- */

typedef struct side_row {
    const char *name;
    unsigned threads;
    uint64_t batch;
    uint64_t ops;
    uint64_t cpu_ops;    /* the operations that the CPU is divided by; 0: ops */
    uint64_t user_bytes; /* 0: a row of reads */
    double settle_s;
    side_meter begin;
    side_meter end;     /* of the timed part */
    side_meter settled; /* of a row of writes */
} side_row;

static void print_latency(const vv_hist *h)
{
    if (vv_hist_count(h) == 0)
        return;
    printf(",\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"max_us\":%.1f",
           (double)vv_hist_percentile(h, 0.5) / 1e3, (double)vv_hist_percentile(h, 0.99) / 1e3,
           (double)vv_hist_percentile(h, 0.999) / 1e3, (double)vv_hist_max(h) / 1e3);
}

static double cpu_us(const side_meter *from, const side_meter *to)
{
    return (double)(to->user_ns - from->user_ns + to->system_ns - from->system_ns) / 1e3;
}

static void print_row(side_run *run, const side_row *row)
{
    double seconds = (double)(row->end.wall_ns - row->begin.wall_ns) / 1e9;
    double ops = (double)row->ops;
    double cpu_ops = row->cpu_ops > 0 ? (double)row->cpu_ops : ops;
    bool is_write = row->user_bytes > 0;
    const side_meter *last = is_write ? &row->settled : &row->end;
    printf("{\"bench\":\"side\",\"engine\":\"%s\",\"row\":\"%s%s\",\"kind\":\"%s\","
           "\"durability\":\"%s\",\"threads\":%u,\"batch\":%" PRIu64 ",\"keys\":%" PRIu64
           ",\"value_bytes\":%u,\"cache_mb\":%" PRIu64 ",\"ops\":%" PRIu64
           ",\"seconds\":%.4f,\"per_s\":%.1f",
           side_this.name, row->name, run->suffix, is_write ? "write" : "read",
           run->setup.sync ? "sync" : "os", row->threads, row->batch, run->data.keys,
           run->data.value_size, run->setup.cache_size >> 20, row->ops, seconds, ops / seconds);
    print_latency(&run->hist);
    printf(",\"cpu_us_op\":%.4f", cpu_us(&row->begin, last) / cpu_ops);
    if (is_write) {
        printf(",\"cpu_us_op_before_settling\":%.4f,\"settle_s\":%.2f,\"per_s_settled\":%.1f,"
               "\"written_bytes\":%" PRIu64 ",\"write_amp\":%.3f",
               cpu_us(&row->begin, &row->end) / cpu_ops, row->settle_s,
               ops / (seconds + row->settle_s), last->written - row->begin.written,
               (double)(last->written - row->begin.written) / (double)row->user_bytes);
    }
    printf(",\"disk_mb\":%.1f,\"rss_peak_mb\":%.1f,\"checked\":%" PRIu64,
           (double)side_disk_bytes(run->setup.dir) / 1048576.0, (double)side_rss_peak() / 1048576.0,
           atomic_load(&run->checked));
    if (side_this.counters != NULL) {
        printf(",\"counters\":{");
        side_this.counters(run->db, stdout);
        printf("}");
    }
    printf("}\n");
    (void)fflush(stdout);
}

static void row_begin(side_run *run, side_row *row)
{
    vv_hist_reset(&run->hist);
    atomic_store(&run->checked, 0);
    side_rss_reset();
    side_meter_read(&row->begin);
}

static void row_end(side_run *run, side_row *row)
{
    side_meter_read(&row->end);
    if (row->user_bytes > 0) {
        int64_t start = now_ns();
        side_this.settle(run->db);
        row->settle_s = (double)(now_ns() - start) / 1e9;
        row->settle_s += side_wait_until_quiet(SIDE_SETTLE_LIMIT_S);
        side_meter_read(&row->settled);
    }
    print_row(run, row);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void run_workers(side_run *run, side_worker like, unsigned threads, void (*fn)(void *arg),
                        side_row *row)
{
    vv_thread *t[THREADS_MAX];
    vv_error err = {0};
    for (unsigned i = 0; i < threads; i++) {
        memcpy(&workers[i], &like, sizeof like);
        workers[i].index = i;
        if (vv_threads_real()->create("side", VV_THREAD_NORMAL, fn, &workers[i], &t[i], &err) !=
            VV_OK)
            side_fail("thread", "%s", err.msg);
    }
    for (unsigned i = 0; i < threads; i++) {
        vv_threads_real()->join(t[i]);
        row->ops += workers[i].ops;
        vv_hist_merge(&run->hist, &workers[i].hist);
    }
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void write_index(side_worker *w, side_writer *to, uint64_t index, uint64_t batch)
{
    static _Thread_local uint8_t value[SIDE_VALUE_MAX];
    char key[SIDE_KEY];
    char end[SIDE_KEY];
    side_run *run = w->run;
    uint64_t n = side_perm_at(&w->pass->perm, index) * w->pass->span;
    vv_slice k = side_key(n, false, key);
    if (w->pass->kind == SIDE_PASS_PUT)
        (batch == 1 ? side_this.put
                    : side_this.batch_put)(to, k, side_value(&run->data, w->pass, n, value));
    else if (w->pass->span == 1)
        side_this.del(to, k);
    else
        side_this.del_range(to, k, side_key(n + w->pass->span, false, end));
}

void side_write_all(side_worker *w, uint64_t batch, uint64_t limit)
{
    side_pass *pass = w->pass;
    side_writer *to = side_this.writer_open(w->run->db);
    int64_t last = now_ns();
    uint64_t end = vv_min_u64(pass->perm.n, limit);
    for (uint64_t at = 0; at < end;) {
        uint64_t next = vv_min_u64(at + batch, end);
        atomic_store_explicit(&pass->started, next, memory_order_release);
        for (uint64_t i = at; i < next; i++)
            write_index(w, to, i, batch);
        if (batch > 1)
            side_this.batch_commit(to);
        atomic_store_explicit(&pass->done, next, memory_order_release);
        w->ops += next - at;
        at = next;
        int64_t now = now_ns();
        vv_hist_add(&w->hist, (uint64_t)(now - last));
        last = now;
        if (now >= w->until_ns ||
            (w->stop != NULL && atomic_load_explicit(w->stop, memory_order_relaxed)))
            break;
    }
    side_this.writer_close(to);
}

side_pass *side_begin_pass(side_run *run, side_pass_kind kind, uint64_t span, bool ordered)
{
    side_pass *pass = side_pass_begin(&run->data, kind, span, ordered);
    if (pass == NULL)
        side_fail("rows", "more than %u passes", SIDE_PASSES);
    return pass;
}

void side_write_row(side_run *run, const char *name, side_pass *pass, uint64_t batch,
                    uint64_t limit, bool whole)
{
    static side_worker w;
    side_row row = {.name = name, .threads = 1, .batch = batch};
    row_begin(run, &row);
    int64_t until = whole ? INT64_MAX : after(run->cap_s);
    w = (side_worker){.run = run, .pass = pass, .until_ns = until};
    side_write_all(&w, batch, limit);
    row.ops = w.ops;
    row.user_bytes = w.ops * (SIDE_KEY + (pass->kind == SIDE_PASS_PUT ? run->data.value_size : 0));
    vv_hist_merge(&run->hist, &w.hist);
    row_end(run, &row);
}

static void sync_worker(void *arg)
{
    side_worker *w = arg;
    side_writer *to = side_this.writer_open(w->run->db);
    int64_t last = now_ns();
    while (last < w->until_ns) {
        uint64_t index = atomic_fetch_add(&w->pass->started, 1);
        if (index >= w->pass->perm.n)
            break;
        write_index(w, to, index, 1);
        int64_t now = now_ns();
        vv_hist_add(&w->hist, (uint64_t)(now - last));
        last = now;
        w->ops++;
    }
    side_this.writer_close(to);
}

void side_sync_row(side_run *run, const char *name, unsigned threads)
{
    side_row row = {.name = name, .threads = threads, .batch = 1};
    side_pass *pass = side_begin_pass(run, SIDE_PASS_PUT, 1, false);
    row_begin(run, &row);
    run_workers(run, (side_worker){.run = run, .pass = pass, .until_ns = after(run->row_s)},
                threads, sync_worker, &row);
    uint64_t started = vv_min_u64(atomic_load(&pass->started), pass->perm.n);
    atomic_store(&pass->started, started);
    atomic_store(&pass->done, started); /* every thread waited for its own */
    row.user_bytes = row.ops * (SIDE_KEY + run->data.value_size);
    row_end(run, &row);
}

/* ---- reads ----------------------------------------------------------------------------------- */

void side_get_worker(void *arg)
{
    side_worker *w = arg;
    side_run *run = w->run;
    side_reader *r = side_this.reader_open(run->db);
    side_before before;
    vv_rng rng;
    char key[SIDE_KEY];
    vv_rng_init(&rng, run->data.seed + 77 * (w->index + 1) + (uint64_t)w->until_ns);
    side_before_read(&run->data, &before);
    for (int64_t last = now_ns(); last < w->until_ns; w->ops++) {
        vv_slice value;
        uint64_t n = vv_rng_below(&rng, run->data.keys);
        if (w->stop != NULL)
            side_before_read(&run->data, &before); /* a writer is beside us */
        bool found = side_this.get(r, side_key(n, w->absent, key), &value);
        if (w->absent && found)
            side_fail("check", "key %" PRIu64 ": its absent neighbour was found", n);
        if (!w->absent)
            must_be(run, &before, n, found ? &value : NULL, SIDE_WHOLE);
        if (found)
            side_this.got(r);
        int64_t now = now_ns();
        vv_hist_add(&w->hist, (uint64_t)(now - last));
        last = now;
    }
    atomic_fetch_add(&run->checked, w->ops);
    side_this.reader_close(r);
}

/* Key numbers in order from `next`; those skipped must be allowed to be absent. */
typedef struct side_walk {
    side_run *run;
    const side_before *before;
    uint64_t next;
    uint64_t items; /* visited so far */
    uint64_t limit;
    side_depth depth;
    char key[SIDE_KEY]; /* of next */
} side_walk;

static void walk_begin(side_walk *walk, side_run *run, const side_before *before, uint64_t from)
{
    *walk = (side_walk){.run = run, .before = before, .next = from, .limit = UINT64_MAX};
    (void)side_key(from, false, walk->key);
}

/* Adds 2 to the decimal digits. */
static inline void key_advance(char key[SIDE_KEY])
{
    unsigned i = SIDE_KEY - 1;
    key[i] = (char)(key[i] + 2);
    while (key[i] > '9' && i > 0) {
        key[i] = (char)(key[i] - 10);
        key[--i]++;
    }
}

static void walk_gap(side_walk *walk, uint64_t to)
{
    for (; walk->next < to; walk->next++)
        must_be(walk->run, walk->before, walk->next, NULL, SIDE_WHOLE);
    (void)side_key(to, false, walk->key);
}

static bool walk_visit(void *ctx, vv_slice key, vv_slice value)
{
    side_walk *walk = ctx;
    if (key.len != SIDE_KEY || memcmp(key.data, walk->key, SIDE_KEY) != 0) {
        uint64_t n = side_key_number(key);
        if (n < walk->next || n >= walk->run->data.keys)
            side_fail("check", "a key out of order, or one that was never written, after %" PRIu64,
                      walk->next);
        walk_gap(walk, n);
    }
    must_be(walk->run, walk->before, walk->next, &value, walk->depth);
    walk->next++;
    walk->items++;
    key_advance(walk->key);
    return walk->items < walk->limit;
}

void side_seek_worker(void *arg)
{
    side_worker *w = arg;
    side_run *run = w->run;
    side_reader *r = side_this.reader_open(run->db);
    side_before before;
    side_walk walk;
    vv_rng rng;
    vv_rng_init(&rng, run->data.seed + 99 * (w->index + 1));
    side_before_read(&run->data, &before);
    for (int64_t last = now_ns(); last < w->until_ns; w->ops++) {
        walk_begin(&walk, run, &before, vv_rng_below(&rng, run->data.keys - w->items));
        char from[SIDE_KEY];
        memcpy(from, walk.key, SIDE_KEY);
        walk.limit = w->items;
        side_this.scan(r, vv_slice_of(from, SIDE_KEY), w->held, walk_visit, &walk);
        if (walk.items < walk.limit)
            side_fail("check", "a seek ended after %" PRIu64 " items", walk.items);
        int64_t now = now_ns();
        vv_hist_add(&w->hist, (uint64_t)(now - last));
        last = now;
    }
    atomic_fetch_add(&run->checked, w->ops * w->items);
    side_this.reader_close(r);
}

uint64_t side_scan_all(side_run *run, side_depth depth)
{
    side_reader *r = side_this.reader_open(run->db);
    side_before before;
    side_walk walk;
    side_before_read(&run->data, &before);
    walk_begin(&walk, run, &before, 0);
    walk.depth = depth;
    side_this.scan(r, vv_slice_of(NULL, 0), false, walk_visit, &walk);
    walk_gap(&walk, run->data.keys);
    side_this.reader_close(r);
    atomic_fetch_add(&run->checked, walk.items);
    return walk.items;
}

void side_scan_row(side_run *run, const char *name)
{
    side_row row = {.name = name, .threads = 1, .batch = 1};
    (void)side_scan_all(run, SIDE_WHOLE);
    row_begin(run, &row);
    int64_t until = after(run->row_s);
    do
        row.ops += side_scan_all(run, SIDE_ENDS);
    while (now_ns() < until);
    row_end(run, &row);
}

void side_read_row(side_run *run, const char *name, unsigned threads, side_worker like,
                   void (*fn)(void *arg))
{
    side_row row = {.name = name, .threads = threads, .batch = 1};
    row_begin(run, &row);
    like.run = run;
    like.until_ns = after(run->row_s);
    run_workers(run, like, threads, fn, &row);
    row_end(run, &row);
}

void side_warm(side_run *run)
{
    static side_worker w;
    (void)side_scan_all(run, SIDE_WHOLE);
    w = (side_worker){.run = run, .until_ns = after(run->row_s / 2)};
    side_get_worker(&w);
}

/* ---- a reader beside a writer ---------------------------------------------------------------- */

/* Overwrites in random order, pass after pass, until told to stop. */
static void endless_writer(void *arg)
{
    side_worker *w = arg;
    while (!atomic_load(w->stop)) {
        w->pass = side_begin_pass(w->run, SIDE_PASS_PUT, 1, false);
        side_write_all(w, 1, UINT64_MAX);
    }
}

void side_beside_row(side_run *run)
{
    static side_worker writer;
    static side_worker reader;
    static _Atomic bool stop;
    vv_thread *thread;
    vv_error err = {0};
    side_row rows[2] = {{.name = "readwhilewriting", .threads = 1, .batch = 1},
                        {.name = "readwhilewriting+writer", .threads = 1, .batch = 1}};
    atomic_store(&stop, false);
    row_begin(run, &rows[0]);
    rows[1].begin = rows[0].begin;
    int64_t until = after(run->row_s);
    writer = (side_worker){.run = run, .until_ns = INT64_MAX, .stop = &stop};
    reader = (side_worker){.run = run, .until_ns = until, .stop = &stop};
    if (vv_threads_real()->create("writer", VV_THREAD_NORMAL, endless_writer, &writer, &thread,
                                  &err) != VV_OK)
        side_fail("thread", "%s", err.msg);
    side_get_worker(&reader);
    atomic_store(&stop, true);
    vv_threads_real()->join(thread);
    rows[0].ops = reader.ops;
    rows[0].cpu_ops = reader.ops + writer.ops; /* one process: their CPU cannot be told apart */
    vv_hist_merge(&run->hist, &reader.hist);
    row_end(run, &rows[0]);
    vv_hist_reset(&run->hist);
    vv_hist_merge(&run->hist, &writer.hist);
    rows[1].ops = writer.ops;
    rows[1].cpu_ops = rows[0].cpu_ops;
    rows[1].user_bytes = writer.ops * (SIDE_KEY + run->data.value_size);
    side_meter_read(&rows[1].end);
    rows[1].end.wall_ns = rows[0].end.wall_ns;
    side_this.settle(run->db);
    rows[1].settle_s = side_wait_until_quiet(SIDE_SETTLE_LIMIT_S);
    side_meter_read(&rows[1].settled);
    print_row(run, &rows[1]);
}

/* ---- the harness itself ---- */

void side_cost_row(side_run *run)
{
    static uint8_t value[SIDE_VALUE_MAX];
    static vv_hist hist;
    side_before before;
    char key[SIDE_KEY];
    const uint64_t count = 1000000;
    side_pass *pass = side_begin_pass(run, SIDE_PASS_PUT, 1, false);
    atomic_store(&pass->started, pass->perm.n);
    atomic_store(&pass->done, pass->perm.n);
    side_before_read(&run->data, &before);
    int64_t at[4] = {now_ns()};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = side_perm_at(&pass->perm, i % pass->perm.n);
        (void)side_key(n, false, key);
        (void)side_value(&run->data, pass, n, value);
        vv_hist_add(&hist, (uint64_t)(now_ns() - at[0]));
    }
    at[1] = now_ns();
    uint64_t n = side_perm_at(&pass->perm, (count - 1) % pass->perm.n);
    vv_slice v = vv_slice_of(value, run->data.value_size);
    for (uint64_t i = 0; i < count; i++) {
        (void)side_key(n, false, key);
        must_be(run, &before, n, &v, SIDE_WHOLE);
        vv_hist_add(&hist, (uint64_t)(now_ns() - at[1]));
    }
    at[2] = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        side_walk walk;
        walk_begin(&walk, run, &before, n);
        walk.depth = SIDE_ENDS;
        for (unsigned k = 0; k < 8; k++) {
            walk.next = n;
            (void)walk_visit(&walk, vv_slice_of(walk.key, SIDE_KEY), v);
        }
    }
    at[3] = now_ns();
    printf("{\"bench\":\"side\",\"engine\":\"harness\",\"row\":\"cost\",\"write_ns\":%.1f,"
           "\"read_ns\":%.1f,\"scan_item_ns\":%.1f}\n",
           (double)(at[1] - at[0]) / (double)count, (double)(at[2] - at[1]) / (double)count,
           (double)(at[3] - at[2]) / (double)count / 8);
}
