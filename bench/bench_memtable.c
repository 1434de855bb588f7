/*
 * bench_memtable.c - what the memtable costs: nanoseconds an operation, one JSON line a figure.
 *
 *   bench_memtable [keys] [value bytes]      default 500000 and 100
 *
 * Keys are a table id and 16 decimal digits in random order, so that their first bytes are all
 * equal. A put is encode, prepare and apply. "recycled" is a memtable on the arena of one before
 * it, the state of a running engine. Backs the claims of docs/PERFORMANCE.md about writes and reads
 * that stay in memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "engine/cursor.h"
#include "engine/memtable.h"
#include "io/env.h"

#define TABLE 7u
#define KEY_LEN 20u
#define BATCH 1000u
#define SAMPLE 64u
#define FILL_SAMPLE 61u /* no divisor of what a leaf holds */

typedef struct bench {
    uint32_t keys;
    uint32_t value_len;
    uint64_t size;
    uint32_t *order;           /* a permutation of the keys */
    uint8_t (*visit)[KEY_LEN]; /* keys in another random order, written out beforehand */
    vv_buf buf;
    vv_hist hist;
    int64_t version;
    engine_memtable *mt;
    uint64_t sink; /* what was read, so that nothing is optimised away */
} bench;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_memtable: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static void report(bench *b, const char *figure, int64_t ns, uint64_t count)
{
    const char *commit = getenv("VARVE_COMMIT");
    (void)printf("{\"bench\":\"memtable\",\"figure\":\"%s\",\"keys\":%u,\"value_bytes\":%u,"
                 "\"ns\":%.1f,\"per_second\":%.0f,\"p50\":%" PRIu64 ",\"p99\":%" PRIu64
                 ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 ",\"commit\":\"%s\"}\n",
                 figure, b->keys, b->value_len, (double)ns / (double)count,
                 (double)count * 1e9 / (double)ns, vv_hist_percentile(&b->hist, 0.5),
                 vv_hist_percentile(&b->hist, 0.99), vv_hist_percentile(&b->hist, 0.999),
                 vv_hist_max(&b->hist), commit == NULL ? "unknown" : commit);
    (void)fflush(stdout);
    vv_hist_reset(&b->hist);
}

static void put_key(uint8_t *key, uint32_t number)
{
    vv_put_be32(key, TABLE);
    uint64_t x = number;
    for (unsigned i = KEY_LEN; i-- > 4; x /= 10)
        key[i] = (uint8_t)('0' + x % 10);
}

static void add_put(bench *b, uint32_t number)
{
    static uint8_t value[1024];
    uint8_t key[KEY_LEN];
    put_key(key, number);
    vv_put_le32(value, number);
    engine_op op = {.kind = ENGINE_PUT,
                    .key = vv_slice_of(key, KEY_LEN),
                    .value = vv_slice_of(value, b->value_len)};
    engine_entry_add(&b->buf, &op);
}

/* Keys order[from .. from + count), or the numbers themselves when ascending. */
static void put(bench *b, uint32_t from, uint32_t count, bool ascending)
{
    vv_error err;
    vv_buf_reset(&b->buf);
    size_t begin = engine_entry_begin(&b->buf);
    for (uint32_t i = 0; i < count; i++)
        add_put(b, ascending ? from + i : b->order[from + i]);
    engine_entry_finish(&b->buf, begin, count);
    vv_slice payload = vv_buf_slice(&b->buf);
    must(engine_memtable_prepare(b->mt, payload.len, count, &err), &err);
    must(engine_memtable_apply(b->mt, ++b->version, payload, &err), &err);
}

/* One in FILL_SAMPLE operations is timed by itself for the percentiles. */
static void fill(bench *b, const char *figure, uint32_t batch, bool ascending)
{
    int64_t start = now();
    for (uint32_t i = 0; i + batch <= b->keys; i += batch) {
        bool timed = i / batch % FILL_SAMPLE == 0;
        int64_t before = timed ? now() : 0;
        put(b, i, batch, ascending);
        if (timed)
            vv_hist_add(&b->hist, (uint64_t)(now() - before) / batch);
    }
    report(b, figure, now() - start, b->keys / batch * batch);
}

/* Note the mean of the block of operations that ends with the i-th. */
static inline void sample(bench *b, uint32_t i, int64_t *since)
{
    if (i % SAMPLE != SAMPLE - 1)
        return;
    int64_t t = now();
    vv_hist_add(&b->hist, (uint64_t)(t - *since) / SAMPLE);
    *since = t;
}

/* The keys to look for, each offset by so much. */
static void plan_visits(bench *b, uint32_t offset)
{
    for (uint32_t i = 0; i < b->keys; i++)
        put_key(b->visit[i], b->order[(uint64_t)i * 7919 % b->keys] + offset);
}

static void bench_get(bench *b, const char *figure, bool present, bool dependent)
{
    engine_item item;
    uint32_t carry = 0;
    uint64_t found = 0;
    int64_t start = now();
    int64_t since = start;
    for (uint32_t i = 0; i < b->keys; i++) {
        vv_slice key = vv_slice_of(b->visit[i + carry], KEY_LEN);
        if (engine_memtable_get(b->mt, key, INT64_MAX, &item) == VV_OK) {
            found++;
            if (dependent)
                carry = item.value.data[8]; /* zero, but only the load knows */
        }
        sample(b, i, &since);
    }
    int64_t ns = now() - start;
    if (found != (present ? b->keys : 0))
        must(VV_CORRUPT,
             &(vv_error){.msg = "a get found what it should not, or not what it should"});
    b->sink += carry;
    report(b, figure, ns, b->keys);
}

static engine_cursor *open_cursor(bench *b)
{
    static const uint8_t lower[] = {0, 0, 0, TABLE};
    static const uint8_t upper[] = {0, 0, 0, TABLE + 1};
    vv_error err;
    engine_source *src;
    engine_cursor *c;
    must(engine_memtable_source(b->mt, &src, &err), &err);
    engine_cursor_options opt = {.read = {.version = b->version},
                                 .lower = vv_slice_of(lower, 4),
                                 .upper = vv_slice_of(upper, 4)};
    must(engine_cursor_create(&src, 1, &opt, NULL, NULL, &c, &err), &err);
    return c;
}

static void bench_seek(bench *b, uint32_t steps)
{
    vv_error err;
    engine_cursor *c = open_cursor(b);
    uint32_t rounds = b->keys / 5;
    int64_t start = now();
    int64_t since = start;
    for (uint32_t i = 0; i < rounds; i++) {
        must(engine_cursor_seek(c, vv_slice_of(b->visit[i], KEY_LEN), &err), &err);
        for (uint32_t n = 0; n < steps && engine_cursor_valid(c); n++) {
            b->sink += engine_cursor_item(c)->value.data[0];
            must(engine_cursor_next(c, &err), &err);
        }
        sample(b, i, &since);
    }
    int64_t ns = now() - start;
    engine_cursor_close(c);
    report(b, steps == 10 ? "seek+10" : "seek", ns, rounds);
}

static void bench_scan(bench *b, bool reverse)
{
    vv_error err;
    engine_cursor *c = open_cursor(b);
    uint32_t count = 0;
    int64_t start = now();
    int64_t since = start;
    must(reverse ? engine_cursor_seek_below(c, vv_slice_of(NULL, 0), &err)
                 : engine_cursor_seek(c, vv_slice_of(NULL, 0), &err),
         &err);
    for (; engine_cursor_valid(c); count++) {
        b->sink += engine_cursor_item(c)->value.data[0];
        sample(b, count, &since);
        must(reverse ? engine_cursor_prev(c, &err) : engine_cursor_next(c, &err), &err);
    }
    int64_t ns = now() - start;
    engine_cursor_close(c);
    if (count != b->keys)
        must(VV_CORRUPT, &(vv_error){.msg = "a scan did not see every key"});
    report(b, reverse ? "scan backward" : "scan", ns, count);
}

static void renew(bench *b, engine_memtable_pool *pool)
{
    vv_error err;
    engine_memtable_unref(b->mt);
    must(engine_memtable_create_in(pool, b->size, &b->mt, &err), &err);
}

int main(int argc, char **argv)
{
    static bench b;
    b.keys = argc > 1 ? (uint32_t)atol(argv[1]) : 500000;
    b.value_len = argc > 2 ? (uint32_t)atol(argv[2]) : 100;
    if (b.keys < BATCH || b.value_len < 16 || b.value_len > 1024) {
        (void)fprintf(stderr, "usage: bench_memtable [keys >= 1000] [value bytes 16..1024]\n");
        return 2;
    }
    b.size = vv_align_up((uint64_t)b.keys * (b.value_len + 150), VV_MIB);
    vv_buf_init(&b.buf, 4 * VV_MIB);
    b.order = vv_alloc(b.keys * sizeof *b.order);
    b.visit = vv_alloc(b.keys * sizeof *b.visit);
    vv_error err;
    engine_memtable_pool *pool;
    if (b.order == NULL || b.visit == NULL)
        return 1;
    must(engine_memtable_pool_create(NULL, 1, 1, &pool, &err), &err);
    vv_rng rng;
    vv_rng_init(&rng, 42);
    for (uint32_t i = 0; i < b.keys; i++) {
        uint32_t at = (uint32_t)vv_rng_below(&rng, i + 1);
        b.order[i] = b.order[at];
        b.order[at] = i;
    }
    must(engine_memtable_create(b.size, NULL, &b.mt, &err), &err);
    fill(&b, "fill, fresh memory", 1, false);
    int64_t start = now();
    must(engine_memtable_pool_warm(pool, b.size, &err), &err);
    report(&b, "populate an arena", now() - start, 1);
    renew(&b, pool);
    fill(&b, "fill", 1, false);
    (void)printf("{\"bench\":\"memtable\",\"figure\":\"bytes an entry\",\"keys\":%u,"
                 "\"value_bytes\":%u,\"bytes\":%.1f}\n",
                 b.keys, b.value_len, (double)engine_memtable_bytes(b.mt) / b.keys);
    plan_visits(&b, b.keys);
    bench_get(&b, "miss", false, false);
    plan_visits(&b, 0);
    bench_get(&b, "get", true, false);
    bench_get(&b, "get, dependent", true, true);
    bench_seek(&b, 0);
    bench_seek(&b, 10);
    bench_scan(&b, false);
    bench_scan(&b, true);
    renew(&b, pool);
    fill(&b, "fill, batches of 1000", BATCH, false);
    renew(&b, pool);
    fill(&b, "fill, ascending", 1, true);
    renew(&b, pool);
    fill(&b, "fill, ascending batches of 1000", BATCH, true);
    renew(&b, pool);
    b.size += (uint64_t)b.keys * (b.value_len + 64); /* room for the second versions */
    renew(&b, pool);
    fill(&b, "fill, larger arena", 1, false);
    fill(&b, "overwrite", 1, false);
    engine_memtable_unref(b.mt);
    engine_memtable_pool_unref(pool);
    vv_buf_fini(&b.buf);
    vv_free(b.order);
    vv_free(b.visit);
    return b.sink == 0;
}
