/*
 * bench_multi.c - cold reads of many keys: vv_multi_get and vv_get_async against the same number of
 * single gets, for each I/O backend, through the page cache and past it. One JSON line a figure.
 *
 *   bench_multi [keys] [value bytes] [directory] [keys a call] [rounds] [compress 0|1] [backend]
 *               default 2000000 100 ./bench-multi 64 400 1 all
 *
 * The store has a cache of 4 MiB, so nearly every read needs a block from the disk. Rounds are
 * interleaved: one of 64 single gets, one multi get of 64 other keys, on the same run files; then
 * as many keys again as asynchronous gets, twice 64 of them held at any time. Every value is
 * checked. The last row of direct reads is the disk's own ceiling in the same minute: reads of 4
 * KiB of one run file and nothing else, as many in flight. With buffered reads the system's page
 * cache is dropped before each backend (root; else the row says cold:0) and warms up during it.
 * Aim: 100 thousand cold keys a second in batches, where single gets of one thread make 13
 * thousand.
 */
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "io/vio_posix.h"
#include "io/vio_queue.h"
#include "varve/async.h"

#define BATCH_MAX 1024u
#define VALUE_MAX 4096u

typedef struct bench {
    uint64_t keys;
    unsigned value_len;
    const char *dir;
    unsigned per_call;
    unsigned rounds;
    bool compress;
    const char *backend; /* NULL: all */
    vv_db *db;
    vv_table *table;
    vv_rng rng;
    bool cold;
} bench;

typedef struct figure {
    vv_hist ns; /* of a call, or of the gets of a round together */
    int64_t wall_ns;
    int64_t cpu_ns;
    uint64_t keys;
} figure;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static int64_t cpu(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * VV_NS_PER_S +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * VV_NS_PER_US;
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_multi: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static void put_key(char *out, uint64_t i)
{
    (void)snprintf(out, 17, "%016" PRIu64, i);
}

/* Half of each value is random, so that it compresses about two to one. */
static void put_value(const bench *b, uint64_t i, uint8_t *out)
{
    uint64_t x = i * 0x9e3779b97f4a7c15u + 1;
    memset(out, 'v', b->value_len);
    for (unsigned n = 0; n + 8 <= b->value_len / 2; n += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + n, &x, 8);
    }
}

static void open_store(bench *b, vv_io_backend backend, bool direct)
{
    vv_error err;
    vv_options opt = VV_OPTIONS_INIT;
    opt.cache_size = 4 * VV_MIB;
    opt.memory_limit = 512 * VV_MIB;
    opt.compress = b->compress;
    opt.io_backend = backend;
    opt.direct_io = direct;
    must(vv_db_open(b->dir, &opt, &b->db, &err), &err);
    vv_table_options table = VV_TABLE_OPTIONS_INIT;
    table.if_not_exists = true;
    must(vv_table_create(b->db, "bench", "multi", &table, &b->table, &err), &err);
}

static void close_store(bench *b)
{
    vv_error err;
    vv_table_close(b->table);
    must(vv_db_close(b->db, &err), &err);
}

static void fill(bench *b)
{
    vv_error err;
    char key[17];
    uint8_t value[VALUE_MAX];
    vv_batch *batch = vv_batch_create(b->db);
    for (uint64_t i = 0; i < b->keys; i++) {
        put_key(key, i);
        put_value(b, i, value);
        must(vv_batch_put(batch, b->table, vv_slice_of(key, 16), vv_slice_of(value, b->value_len),
                          0, &err),
             &err);
        if (vv_batch_count(batch) == 1000 || i + 1 == b->keys) {
            must(vv_write(b->db, batch, VV_DURABLE_OS, NULL, &err), &err);
            vv_batch_clear(batch);
        }
    }
    vv_batch_destroy(batch);
    must(vv_checkpoint(b->db, &err), &err);
    must(vv_compact(b->table, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), &err);
}

static bool drop_page_cache(void)
{
    FILE *f = fopen("/proc/sys/vm/drop_caches", "we");
    if (f == NULL)
        return false;
    bool ok = fputs("1\n", f) >= 0;
    return fclose(f) == 0 && ok;
}

static void check_value(const bench *b, uint64_t i, vv_value *v)
{
    uint8_t want[VALUE_MAX];
    put_value(b, i, want);
    if (!vv_slice_eq(v->data, vv_slice_of(want, b->value_len))) {
        (void)fprintf(stderr, "bench_multi: key %" PRIu64 " has a wrong value\n", i);
        exit(1);
    }
    vv_value_release(v);
}

static void draw_keys(bench *b, uint64_t *numbers, char (*text)[17], vv_slice *keys)
{
    for (unsigned i = 0; i < b->per_call; i++) {
        numbers[i] = vv_rng_below(&b->rng, b->keys);
        put_key(text[i], numbers[i]);
        keys[i] = vv_slice_of(text[i], 16);
    }
}

static void run_round(bench *b, bool multi, figure *f)
{
    static uint64_t numbers[BATCH_MAX];
    static char text[BATCH_MAX][17];
    static vv_slice keys[BATCH_MAX];
    static vv_value values[BATCH_MAX];
    static vv_status status[BATCH_MAX];
    vv_error err;
    draw_keys(b, numbers, text, keys);
    int64_t wall = now();
    int64_t used = cpu();
    if (multi) {
        must(vv_multi_get(b->table, NULL, keys, b->per_call, values, status, &err), &err);
    } else {
        for (unsigned i = 0; i < b->per_call; i++) {
            status[i] = vv_get(b->table, NULL, keys[i], &values[i], &err);
            must(status[i], &err);
        }
    }
    int64_t took = now() - wall;
    f->wall_ns += took;
    f->cpu_ns += cpu() - used;
    f->keys += b->per_call;
    vv_hist_add(&f->ns, (uint64_t)took);
    for (unsigned i = 0; i < b->per_call; i++) {
        must(status[i], &(vv_error){.msg = "a key is missing"});
        check_value(b, numbers[i], &values[i]);
    }
}

/* ---- asynchronous gets ---- */

typedef struct ask {
    const bench *b;
    figure *f;
    uint64_t number;
    int64_t start;
    char text[17];
    bool is_busy;
} ask;

static void take(void *ctx, vv_status status, vv_value *value, const vv_error *err)
{
    ask *a = ctx;
    must(status, err);
    vv_hist_add(&a->f->ns, (uint64_t)(now() - a->start));
    check_value(a->b, a->number, value);
    a->is_busy = false;
}

static void hand_over(bench *b, vv_async *async, ask *a)
{
    vv_error err;
    a->number = vv_rng_below(&b->rng, b->keys);
    put_key(a->text, a->number);
    a->start = now();
    a->is_busy = true;
    must(vv_get_async(async, b->table, NULL, vv_slice_of(a->text, 16), take, a, &err), &err);
}

static void run_async(bench *b, figure *f)
{
    static ask asks[2 * BATCH_MAX];
    vv_error err;
    vv_async *async = NULL;
    unsigned held = 2 * b->per_call;
    uint64_t left = (uint64_t)b->rounds * b->per_call;
    must(vv_async_open(b->db, held, &async, &err), &err);
    int64_t wall = now();
    int64_t used = cpu();
    f->keys = left;
    while (left > 0 || vv_async_held(async) > 0) {
        for (unsigned i = 0; i < held && left > 0; i++) {
            if (asks[i].is_busy)
                continue;
            asks[i].b = b;
            asks[i].f = f;
            hand_over(b, async, &asks[i]);
            left--;
        }
        (void)vv_async_poll(async, 1);
    }
    f->wall_ns = now() - wall;
    f->cpu_ns = cpu() - used;
    vv_async_close(async);
}

/* ---- the disk alone ---- */

typedef struct raw_read {
    vio_req req;
    figure *f;
    int64_t start;
    bool is_busy;
} raw_read;

static char largest_path[VIO_PATH_MAX];
static off_t largest_size;

static int note_largest(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    if (kind == FTW_F && strncmp(path + at->base, "run-", 4) == 0 && s->st_size > largest_size) {
        largest_size = s->st_size;
        (void)snprintf(largest_path, sizeof largest_path, "%s", path);
    }
    return 0;
}

static void note_read(vio_req *req)
{
    raw_read *r = VV_CONTAINER_OF(req, raw_read, req);
    must(req->status, &req->err);
    vv_hist_add(&r->f->ns, (uint64_t)(now() - r->start));
    r->is_busy = false;
}

static void start_read(bench *b, vio_queue *q, raw_read *r)
{
    vv_error err;
    vio_req *req = &r->req;
    req->offset = vv_rng_below(&b->rng, (uint64_t)largest_size / VV_BLOCK) * VV_BLOCK;
    r->start = now();
    r->is_busy = true;
    must(vio_submit(q, &req, 1, &err), &err);
}

/* Random blocks of the largest run, as many in flight as run_async holds. */
static void run_raw(bench *b, vio_backend backend, figure *f)
{
    static raw_read reads[VIO_QUEUE_DEPTH];
    vv_error err;
    vio *io = NULL;
    vio_file *file = NULL;
    vio_queue *q = NULL;
    unsigned held = (unsigned)vv_min_u64(UINT64_C(2) * b->per_call, VIO_QUEUE_DEPTH);
    uint64_t left = (uint64_t)b->rounds * b->per_call;
    largest_size = 0;
    (void)nftw(b->dir, note_largest, 16, FTW_PHYS);
    uint8_t *memory = vv_alloc_aligned(VV_BLOCK, (size_t)held * VV_BLOCK);
    if (largest_size < (off_t)VV_BLOCK || memory == NULL) {
        (void)fprintf(stderr, "bench_multi: no run to read in %s\n", b->dir);
        exit(1);
    }
    must(vio_posix_open("/", &(vio_posix_options){.backend = backend}, &io, &err), &err);
    char *full = realpath(largest_path, NULL);
    if (full == NULL)
        exit(1);
    must(vio_open(io, full + 1, VIO_READ | VIO_DIRECT, &file, &err), &err);
    free(full);
    must(vio_queue_open(io, held, &q, &err), &err);
    int64_t wall = now();
    int64_t used = cpu();
    f->keys = left;
    while (left > 0 || q->held > 0) {
        for (unsigned i = 0; i < held && left > 0; i++) {
            if (reads[i].is_busy)
                continue;
            reads[i].f = f;
            reads[i].req = (vio_req){.op = VIO_OP_READ,
                                     .cls = VIO_CLASS_READ,
                                     .file = file,
                                     .buf = memory + (size_t)i * VV_BLOCK,
                                     .len = VV_BLOCK,
                                     .done = note_read};
            start_read(b, q, &reads[i]);
            left--;
        }
        (void)vio_poll(q, 1);
    }
    f->wall_ns = now() - wall;
    f->cpu_ns = cpu() - used;
    vio_queue_close(q);
    vio_close(file);
    vio_destroy(io);
    vv_free(memory);
}

static void report(const bench *b, const char *backend, bool direct, const char *what,
                   const figure *f)
{
    const char *commit = getenv("VARVE_COMMIT");
    (void)printf("{\"bench\":\"multi\",\"figure\":\"%s\",\"backend\":\"%s\",\"direct\":%d,"
                 "\"cold\":%d,\"keys\":%" PRIu64 ",\"value_bytes\":%u,\"compress\":%d,"
                 "\"keys_a_call\":%u,\"keys_per_second\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,"
                 "\"cpu_us_per_key\":%.2f,\"commit\":\"%s\"}\n",
                 what, backend, direct, b->cold, b->keys, b->value_len, b->compress, b->per_call,
                 (double)f->keys * 1e9 / (double)f->wall_ns,
                 (double)vv_hist_percentile(&f->ns, 0.5) / 1e3,
                 (double)vv_hist_percentile(&f->ns, 0.99) / 1e3,
                 (double)f->cpu_ns / 1e3 / (double)f->keys, commit == NULL ? "unknown" : commit);
    (void)fflush(stdout);
}

static void compare(bench *b, const char *name, vv_io_backend backend, vio_backend raw_backend,
                    bool direct)
{
    static figure raw;
    static figure single;
    static figure multi;
    static figure async;
    memset(&async, 0, sizeof async);
    vv_hist_reset(&async.ns);
    memset(&single, 0, sizeof single);
    memset(&multi, 0, sizeof multi);
    vv_hist_reset(&single.ns);
    vv_hist_reset(&multi.ns);
    open_store(b, backend, direct);
    bool dropped = drop_page_cache();
    b->cold = direct || dropped;
    for (unsigned i = 0; i < b->rounds; i++) {
        run_round(b, false, &single);
        run_round(b, true, &multi);
    }
    run_async(b, &async);
    report(b, name, direct, "single gets", &single);
    report(b, name, direct, "multi get", &multi);
    report(b, name, direct, "async gets", &async);
    close_store(b);
    if (!direct)
        return;
    memset(&raw, 0, sizeof raw);
    vv_hist_reset(&raw.ns);
    run_raw(b, raw_backend, &raw);
    report(b, name, direct, "reads alone", &raw);
}

static uint64_t arg_or(int argc, char **argv, int i, uint64_t fallback)
{
    return argc > i ? strtoull(argv[i], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        vv_io_backend backend;
        vio_backend raw;
    } backends[] = {{"posix", VV_IO_POSIX, VIO_BACKEND_POSIX},
                    {"threads", VV_IO_THREADS, VIO_BACKEND_THREADS},
                    {"io_uring", VV_IO_URING, VIO_BACKEND_RING}};
    bench b = {.keys = arg_or(argc, argv, 1, 2000000),
               .value_len = (unsigned)arg_or(argc, argv, 2, 100),
               .dir = argc > 3 ? argv[3] : "./bench-multi",
               .per_call = (unsigned)arg_or(argc, argv, 4, 64),
               .rounds = (unsigned)arg_or(argc, argv, 5, 400),
               .compress = arg_or(argc, argv, 6, 1) != 0,
               .backend = argc > 7 ? argv[7] : NULL};
    if (b.keys == 0 || b.value_len > VALUE_MAX || b.per_call == 0 || b.per_call > BATCH_MAX) {
        (void)fprintf(stderr, "usage: bench_multi [keys] [value bytes] [directory] [keys a call] "
                              "[rounds] [compress 0|1] [posix|threads|io_uring]\n");
        return 2;
    }
    vv_rng_init(&b.rng, 1);
    open_store(&b, VV_IO_AUTO, false);
    fill(&b);
    close_store(&b);
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        if (b.backend != NULL && strcmp(b.backend, backends[i].name) != 0)
            continue;
        compare(&b, backends[i].name, backends[i].backend, backends[i].raw, true);
        compare(&b, backends[i].name, backends[i].backend, backends[i].raw, false);
    }
    return 0;
}
