/*
 * bench_wal.c - what a commit costs: durable commits a second at 1, 8 and 64 threads, an append
 * with `os` durability, and the two ways of a synced write that the log had to choose between.
 *
 * Claims: 64 threads commit 80,000 records of 160 bytes a second, durably; an `os` append takes 100
 * to 200 ns; O_DIRECT|O_DSYNC over pre-written blocks is at least level with write and fdatasync.
 *
 *     bench_wal [directory on the disk to measure [seconds a row]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/hist.h"
#include "base/util.h"
#include "io/env.h"
#include "wal/wal.h"

#define RECORD_SIZE 160
#define THREADS_MAX 64

typedef struct bench {
    vv_env env;
    int64_t row_ns;
    const char *commit;
} bench;

typedef struct worker {
    bench *b;
    wal *log;
    vv_hist *hist;
    int64_t until;
    int64_t warm;
    uint64_t done; /* after the warm-up */
    uint32_t shard;
    vv_status st;
    vv_error err;
} worker;

static _Atomic bool drain_stop;

static int64_t now(const bench *b)
{
    return vv_clock_mono(b->env.clock);
}

static wal_record make_record(const uint8_t *bytes, uint32_t shard, uint64_t index)
{
    vv_slice payload = vv_slice_of(bytes, RECORD_SIZE);
    return (wal_record){.kind = WAL_ENTRY,
                        .shard = shard,
                        .index = index,
                        .term = 1,
                        .payload = payload,
                        .payload_crc = vv_crc32c(0, payload.data, payload.len)};
}

static void row_percentiles(const vv_hist *h)
{
    printf("\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f",
           (double)vv_hist_percentile(h, 0.5) / 1e3, (double)vv_hist_percentile(h, 0.99) / 1e3,
           (double)vv_hist_percentile(h, 0.999) / 1e3, (double)vv_hist_max(h) / 1e3);
}

static vv_status open_log(bench *b, wal **out, vv_error *err)
{
    wal_options opt = {.env = &b->env, .dir = "wal", .spare_segments = 2};
    wal *log = NULL;
    vv_status st = wal_open(&opt, &log, err);
    if (st == VV_OK)
        st = wal_replay(log, NULL, NULL, err);
    while (st == VV_OK)
        st = wal_work(log, err); /* spares, so that none is made within a row */
    if (st != VV_NOT_FOUND) {
        wal_abandon(log);
        return st;
    }
    *out = log;
    return VV_OK;
}

/* Everything below was "flushed": segments are recycled as in a running store. */
static vv_status let_go(wal *log, uint32_t shards, uint64_t index, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t s = 0; s < shards && st == VV_OK; s++)
        st = wal_release(log, s, index, err);
    return st;
}

/* ---- durable commits ---- */

static void commit_loop(void *arg)
{
    worker *w = arg;
    uint8_t bytes[RECORD_SIZE];
    memset(bytes, (int)w->shard, sizeof bytes);
    int64_t start = now(w->b);
    for (uint64_t i = 1; w->st == VV_OK && start < w->until; i++) {
        uint64_t end = 0;
        memcpy(bytes, &i, sizeof i);
        wal_record rec = make_record(bytes, w->shard, i);
        w->st = wal_append(w->log, &rec, 1, &end, &w->err);
        if (w->st == VV_OK)
            w->st = wal_sync(w->log, end, &w->err);
        int64_t stop = now(w->b);
        if (start >= w->warm) {
            vv_hist_add(w->hist, (uint64_t)(stop - start));
            w->done++;
        }
        start = stop;
    }
}

static vv_status commit_row(bench *b, unsigned threads, vv_error *err)
{
    static worker workers[THREADS_MAX];
    static vv_thread *ids[THREADS_MAX];
    static vv_hist hist;
    vv_hist_reset(&hist);
    wal *log = NULL;
    vv_status st = open_log(b, &log, err);
    if (st != VV_OK)
        return st;
    wal_stats before, after;
    wal_stats_read(log, &before);
    int64_t start = now(b);
    unsigned made = 0;
    for (; made < threads && st == VV_OK; made++) {
        workers[made] = (worker){.b = b,
                                 .log = log,
                                 .hist = &hist,
                                 .warm = start + b->row_ns / 10,
                                 .until = start + b->row_ns + b->row_ns / 10,
                                 .shard = made};
        st = b->env.threads->create("commit", VV_THREAD_NORMAL, commit_loop, &workers[made],
                                    &ids[made], err);
    }
    uint64_t done = 0;
    for (unsigned i = 0; i < made; i++) {
        if (ids[i] != NULL)
            b->env.threads->join(ids[i]);
        done += workers[i].done;
        if (st == VV_OK && workers[i].st != VV_OK) {
            st = workers[i].st;
            *err = workers[i].err;
        }
        ids[i] = NULL;
    }
    wal_stats_read(log, &after);
    if (st == VV_OK) {
        uint64_t writes = after.syncs - before.syncs;
        printf("{\"bench\":\"wal\",\"row\":\"sync\",\"threads\":%u,\"record_bytes\":%d,"
               "\"commits_per_s\":%.0f,\"group\":%.1f,",
               threads, RECORD_SIZE, (double)done * 1e9 / (double)b->row_ns,
               (double)(after.appended_records - before.appended_records) / (double)writes);
        row_percentiles(&hist);
        printf(",\"commit\":\"%s\"}\n", b->commit);
        st = let_go(log, threads, UINT64_MAX, err);
    }
    vv_status closed = wal_close(log, st == VV_OK ? err : NULL);
    return st == VV_OK ? closed : st;
}

/* ---- os appends ---- */

static void drain_loop(void *arg)
{
    worker *w = arg;
    while (!atomic_load(&drain_stop)) {
        w->st = wal_work(w->log, &w->err);
        if (w->st != VV_OK && w->st != VV_NOT_FOUND)
            return;
        if (w->st == VV_NOT_FOUND)
            vv_clock_sleep(w->b->env.clock, 200 * VV_NS_PER_US);
    }
    w->st = VV_OK;
}

static vv_status append_row(bench *b, bool drained, uint64_t count, vv_error *err)
{
    wal *log = NULL;
    vv_status st = open_log(b, &log, err);
    if (st != VV_OK)
        return st;
    worker drain = {.b = b, .log = log};
    vv_thread *id = NULL;
    atomic_store(&drain_stop, false);
    if (drained)
        st = b->env.threads->create("drain", VV_THREAD_NORMAL, drain_loop, &drain, &id, err);
    uint8_t bytes[RECORD_SIZE] = {0};
    int64_t start = now(b);
    for (uint64_t i = 1; i <= count && st == VV_OK; i++) {
        uint64_t end;
        memcpy(bytes, &i, sizeof i);
        wal_record rec = make_record(bytes, 0, i);
        st = wal_append(log, &rec, 1, &end, err);
    }
    int64_t took = now(b) - start;
    atomic_store(&drain_stop, true);
    if (id != NULL)
        b->env.threads->join(id);
    if (st == VV_OK) {
        printf("{\"bench\":\"wal\",\"row\":\"os append\",\"drain\":%s,\"record_bytes\":%d,"
               "\"count\":%" PRIu64 ",\"ns_per_append\":%.1f,\"commit\":\"%s\"}\n",
               drained ? "true" : "false", RECORD_SIZE, count, (double)took / (double)count,
               b->commit);
        st = let_go(log, 1, UINT64_MAX, err);
    }
    vv_status closed = wal_close(log, st == VV_OK ? err : NULL);
    return st == VV_OK ? closed : st;
}

/* ---- the raw comparison ---- */

#define RAW_SIZE ((uint64_t)64 << 20)

static vv_status raw_loop(bench *b, vio_file *file, bool sync, uint8_t *block, vv_hist *hist,
                          vv_error *err)
{
    int64_t until = now(b) + b->row_ns;
    uint64_t at = 0;
    for (int64_t start = now(b); start < until;) {
        vv_status st = vio_pwrite(file, at, block, VV_BLOCK, err);
        if (st == VV_OK && sync)
            st = vio_sync(file, err);
        if (st != VV_OK)
            return st;
        int64_t stop = now(b);
        vv_hist_add(hist, (uint64_t)(stop - start));
        start = stop;
        at = (at + VV_BLOCK) % RAW_SIZE;
    }
    return VV_OK;
}

static vv_status raw_row(bench *b, const char *name, unsigned flags, bool prewrite, bool sync,
                         vv_error *err)
{
    static vv_hist hist;
    vv_hist_reset(&hist);
    uint8_t *block = vv_alloc_aligned(VV_BLOCK, (size_t)1 << 20);
    if (block == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a buffer");
    memset(block, 0x5a, (size_t)1 << 20);
    vio_file *file = NULL;
    vv_status st = vio_open(b->env.io, "raw", VIO_READ | VIO_WRITE | VIO_CREATE, &file, err);
    if (st == VV_OK)
        st = vio_allocate(file, RAW_SIZE, err);
    for (uint64_t at = 0; at < RAW_SIZE && prewrite && st == VV_OK; at += (uint64_t)1 << 20)
        st = vio_pwrite(file, at, block, (size_t)1 << 20, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    vio_close(file);
    file = NULL;
    if (st == VV_OK)
        st = vio_open(b->env.io, "raw", VIO_READ | VIO_WRITE | flags, &file, err);
    if (st == VV_OK)
        st = raw_loop(b, file, sync, block, &hist, err);
    vio_close(file);
    vv_free(block);
    (void)!vio_remove(b->env.io, "raw", NULL);
    if (st != VV_OK)
        return st;
    printf("{\"bench\":\"wal\",\"row\":\"raw 4 KiB\",\"way\":\"%s\",\"writes_per_s\":%.0f,", name,
           (double)vv_hist_count(&hist) * 1e9 / (double)b->row_ns);
    row_percentiles(&hist);
    printf(",\"commit\":\"%s\"}\n", b->commit);
    return VV_OK;
}

/* ---- opening ---- */

static vv_status count_record(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)position;
    (void)err;
    *(uint64_t *)ctx += rec->payload.len;
    return VV_OK;
}

static vv_status open_row(bench *b, const char *dir, const char *what, wal **out, vv_error *err)
{
    wal_options opt = {.env = &b->env, .dir = dir};
    uint64_t bytes = 0;
    wal *log = NULL;
    int64_t start = now(b);
    vv_status st = wal_open(&opt, &log, err);
    if (st == VV_OK)
        st = wal_replay(log, count_record, &bytes, err);
    if (st != VV_OK) {
        wal_abandon(log);
        return st;
    }
    printf("{\"bench\":\"wal\",\"row\":\"%s\",\"log_bytes\":%" PRIu64 ",\"payload_bytes\":%" PRIu64
           ",\"ms\":%.1f,\"commit\":\"%s\"}\n",
           what, wal_recovery_stats(log)->end, bytes, (double)(now(b) - start) / 1e6, b->commit);
    *out = log;
    return VV_OK;
}

static vv_status fill_log(wal *log, uint64_t bytes, vv_error *err)
{
    static uint8_t value[1024];
    vv_status st = VV_OK;
    for (uint64_t i = 0; i < bytes / sizeof value && st == VV_OK; i++) {
        uint64_t end;
        memcpy(value, &i, sizeof i);
        wal_record rec = {.kind = WAL_ENTRY,
                          .index = i + 1,
                          .payload = {value, sizeof value},
                          .payload_crc = vv_crc32c(0, value, sizeof value)};
        st = wal_append(log, &rec, 1, &end, err);
    }
    return st;
}

static vv_status recovery_rows(bench *b, uint64_t bytes, vv_error *err)
{
    wal *log = NULL;
    vv_status st = open_row(b, "wal-recovery", "create", &log, err);
    if (st != VV_OK)
        return st;
    st = wal_close(log, err);
    if (st == VV_OK)
        st = open_row(b, "wal-recovery", "open an empty log", &log, err);
    if (st == VV_OK)
        st = fill_log(log, bytes, err);
    wal_abandon(log); /* as SIGKILL leaves it */
    log = NULL;
    if (st == VV_OK)
        st = open_row(b, "wal-recovery", "recover after a kill", &log, err);
    return st == VV_OK ? wal_close(log, err) : st;
}

static vv_status run(bench *b, vv_error *err)
{
    static const unsigned threads[] = {1, 8, 64};
    vv_status st = vio_mkdir(b->env.io, "", err);
    if (st == VV_OK)
        st = raw_row(b, "direct+dsync, pre-written", VIO_DIRECT | VIO_DSYNC, true, false, err);
    if (st == VV_OK)
        st = raw_row(b, "write+fdatasync, pre-written", 0, true, true, err);
    if (st == VV_OK)
        st = raw_row(b, "direct+dsync, allocated only", VIO_DIRECT | VIO_DSYNC, false, false, err);
    for (size_t i = 0; i < ARRAY_LEN(threads) && st == VV_OK; i++)
        st = commit_row(b, threads[i], err);
    if (st == VV_OK)
        st = append_row(b, false, 30000, err); /* fits the ring */
    if (st == VV_OK)
        st = append_row(b, true, 2000000, err);
    if (st == VV_OK)
        st = recovery_rows(b, VV_GIB, err);
    return st;
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "bench-wal.tmp";
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    const char *commit = getenv("VV_COMMIT");
    vv_error err = {0};
    bench b = {.row_ns = (int64_t)(seconds * 1e9), .commit = commit == NULL ? "" : commit};
    vv_status st = env_posix_init(&b.env, dir, NULL, &err);
    if (st == VV_OK) {
        st = run(&b, &err);
        vio_destroy(b.env.io);
    }
    if (st != VV_OK) {
        (void)fprintf(stderr, "bench_wal: %s: %s\n", vv_status_name(st), err.msg);
        return 1;
    }
    return 0;
}
