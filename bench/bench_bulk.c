/*
 * bench_bulk.c - a bulk load beside the same keys written in order, and what the deletion of a
 * range costs by how much it deletes.
 *
 * Claims: a load writes each byte once (the ordered fill writes it to the log, a flush and a
 * compaction); a range deletion costs the same for 10 keys and for a million, and reads beside many
 * of them cost what the depth of their tree says, not their number.
 *
 *     bench_bulk directory [keys]
 *
 * The directory must be empty; the rows use tables of their own. Values are 100 bytes, half of them
 * random. Writes are `os`; each fill row ends when everything is in runs and compaction has caught
 * up with level 0. One JSON line a row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "varve/varve.h"

#define VALUE_SIZE 100u
#define BATCH 1000u
#define DELETES 2000u
#define READS 200000u

static vv_db *db;
static vv_error err;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_bulk: %s: %s\n", vv_status_name(st), err.msg);
    exit(1);
}

static vv_slice key_of(uint64_t n, char out[24])
{
    return vv_slice_of(out, (size_t)snprintf(out, 24, "%016llu", (unsigned long long)n));
}

static vv_slice value_of(vv_rng *rng, uint8_t out[VALUE_SIZE])
{
    vv_rng_bytes(rng, out, VALUE_SIZE / 2); /* the other half stays zero */
    return vv_slice_of(out, VALUE_SIZE);
}

static vv_table *table(const char *name)
{
    vv_table *t = NULL;
    must(vv_table_create(db, "bench", name, NULL, &t, &err));
    return t;
}

static vv_stats stats(void)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    return s;
}

static uint64_t written(const vv_stats *s)
{
    return s->log_written_bytes + s->flush_bytes + s->compaction_write_bytes + s->bulk_bytes;
}

static void print_fill(const char *row, uint64_t keys, int64_t put_ns, int64_t all_ns,
                       const vv_stats *before)
{
    vv_stats after = stats();
    double user = (double)(after.user_bytes - before->user_bytes);
    printf("{\"bench\":\"bulk\",\"row\":\"%s\",\"keys\":%llu,\"seconds\":%.3f,"
           "\"seconds_settled\":%.3f,\"keys_per_s\":%.0f,\"keys_per_s_settled\":%.0f,"
           "\"bytes_written_by_byte\":%.2f}\n",
           row, (unsigned long long)keys, (double)put_ns / 1e9, (double)all_ns / 1e9,
           (double)keys * 1e9 / (double)put_ns, (double)keys * 1e9 / (double)all_ns,
           (double)(written(&after) - written(before)) / user);
    (void)fflush(stdout);
}

static void row_bulk(uint64_t keys)
{
    vv_table *t = table("bulk");
    vv_stats before = stats();
    vv_rng rng;
    uint8_t value[VALUE_SIZE] = {0};
    char key[24];
    vv_bulk *load = NULL;
    vv_rng_init(&rng, 1);
    int64_t start = now();
    must(vv_bulk_begin(t, &load, &err));
    for (uint64_t i = 0; i < keys; i++)
        must(vv_bulk_put(load, key_of(i, key), value_of(&rng, value), 0, &err));
    must(vv_bulk_finish(load, NULL, &err));
    int64_t took = now() - start;
    print_fill("bulk", keys, took, took, &before);
    vv_table_close(t);
}

static void row_ordered(uint64_t keys)
{
    vv_table *t = table("ordered");
    vv_stats before = stats();
    vv_rng rng;
    uint8_t value[VALUE_SIZE] = {0};
    char key[24];
    vv_batch *b = vv_batch_create(db);
    vv_rng_init(&rng, 1);
    int64_t start = now();
    for (uint64_t i = 0; i < keys;) {
        vv_batch_clear(b);
        for (unsigned n = 0; n < BATCH && i < keys; n++, i++)
            must(vv_batch_put(b, t, key_of(i, key), value_of(&rng, value), 0, &err));
        must(vv_write(db, b, VV_DURABLE_OS, NULL, &err));
    }
    int64_t took = now() - start;
    must(vv_checkpoint(db, &err));
    while (stats().level_files[0] > 0 && now() - start < 60 * VV_NS_PER_S)
        must(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err));
    print_fill("ordered fill, 1000 a batch", keys, took, now() - start, &before);
    vv_batch_destroy(b);
    vv_table_close(t);
}

/* Deletions of `span` keys each, of keys that are there, one a write. */
static void row_delete(vv_table *t, uint64_t keys, uint64_t span)
{
    static vv_hist hist;
    vv_batch *b = vv_batch_create(db);
    char from[24];
    char to[24];
    vv_hist_reset(&hist);
    uint64_t count = vv_min_u64(DELETES, keys / span);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = i * (keys / count);
        vv_batch_clear(b);
        must(vv_batch_delete_range(b, t, key_of(at, from), key_of(at + span, to), &err));
        int64_t start = now();
        must(vv_write(db, b, VV_DURABLE_OS, NULL, &err));
        vv_hist_add(&hist, (uint64_t)(now() - start));
    }
    printf("{\"bench\":\"bulk\",\"row\":\"delete range\",\"span\":%llu,\"deletes\":%llu,"
           "\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
           (unsigned long long)span, (unsigned long long)count,
           (double)vv_hist_percentile(&hist, 0.5) / 1e3,
           (double)vv_hist_percentile(&hist, 0.99) / 1e3);
    (void)fflush(stdout);
    vv_batch_destroy(b);
}

static void row_read(vv_table *t, uint64_t keys, uint64_t ranges)
{
    vv_rng rng;
    char key[24];
    uint64_t found = 0;
    vv_rng_init(&rng, 7);
    int64_t start = now();
    for (unsigned i = 0; i < READS; i++) {
        vv_value v;
        vv_status st = vv_get(t, NULL, key_of(vv_rng_below(&rng, keys), key), &v, &err);
        if (st == VV_NOT_FOUND)
            continue;
        must(st);
        vv_value_release(&v);
        found++;
    }
    printf("{\"bench\":\"bulk\",\"row\":\"get beside range deletions\",\"ranges\":%llu,"
           "\"found\":%llu,\"us\":%.3f}\n",
           (unsigned long long)ranges, (unsigned long long)found,
           (double)(now() - start) / 1e3 / READS);
    (void)fflush(stdout);
}

static void rows_delete(uint64_t keys)
{
    static const uint64_t spans[] = {10, 10000, 1000000};
    vv_table *t = NULL;
    must(vv_table_open(db, "bench", "bulk", &t, &err));
    row_read(t, keys, 0);
    row_read(t, keys, 0); /* warm */
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        if (spans[i] > keys)
            continue;
        row_delete(t, keys, spans[i]);
        if (i == 0)
            row_read(t, keys, vv_min_u64(DELETES, keys / spans[i]));
    }
    vv_table_close(t);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_bulk directory [keys]\n");
        return 2;
    }
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 5000000;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = UINT64_C(1) << 30;
    must(vv_db_open(argv[1], &opt, &db, &err));
    row_ordered(keys);
    row_bulk(keys);
    rows_delete(keys);
    must(vv_db_close(db, &err));
    return 0;
}
