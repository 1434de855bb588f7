/*
 * bench_lsm.c - an engine alone, without log and server: what filling, flushing, compacting and
 * reading cost. One JSON line a figure.
 *
 *   bench_lsm [keys] [value bytes] [directory] [cache MiB] [form] [data] [threshold] [engine]
 *             default 1000000 100 ./bench-lsm 256 auto half 0 lsm
 *
 * form: auto, none, lz4, zstd (with dictionaries where they pay) or zstd-plain (never any).
 * threshold: bytes from which values lie apart, 0: the default, 4294967295: never.
 * data: half (random bytes and as many repeated ones) or record (JSON as a sensor writes it).
 *
 * Keys are a table id and 16 decimal digits, filled in random order, 100 a batch, with one
 * background thread for flush and compaction. Reads follow in random order: each waits for the one
 * before, the key depends on the value read. "flushed" figures are with the data in level 0 and
 * below as it falls; "settled" ones after all compaction. Backs the claims of docs/PERFORMANCE.md
 * about runs.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "btree/btree.h"
#include "io/env.h"
#include "lsm/lsm.h"

#define TABLE 7u
#define KEY_LEN 20u
#define BATCH 100u
#define BATCH_BYTES (1u * 1024 * 1024)
#define READS 1000000u

typedef struct bench {
    uint32_t keys;
    uint32_t value_len;
    uint64_t cache_size;
    const char *form;
    bool records;
    uint32_t threshold;
    const char *dir;
    vv_env env;
    engine *e;
    int64_t version;
    uint32_t *order;
    vv_hist hist;
    _Atomic bool stop;
    _Atomic int64_t busy_ns; /* of the background thread */
} bench;

static const engine_ops *ops = &lsm_ops;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_lsm: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static void report(bench *b, const char *figure, int64_t ns, uint64_t count, double mb)
{
    const char *commit = getenv("VARVE_COMMIT");
    (void)printf(
        "{\"bench\":\"%s\",\"figure\":\"%s\",\"keys\":%u,\"value_bytes\":%u,"
        "\"form\":\"%s\",\"data\":\"%s\",\"ns\":%.1f,\"per_second\":%.0f,\"mb_per_second\":%.1f,"
        "\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64 ",\"commit\":\"%s\"}\n",
        ops->name, figure, b->keys, b->value_len, b->form, b->records ? "record" : "half",
        (double)ns / (double)count, (double)count * 1e9 / (double)ns, mb * 1e9 / (double)ns,
        vv_hist_percentile(&b->hist, 0.5), vv_hist_percentile(&b->hist, 0.99),
        vv_hist_max(&b->hist), commit == NULL ? "unknown" : commit);
    (void)fflush(stdout);
    vv_hist_reset(&b->hist);
}

static void report_stats(bench *b, const char *figure)
{
    engine_stats s;
    ops->stats(b->e, &s);
    double user = (double)b->keys * (KEY_LEN + b->value_len);
    (void)printf(
        "{\"bench\":\"%s\",\"figure\":\"%s\",\"level_runs\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64
        ",%" PRIu64 "],\"disk_mb\":%.1f,\"index_mb\":%.1f,\"flushes\":%" PRIu64
        ",\"flush_mb\":%.1f,\"compactions\":%" PRIu64 ",\"compaction_mb\":%.1f,"
        "\"write_amplification_without_log\":%.2f,\"cache_mb\":%.1f,\"hits\":%" PRIu64
        ",\"misses\":%" PRIu64 ",\"filter_skips\":%" PRIu64 ",\"background_s\":%.2f}\n",
        ops->name, figure, s.level_runs[0], s.level_runs[1], s.level_runs[2], s.level_runs[3],
        (double)s.disk_bytes / 1e6, (double)s.index_bytes / 1e6, s.flushes,
        (double)s.flush_bytes / 1e6, s.compactions, (double)s.compaction_write_bytes / 1e6,
        (double)(s.flush_bytes + s.compaction_write_bytes) / user, (double)s.cache_bytes / 1e6,
        s.cache_hits, s.cache_misses, s.filter_skips, (double)atomic_load(&b->busy_ns) / 1e9);
}

static void put_key(uint8_t *key, uint64_t number)
{
    vv_put_be32(key, TABLE);
    for (unsigned i = KEY_LEN; i-- > 4; number /= 10)
        key[i] = (uint8_t)('0' + number % 10);
}

static void work_until_stopped(void *arg)
{
    bench *b = arg;
    vv_error err;
    while (!atomic_load(&b->stop)) {
        int64_t from = now();
        vv_status st = ops->work(b->e, &err);
        if (st == VV_NOT_FOUND) {
            vv_clock_sleep(b->env.clock, 100 * VV_NS_PER_US);
            continue;
        }
        must(st, &err);
        atomic_fetch_add(&b->busy_ns, now() - from);
    }
}

static void settle(bench *b)
{
    vv_error err;
    vv_status st;
    while ((st = ops->work(b->e, &err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        must(st, &err);
}

/* Values: half random bytes, half repeated, so that lz4 has what real records give it. */
static void fill_record(uint8_t *value, uint32_t len, uint32_t number)
{
    vv_rng rng;
    vv_rng_init(&rng, number);
    size_t at = 4;
    while (at < len) {
        char text[256];
        int n = snprintf(text, sizeof text,
                         "{\"device\":\"sensor-%05" PRIu64 "\",\"site\":\"plant-%" PRIu64
                         "\",\"temperature\":%" PRIu64 ".%02" PRIu64 ",\"humidity\":%" PRIu64
                         ",\"status\":\"%s\",\"ts\":%" PRIu64 "}",
                         vv_rng_below(&rng, 5000), vv_rng_below(&rng, 3),
                         15 + vv_rng_below(&rng, 12), vv_rng_below(&rng, 100),
                         vv_rng_below(&rng, 100), vv_rng_one_in(&rng, 20) ? "warn" : "ok",
                         1700000000000u + (uint64_t)number * 137);
        size_t take = (size_t)n < len - at ? (size_t)n : len - at;
        memcpy(value + at, text, take);
        at += take;
    }
    vv_put_le32(value, number);
}

static void fill_value(uint8_t *value, uint32_t len, uint32_t number)
{
    vv_rng rng;
    vv_rng_init(&rng, number);
    vv_rng_bytes(&rng, value, len / 2);
    memset(value + len / 2, 'v', len - len / 2);
    vv_put_le32(value, number);
}

static void fill(bench *b)
{
    vv_error err;
    vv_buf buf;
    vv_buf_init(&buf, 64 * VV_MIB);
    uint8_t *value = malloc(b->value_len);
    int64_t waited = 0;
    int64_t from = now();
    for (uint32_t i = 0; i < b->keys;) {
        vv_buf_reset(&buf);
        size_t at = engine_entry_begin(&buf);
        uint32_t n = 0;
        for (; n < BATCH && buf.len < BATCH_BYTES && i < b->keys; n++, i++) {
            uint8_t key[KEY_LEN];
            put_key(key, b->order[i]);
            (b->records ? fill_record : fill_value)(value, b->value_len, b->order[i]);
            engine_entry_add(&buf, &(engine_op){.kind = ENGINE_PUT,
                                                .key = vv_slice_of(key, KEY_LEN),
                                                .value = vv_slice_of(value, b->value_len)});
        }
        engine_entry_finish(&buf, at, n);
        int64_t start = now();
        vv_status st;
        while ((st = ops->prepare(b->e, buf.len, n, &err)) == VV_BUSY)
            vv_clock_sleep(b->env.clock, 200 * VV_NS_PER_US);
        int64_t pause = ops->throttle_ns(b->e, buf.len);
        if (pause > 0)
            vv_clock_sleep(b->env.clock, pause);
        waited += now() - start;
        must(st, &err);
        must(ops->apply(b->e, ++b->version, 0, vv_buf_slice(&buf), &err), &err);
        ops->publish(b->e, b->version);
        vv_hist_add(&b->hist, (uint64_t)(now() - start));
    }
    int64_t ns = now() - from;
    report(b, "fill_random", ns, b->keys, (double)b->keys * (KEY_LEN + b->value_len) / 1e6);
    report(b, "of_it_waiting", waited + 1, b->keys, 0);
    vv_buf_fini(&buf);
    free(value);
}

static void flush_all(bench *b, const char *figure)
{
    engine_stats before;
    engine_stats after;
    vv_error err;
    must(ops->freeze(b->e, &err), &err);
    ops->stats(b->e, &before);
    int64_t from = now();
    do {
        vv_status st = ops->work(b->e, &err);
        if (st == VV_NOT_FOUND)
            break;
        must(st, &err);
        ops->stats(b->e, &after);
    } while (after.memtable_count > 1);
    if (before.memtable_items > 0)
        report(b, figure, now() - from, before.memtable_items,
               (double)before.memtable_items * (KEY_LEN + b->value_len) / 1e6);
}

static void read_random(bench *b, const char *figure, bool missing, uint32_t reads)
{
    vv_error err;
    vv_rng rng;
    vv_rng_init(&rng, 11);
    uint64_t chain = 0;
    uint64_t found = 0;
    engine_read read = {.version = b->version};
    int64_t from = now();
    for (uint32_t i = 0; i < reads; i++) {
        uint8_t key[KEY_LEN];
        /* The key depends on the value before, so that reads do not overlap. */
        uint64_t number = vv_rng_below(&rng, b->keys) ^ (chain & 0);
        put_key(key, missing ? number + (uint64_t)b->keys * 10 + 5000000000u : number);
        if (missing) /* inside of the key range, so that bounds do not answer */
            put_key(key, number), key[KEY_LEN - 1] = 'x';
        engine_value value;
        int64_t start = now();
        vv_status st = ops->get(b->e, vv_slice_of(key, KEY_LEN), &read, &value, &err);
        vv_hist_add(&b->hist, (uint64_t)(now() - start));
        if (st == VV_NOT_FOUND)
            continue;
        must(st, &err);
        chain += vv_get_le32(value.data.data);
        found += vv_get_le32(value.data.data) == number;
        engine_value_release(&value);
    }
    report(b, figure, now() - from, reads, 0);
    if (found != (missing ? 0 : reads)) {
        (void)fprintf(stderr, "bench_lsm: %s: %" PRIu64 " of %u found\n", figure, found, reads);
        exit(1);
    }
}

static void scan(bench *b, const char *figure)
{
    vv_error err;
    uint8_t lower[4];
    uint8_t upper[4];
    vv_put_be32(lower, TABLE);
    vv_put_be32(upper, TABLE + 1);
    engine_cursor_options opt = {.read = {.version = b->version},
                                 .lower = vv_slice_of(lower, 4),
                                 .upper = vv_slice_of(upper, 4)};
    engine_cursor *c = NULL;
    int64_t from = now();
    must(ops->cursor(b->e, &opt, &c, &err), &err);
    must(engine_cursor_seek(c, (vv_slice){0}, &err), &err);
    uint64_t count = 0;
    while (engine_cursor_valid(c)) {
        count++;
        must(engine_cursor_next(c, &err), &err);
    }
    int64_t ns = now() - from;
    engine_cursor_close(c);
    report(b, figure, ns, count, (double)count * (KEY_LEN + b->value_len) / 1e6);
    if (count != b->keys) {
        (void)fprintf(stderr, "bench_lsm: %s: %" PRIu64 " keys of %u\n", figure, count, b->keys);
        exit(1);
    }
}

static void seek_some(bench *b, const char *figure, unsigned steps, uint32_t seeks)
{
    vv_error err;
    uint8_t lower[4];
    uint8_t upper[4];
    vv_put_be32(lower, TABLE);
    vv_put_be32(upper, TABLE + 1);
    engine_cursor_options opt = {.read = {.version = b->version},
                                 .lower = vv_slice_of(lower, 4),
                                 .upper = vv_slice_of(upper, 4)};
    engine_cursor *c = NULL;
    vv_rng rng;
    vv_rng_init(&rng, 12);
    must(ops->cursor(b->e, &opt, &c, &err), &err);
    int64_t from = now();
    for (uint32_t i = 0; i < seeks; i++) {
        uint8_t key[KEY_LEN];
        put_key(key, vv_rng_below(&rng, b->keys));
        int64_t start = now();
        must(engine_cursor_seek(c, vv_slice_of(key, KEY_LEN), &err), &err);
        for (unsigned j = 0; j < steps && engine_cursor_valid(c); j++)
            must(engine_cursor_next(c, &err), &err);
        vv_hist_add(&b->hist, (uint64_t)(now() - start));
    }
    report(b, figure, now() - from, seeks, 0);
    engine_cursor_close(c);
}

static void read_rows(bench *b, const char *state)
{
    char figure[64];
    (void)snprintf(figure, sizeof figure, "%s_scan", state);
    scan(b, figure); /* also warms the cache */
    scan(b, figure);
    (void)snprintf(figure, sizeof figure, "%s_read_random", state);
    uint32_t reads = b->value_len > 4000 ? READS / 50 : READS;
    read_random(b, figure, false, reads);
    read_random(b, figure, false, reads);
    (void)snprintf(figure, sizeof figure, "%s_read_missing", state);
    read_random(b, figure, true, READS);
    (void)snprintf(figure, sizeof figure, "%s_seek_10", state);
    seek_some(b, figure, 10, READS / 4);
    (void)snprintf(figure, sizeof figure, "%s_seek_100", state);
    seek_some(b, figure, 100, READS / 10);
    report_stats(b, state);
}

static void shuffle(bench *b)
{
    vv_rng rng;
    vv_rng_init(&rng, 7);
    for (uint32_t i = 0; i < b->keys; i++)
        b->order[i] = i;
    for (uint32_t i = b->keys; i > 1; i--) {
        uint32_t j = (uint32_t)vv_rng_below(&rng, i);
        uint32_t swap = b->order[i - 1];
        b->order[i - 1] = b->order[j];
        b->order[j] = swap;
    }
}

static engine_form form_of(void *ctx, uint32_t table)
{
    static const char *const names[] = {"auto", "none", "lz4", "zstd", "zstd-plain"};
    const bench *b = ctx;
    (void)table;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(b->form, names[i]) == 0)
            return (engine_form){.compression =
                                     i == 4 ? ENGINE_COMPRESSION_ZSTD : (engine_compression)i,
                                 .value_threshold = b->threshold};
    (void)fprintf(stderr, "bench_lsm: there is no form '%s'\n", b->form);
    exit(2);
}

static void remove_one(void *ctx, const char *name)
{
    bench *b = ctx;
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "shard-0/%s", name);
    (void)!vio_remove(b->env.io, path, NULL);
}

int main(int argc, char **argv)
{
    bench *b = calloc(1, sizeof *b);
    b->keys = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    b->value_len = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100;
    b->dir = argc > 3 ? argv[3] : "bench-lsm";
    b->cache_size = (argc > 4 ? strtoull(argv[4], NULL, 10) : 256) * VV_MIB;
    b->form = argc > 5 ? argv[5] : "auto";
    b->records = argc > 6 && strcmp(argv[6], "record") == 0;
    b->threshold = argc > 7 ? (uint32_t)strtoul(argv[7], NULL, 10) : 0;
    (void)form_of(b, 0);
    if (argc > 8 && argv[8][0] == 'b')
        ops = &btree_ops;
    b->order = malloc(b->keys * sizeof *b->order);
    if (b->value_len < 4 || b->keys == 0 || b->order == NULL)
        return 2;
    vv_error err;
    must(env_posix_init(&b->env, b->dir, NULL, &err), &err);
    must(vio_mkdir(b->env.io, "", &err), &err);
    must(vio_mkdir(b->env.io, "shard-0", &err), &err);
    (void)!vio_list(b->env.io, "shard-0", remove_one, b, NULL);
    engine_options opt = {.env = &b->env,
                          .dir = "shard-0",
                          .cache_size = b->cache_size,
                          .compress = true,
                          .dictionary_gain = strcmp(b->form, "zstd-plain") == 0 ? 1 : 0,
                          .hooks = {.ctx = b, .form = form_of}};
    must(ops->open(&opt, &b->e, &err), &err);
    shuffle(b);

    vv_thread *thread = NULL;
    must(b->env.threads->create("background", VV_THREAD_BACKGROUND, work_until_stopped, b, &thread,
                                &err),
         &err);
    fill(b);
    atomic_store(&b->stop, true);
    b->env.threads->join(thread);
    flush_all(b, "flush_rest");
    read_rows(b, "flushed");
    settle(b);
    read_rows(b, "settled");

    uint8_t upper[4];
    uint8_t lower[4];
    vv_put_be32(lower, TABLE);
    vv_put_be32(upper, TABLE + 1);
    int64_t from = now();
    must(ops->compact_range(b->e, vv_slice_of(lower, 4), vv_slice_of(upper, 4), &err), &err);
    settle(b);
    report(b, "compact_all", now() - from, b->keys,
           (double)b->keys * (KEY_LEN + b->value_len) / 1e6);
    read_rows(b, "compacted");
    from = now();
    ops->close(b->e);
    must(ops->open(&opt, &b->e, &err), &err);
    report(b, "reopen", now() - from, 1, 0);
    ops->close(b->e);
    (void)!vio_list(b->env.io, "shard-0", remove_one, b, NULL);
    vio_destroy(b->env.io);
    free(b->order);
    free(b);
    return 0;
}
