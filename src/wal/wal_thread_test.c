/*
 * wal_thread_test.c - many threads at one log, on real files behind a vio that can be slow or fail.
 */
#include "wal/wal_test_util.h"

#include <inttypes.h>
#include <stdatomic.h>

/* ---- a vio in front of another: segment writes may sleep, or fail from some time on ---- */

typedef struct faulty_io {
    vio base;
    vio *below;
    _Atomic int64_t sleep_ns;
    _Atomic bool fail;
} faulty_io;

typedef struct faulty_file {
    vio_file base;
    vio_file *below;
    faulty_io *io;
    bool synced; /* opened with VIO_DSYNC: a segment in use */
} faulty_file;

static const vio_ops faulty_ops;

static vio *below(vio *io)
{
    return VV_CONTAINER_OF(io, faulty_io, base)->below;
}

static vio_file *file_below(vio_file *file)
{
    return VV_CONTAINER_OF(file, faulty_file, base)->below;
}

static vv_status f_open(vio *io, const char *path, unsigned flags, vio_file **out, vv_error *err)
{
    faulty_file *f = vv_calloc(1, sizeof *f);
    assert_non_null(f);
    f->base.ops = &faulty_ops;
    f->io = VV_CONTAINER_OF(io, faulty_io, base);
    f->synced = (flags & VIO_DSYNC) != 0;
    vv_status st = vio_open(below(io), path, flags, &f->below, err);
    if (st != VV_OK)
        vv_free(f);
    else
        *out = &f->base;
    return st;
}

static vv_status f_rename(vio *io, const char *from, const char *to, vv_error *err)
{
    return vio_rename(below(io), from, to, err);
}

static vv_status f_remove(vio *io, const char *path, vv_error *err)
{
    return vio_remove(below(io), path, err);
}

static vv_status f_mkdir(vio *io, const char *path, vv_error *err)
{
    return vio_mkdir(below(io), path, err);
}

static vv_status f_list(vio *io, const char *path, void (*each)(void *ctx, const char *name),
                        void *ctx, vv_error *err)
{
    return vio_list(below(io), path, each, ctx, err);
}

static vv_status f_sync_dir(vio *io, const char *path, vv_error *err)
{
    return vio_sync_dir(below(io), path, err);
}

static void f_close(vio_file *file)
{
    vio_close(file_below(file));
    vv_free(VV_CONTAINER_OF(file, faulty_file, base));
}

static vv_status f_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                         vv_error *err)
{
    return vio_pread(file_below(file), offset, buf, len, got, err);
}

static vv_status f_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                          vv_error *err)
{
    faulty_file *f = VV_CONTAINER_OF(file, faulty_file, base);
    int64_t sleep_ns = atomic_load(&f->io->sleep_ns);
    if (f->synced && sleep_ns > 0)
        vv_clock_sleep(vv_clock_real(), sleep_ns);
    if (f->synced && atomic_load(&f->io->fail))
        return vv_fail(err, VV_IO, "the disk is on fire");
    return vio_pwrite(f->below, offset, buf, len, err);
}

static vv_status f_sync(vio_file *file, vv_error *err)
{
    return vio_sync(file_below(file), err);
}

static vv_status f_size(vio_file *file, uint64_t *out, vv_error *err)
{
    return vio_size(file_below(file), out, err);
}

static vv_status f_truncate(vio_file *file, uint64_t size, vv_error *err)
{
    return vio_truncate(file_below(file), size, err);
}

static vv_status f_allocate(vio_file *file, uint64_t size, vv_error *err)
{
    return vio_allocate(file_below(file), size, err);
}

static vv_status f_map(vio_file *file, size_t len, uint8_t **out, vv_error *err)
{
    return vio_map(file_below(file), len, out, err);
}

static void f_unmap(vio_file *file, uint8_t *map, size_t len)
{
    vio_unmap(file_below(file), map, len);
}

static const vio_ops faulty_ops = {
    .name = "faulty",
    .open = f_open,
    .rename = f_rename,
    .remove = f_remove,
    .mkdir = f_mkdir,
    .list = f_list,
    .sync_dir = f_sync_dir,
    .close = f_close,
    .pread = f_pread,
    .pwrite = f_pwrite,
    .sync = f_sync,
    .size = f_size,
    .truncate = f_truncate,
    .allocate = f_allocate,
    .map = f_map,
    .unmap = f_unmap,
};

/* ---- committers: each has a shard of its own ---- */

#define THREADS 8u
#define LARGE_SHARD 7u /* its entries may be larger than a quarter of the ring */

typedef struct committer {
    util_dir *dir;
    wal *log;
    uint32_t shard;
    bool sync; /* after each append; else now and then */
    uint64_t count;
    uint64_t appended, acked;
    vv_status st;
    vv_error err;
} committer;

static size_t spread_of(uint32_t shard)
{
    return shard == LARGE_SHARD ? 40000 : 500;
}

static void commit_many(void *arg)
{
    committer *c = arg;
    for (uint64_t i = 1; i <= c->count && c->st == VV_OK; i++) {
        uint64_t end = 0;
        c->st = util_append(c->log, c->shard, i, spread_of(c->shard), &end, &c->err);
        if (c->st != VV_OK)
            break;
        c->appended = i;
        if (!c->sync && i % 16 != 0)
            continue;
        c->st = wal_sync(c->log, end, &c->err);
        if (c->st == VV_OK && wal_durable_position(c->log) < end)
            c->st = vv_fail(&c->err, VV_CORRUPT, "acknowledged and not durable");
        if (c->st == VV_OK)
            c->acked = i;
    }
}

typedef struct crew {
    committer c[THREADS];
    vv_thread *threads[THREADS];
} crew;

static void crew_start(crew *w, util_dir *d, wal *log, uint64_t count)
{
    vv_error err;
    for (uint32_t i = 0; i < THREADS; i++) {
        w->c[i] = (committer){.dir = d, .log = log, .shard = i, .sync = i % 2 == 0, .count = count};
        assert_ok(vv_threads_real()->create("committer", VV_THREAD_NORMAL, commit_many, &w->c[i],
                                            &w->threads[i], &err),
                  err);
    }
}

static void crew_join(crew *w)
{
    for (uint32_t i = 0; i < THREADS; i++)
        vv_threads_real()->join(w->threads[i]);
}

static vv_status see_crew(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    util_seen *seen = ctx;
    seen->spread = spread_of(rec->shard);
    return util_see(ctx, rec, position, err);
}

/* Reopen and look: every appended entry of every shard. */
static void crew_check(const crew *w, util_dir *d)
{
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    assert_ok(wal_open(&d->opt, &log, &err), err);
    assert_ok(wal_replay(log, see_crew, &seen, &err), err);
    assert_null(seen.wrong);
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_true(seen.last[i] >= w->c[i].appended);
        assert_true(seen.last[i] <= w->c[i].appended + 1);
    }
    assert_ok(wal_close(log, &err), err);
}

static _Atomic uint64_t told_durable;

static void note_durable(void *ctx, uint64_t position)
{
    (void)ctx;
    assert_true(atomic_exchange(&told_durable, position) < position);
}

static void group_commit_of_eight_threads(void **state)
{
    util_dir *d = *state;
    vv_error err;
    static crew w;
    d->opt.on_durable = note_durable;
    atomic_store(&told_durable, 0);
    wal *log = NULL;
    assert_ok(wal_open(&d->opt, &log, &err), err);
    crew_start(&w, d, log, 200);
    for (int i = 0; i < 300; i++) { /* background work beside them */
        vv_status st = wal_work(log, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND);
    }
    crew_join(&w);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_ok(w.c[i].st, w.c[i].err);
    wal_stats stats;
    wal_stats_read(log, &stats);
    assert_int_equal(stats.appended_records, 8 * 200);
    assert_int_equal(stats.durable, atomic_load(&told_durable));
    wal_abandon(log);
    d->opt.on_durable = NULL;
    crew_check(&w, d);
}

static void a_slow_disk_makes_larger_groups(void **state)
{
    util_dir *d = *state;
    vv_error err;
    static crew w;
    faulty_io slow = {
        .base = {.ops = &faulty_ops}, .below = d->env.io, .sleep_ns = 300 * VV_NS_PER_US};
    d->env.io = &slow.base;
    wal *log = NULL;
    assert_ok(wal_open(&d->opt, &log, &err), err);
    crew_start(&w, d, log, 40);
    crew_join(&w);
    wal_stats stats;
    wal_stats_read(log, &stats);
    uint64_t acks = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_ok(w.c[i].st, w.c[i].err);
        acks += w.c[i].sync ? w.c[i].count : w.c[i].count / 16;
    }
    assert_true(stats.syncs < acks);
    wal_abandon(log);
    d->env.io = slow.below;
    crew_check(&w, d);
}

/* Leaders, waiters, next leaders, appenders before a full ring: all get the first error. */
static void a_failed_write_fails_every_thread(void **state)
{
    util_dir *d = *state;
    vv_error err;
    static crew w;
    for (int round = 0; round < 12; round++) {
        faulty_io io = {
            .base = {.ops = &faulty_ops}, .below = d->env.io, .sleep_ns = 100 * VV_NS_PER_US};
        d->env.io = &io.base;
        char dir[16];
        (void)snprintf(dir, sizeof dir, "wal%d", round);
        d->opt.dir = dir;
        wal *log = NULL;
        assert_ok(wal_open(&d->opt, &log, &err), err);
        crew_start(&w, d, log, UINT64_MAX);
        vv_clock_sleep(vv_clock_real(), (2 + round) * VV_NS_PER_MS);
        atomic_store(&io.fail, true);
        crew_join(&w);
        for (uint32_t i = 0; i < THREADS; i++) {
            assert_status(VV_IO, w.c[i].st);
            assert_non_null(strstr(w.c[i].err.msg, "the disk is on fire"));
        }
        assert_status(VV_IO, wal_work(log, &err));
        assert_status(VV_IO, wal_close(log, &err));
        d->env.io = io.below;
        crew_check(&w, d);
    }
}

/* ---- everything at once ---- */

static _Atomic bool stop;

static void release_loop(void *arg)
{
    committer *c = arg;
    for (uint64_t i = 1; !atomic_load(&stop) && c->st == VV_OK; i++) {
        uint64_t want = wal_pressure(c->log);
        for (uint32_t s = 0; s < THREADS && c->st == VV_OK; s++)
            if (want >> s & 1) /* a flush of what was written long ago */
                c->st = wal_release(c->log, s, i < c->count ? i : c->count, &c->err);
        vv_clock_sleep(vv_clock_real(), 50 * VV_NS_PER_US);
    }
}

static void work_loop(void *arg)
{
    committer *c = arg;
    while (!atomic_load(&stop) && c->st == VV_OK) {
        c->st = wal_work(c->log, &c->err);
        if (c->st == VV_NOT_FOUND) {
            c->st = VV_OK;
            vv_clock_sleep(vv_clock_real(), 50 * VV_NS_PER_US);
        }
    }
}

static void appends_syncs_releases_and_work_at_once(void **state)
{
    util_dir *d = *state;
    vv_error err;
    static crew w;
    d->opt.segment_size = 64 * 1024;
    d->opt.log_limit = 512 * 1024;
    d->opt.spare_segments = 3;
    wal *log = NULL;
    assert_ok(wal_open(&d->opt, &log, &err), err);
    atomic_store(&stop, false);
    committer release = {.log = log, .count = 200}, work = {.log = log};
    vv_thread *threads[2];
    const vv_threads *t = vv_threads_real();
    assert_ok(t->create("release", VV_THREAD_NORMAL, release_loop, &release, &threads[0], &err),
              err);
    assert_ok(t->create("work", VV_THREAD_NORMAL, work_loop, &work, &threads[1], &err), err);
    crew_start(&w, d, log, 400);
    crew_join(&w);
    atomic_store(&stop, true);
    t->join(threads[0]);
    t->join(threads[1]);
    assert_ok(release.st, release.err);
    assert_ok(work.st, work.err);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_ok(w.c[i].st, w.c[i].err);
    wal_abandon(log);
    crew_check(&w, d);
}

#define T(f) cmocka_unit_test_setup_teardown(f, util_setup, util_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(group_commit_of_eight_threads),
        T(a_slow_disk_makes_larger_groups),
        T(a_failed_write_fails_every_thread),
        T(appends_syncs_releases_and_work_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
