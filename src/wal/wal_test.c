/* The log on real files: reopening, retention, batches of every size, options and misuse. */
#include "wal/wal_test_util.h"

#include "wal/wal_int.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wal/wal_record.h"

static void a_new_log_is_empty_and_reopens_empty(void **state)
{
    util_dir *f = *state;
    vv_error err;
    for (int i = 0; i < 3; i++) {
        wal *log = NULL;
        util_seen seen = {0};
        assert_ok(util_open(&f->opt, &log, &seen, &err), err);
        assert_int_equal(seen.count, 0);
        assert_int_equal(wal_recovery_stats(log)->end, i < 2 ? 0 : VV_BLOCK); /* a mark each */
        assert_int_equal(wal_recovery_stats(log)->cut_bytes, 0);
        assert_ok(wal_close(log, &err), err);
    }
}

static void what_was_closed_is_there_again(void **state)
{
    util_dir *f = *state;
    vv_error err;
    uint64_t next = 1;
    for (int round = 0; round < 5; round++) {
        wal *log = NULL;
        util_seen seen = {.spread = 3000};
        assert_ok(util_open(&f->opt, &log, &seen, &err), err);
        assert_null(seen.wrong);
        assert_int_equal(seen.last[3], next - 1);
        assert_int_equal(wal_recovery_stats(log)->cut_bytes, 0);
        assert_int_equal(wal_recovery_stats(log)->ring_bytes, 0);
        for (int i = 0; i < 300; i++) {
            uint64_t end;
            assert_ok(util_append(log, 3, next++, 3000, &end, &err), err);
            if (i % 7 == 0) {
                assert_ok(wal_sync(log, end, &err), err);
                assert_true(wal_durable_position(log) >= end);
            }
        }
        assert_ok(wal_close(log, &err), err);
    }
}

static void after_sigkill_all_that_was_appended_is_there(void **state)
{
    util_dir *f = *state;
    vv_error err;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    uint64_t next = 1;
    for (int round = 0; round < 15; round++) {
        wal *log = NULL;
        util_seen seen = {.spread = 2000};
        assert_ok(util_open(&f->opt, &log, &seen, &err), err);
        assert_null(seen.wrong);
        assert_int_equal(seen.last[0], next - 1);
        assert_int_equal(wal_durable_position(log), wal_end_position(log));
        uint64_t count = vv_rng_below(&rng, 200);
        for (uint64_t i = 0; i < count; i++) {
            uint64_t end;
            assert_ok(util_append(log, 0, next++, 2000, &end, &err), err);
            if (vv_rng_one_in(&rng, 50))
                assert_ok(wal_sync(log, end, &err), err);
        }
        wal_abandon(log);
    }
}

static void batches_of_every_size_pass(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    util_seen seen = {.spread = UTIL_PAYLOAD_MAX};
    f->opt.segment_size = 64 * 1024; /* smaller than the largest batch */
    f->opt.ring_size = 32 * 1024;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    uint64_t end;
    for (uint64_t i = 1; i <= 150; i++)
        assert_ok(util_append(log, 1, i, UTIL_PAYLOAD_MAX, &end, &err), err);
    wal_abandon(log);
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_null(seen.wrong);
    assert_int_equal(seen.count, 150);
    assert_ok(wal_close(log, &err), err);
}

static void a_batch_of_many_records_is_delivered_in_order(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    util_seen seen = {.spread = 300};
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    enum { COUNT = 500 };
    static wal_record recs[COUNT];
    static uint8_t bytes[COUNT][300];
    uint64_t end;
    for (uint64_t round = 0; round < 3; round++) {
        size_t count = round == 0 ? 5 : COUNT; /* the larger ones are written through */
        static uint64_t next = 1;
        for (size_t i = 0; i < count; i++)
            recs[i] = util_entry(bytes[i], 2, next++, 300);
        assert_ok(wal_append(log, recs, count, &end, &err), err);
    }
    assert_true(wal_durable_position(log) >= end);
    assert_ok(wal_close(log, &err), err);
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_null(seen.wrong);
    assert_int_equal(seen.count, 5 + 2 * COUNT);
    assert_ok(wal_close(log, &err), err);
}

/* ---- retention ---- */

static void released_segments_go_and_are_recycled(void **state)
{
    util_dir *f = *state;
    vv_error err;
    f->opt.segment_size = 32 * 1024;
    f->opt.ring_size = 32 * 1024;
    f->opt.log_limit = 256 * 1024;
    f->opt.spare_segments = 2;
    util_seen seen = {0};
    wal *log = NULL;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    wal_shard_open(log, 0);
    wal_shard_open(log, 5);
    uint64_t end;
    wal_stats stats;
    assert_ok(util_append(log, 5, 1, 0, &end, &err), err);
    for (uint64_t i = 1; i <= 4000; i++) {
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
        if (i % 1000 == 0) {
            uint64_t wants = wal_pressure(log);
            assert_int_equal(wants, i == 1000 ? 0 : UINT64_C(1) << 5);
            assert_ok(wal_release(log, 0, i - 10, &err), err);
        }
        if (i == 1500) { /* shard 5 alone holds the oldest segment */
            wal_stats_read(log, &stats);
            assert_true(stats.segments > 8);
        }
    }
    assert_int_equal(wal_pressure(log), UINT64_C(1) << 5);
    assert_ok(wal_release(log, 5, 1, &err), err);
    assert_int_equal(wal_pressure(log), 0);
    wal_stats_read(log, &stats);
    assert_true(stats.segments <= 2);
    assert_ok(wal_close(log, &err), err);

    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_null(seen.wrong);
    assert_int_equal(seen.last[0], 4000);
    assert_true(seen.first[0] > 1 && seen.first[0] <= 3991);
    /* What a replay learned is enough to let segments go without a new record. */
    assert_ok(wal_release(log, 0, 4000, &err), err);
    assert_ok(wal_close(log, &err), err);
}

static void spares_are_made_in_the_background(void **state)
{
    util_dir *f = *state;
    vv_error err;
    f->opt.spare_segments = 3;
    f->opt.segment_size = 8 * 1024 * 1024; /* two steps each */
    util_seen seen = {0};
    wal *log = NULL;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    int steps = 0;
    vv_status st;
    while ((st = wal_work(log, &err)) == VV_OK)
        steps++;
    assert_status(VV_NOT_FOUND, st);
    assert_int_equal(steps, 6);
    assert_ok(wal_close(log, &err), err);
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_status(VV_NOT_FOUND, wal_work(log, &err));
    assert_ok(wal_close(log, &err), err);
}

static void the_background_drains_the_ring(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    while (wal_work(log, &err) == VV_OK)
        continue;
    uint64_t end = 0;
    for (uint64_t i = 1; end < f->opt.ring_size / 4; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    assert_int_equal(wal_durable_position(log), 0);
    assert_ok(wal_work(log, &err), err);
    assert_true(wal_durable_position(log) >= end);
    assert_ok(wal_close(log, &err), err);
}

/* ---- options and misuse ---- */

static void a_changed_ring_and_segment_size_keep_the_log(void **state)
{
    util_dir *f = *state;
    vv_error err;
    const uint32_t sizes[][2] = {{256, 64}, {8, 32}, {64, 256}, {12, 32}, {1024, 64}};
    uint64_t next = 1;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        f->opt.segment_size = sizes[i][0] * 1024;
        f->opt.ring_size = sizes[i][1] * 1024;
        util_seen seen = {.spread = 2500};
        wal *log = NULL;
        assert_ok(util_open(&f->opt, &log, &seen, &err), err);
        assert_null(seen.wrong);
        assert_int_equal(seen.last[0], next - 1);
        for (int j = 0; j < 60; j++) {
            uint64_t end;
            assert_ok(util_append(log, 0, next++, 2500, &end, &err), err);
        }
        wal_abandon(log);
    }
}

static void a_lost_ring_costs_only_what_was_not_synced(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_ok(util_append(log, 0, 1, 0, &end, &err), err);
    assert_ok(wal_sync(log, end, &err), err);
    assert_ok(util_append(log, 0, 2, 0, &end, &err), err);
    wal_abandon(log);
    assert_ok(vio_remove(f->env.io, "wal/ring", &err), err);
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_int_equal(seen.last[0], 1);
    assert_ok(util_append(log, 0, 2, 0, &end, &err), err);
    wal_abandon(log);
    seen = (util_seen){0};
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_int_equal(seen.last[0], 2);
    assert_ok(wal_close(log, &err), err);
}

static void wrong_options_are_refused(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    wal_options opt = f->opt;
    opt.segment_size = 5000;
    assert_status(VV_INVALID, wal_open(&opt, &log, &err));
    opt.segment_size = VV_BLOCK;
    assert_status(VV_INVALID, wal_open(&opt, &log, &err));
    opt = f->opt;
    opt.ring_size = 4 * VV_BLOCK;
    assert_status(VV_INVALID, wal_open(&opt, &log, &err));
    opt = f->opt;
    opt.spare_segments = 1000;
    assert_status(VV_INVALID, wal_open(&opt, &log, &err));
    opt = f->opt;
    opt.read_only = true;
    assert_status(VV_NOT_FOUND, wal_open(&opt, &log, &err));
    assert_null(log);
}

static void wrong_calls_are_refused(void **state)
{
    util_dir *f = *state;
    vv_error err;
    uint64_t end = 77;
    wal *log = NULL;
    assert_ok(wal_open(&f->opt, &log, &err), err);
    static uint8_t bytes[UTIL_PAYLOAD_MAX];
    wal_record rec = util_entry(bytes, 0, 1, 0);
    assert_status(VV_INVALID, wal_append(log, &rec, 0, &end, &err));
    rec.kind = (wal_kind)9;
    assert_status(VV_INVALID, wal_append(log, &rec, 1, &end, &err));
    rec = util_entry(bytes, WAL_SHARD_MAX, 1, 0);
    assert_status(VV_INVALID, wal_append(log, &rec, 1, &end, &err));
    rec = util_entry(bytes, 0, 1, 0);
    rec.kind = WAL_COMMIT;
    assert_status(VV_INVALID, wal_append(log, &rec, 1, &end, &err));
    assert_int_equal(end, 77);
    assert_status(VV_INVALID, wal_sync(log, 1, &err));
    assert_status(VV_INVALID, wal_release(log, WAL_SHARD_MAX, 1, &err));
    wal_abandon(log);
    assert_ok(wal_close(NULL, &err), err);
}

static void calls_out_of_order_are_refused(void **state)
{
    util_dir *f = *state;
    vv_error err;
    uint64_t end;
    wal *log = NULL;
    assert_ok(wal_open(&f->opt, &log, &err), err);
    static uint8_t bytes[UTIL_PAYLOAD_MAX];
    wal_record rec = util_entry(bytes, 0, 1, 0);
    assert_ok(wal_append(log, &rec, 1, &end, &err), err);
    wal_abandon(log);

    assert_ok(wal_open(&f->opt, &log, &err), err);
    assert_status(VV_INVALID, wal_append(log, &rec, 1, &end, &err)); /* not replayed */
    util_seen seen = {0};
    assert_ok(wal_replay(log, util_see, &seen, &err), err);
    assert_status(VV_INVALID, wal_replay(log, util_see, &seen, &err));
    assert_ok(wal_close(log, &err), err);
}

static vv_status fail_at_second(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)rec;
    (void)position;
    int *n = ctx;
    if (++*n < 2)
        return VV_OK;
    err->status = VV_BUSY;
    (void)snprintf(err->msg, sizeof err->msg, "enough");
    return VV_BUSY;
}

static void a_failing_consumer_ends_the_replay(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; i <= 5; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    assert_ok(wal_close(log, &err), err);
    int n = 0;
    assert_ok(wal_open(&f->opt, &log, &err), err);
    assert_status(VV_BUSY, wal_replay(log, fail_at_second, &n, &err));
    assert_string_equal(err.msg, "enough");
    assert_int_equal(n, 2);
    wal_abandon(log);
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_int_equal(seen.count, 5);
    assert_ok(wal_close(log, &err), err);
}

static void a_read_only_log_changes_nothing(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; i <= 50; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    wal_abandon(log);
    for (int i = 0; i < 2; i++) {
        wal_options ro = f->opt;
        ro.read_only = true;
        seen = (util_seen){0};
        assert_ok(util_open(&ro, &log, &seen, &err), err);
        assert_int_equal(seen.count, 50);
        assert_true(wal_recovery_stats(log)->ring_bytes > 0);
        assert_status(VV_UNSUPPORTED, util_append(log, 0, 51, 0, &end, &err));
        assert_status(VV_UNSUPPORTED, wal_release(log, 0, 50, &err));
        assert_ok(wal_close(log, &err), err);
    }
}

static vv_status full_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                             vv_error *err)
{
    (void)file;
    (void)offset;
    (void)buf;
    (void)len;
    return vv_fail(err, VV_NO_SPACE, "no space left on device");
}

/* File systems that copy on write need space for a block that is there already. The log is at its
 * end then, and must not say "later". */
static void no_space_for_a_written_block_is_final(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_ok(util_append(log, 0, 1, 0, &end, &err), err);
    vio_file *file = log->segs[log->seg_count - 1]->file;
    const vio_ops *real = file->ops;
    vio_ops full = *real;
    full.pwrite = full_pwrite;
    file->ops = &full;
    assert_status(VV_IO, wal_sync(log, end, &err));
    file->ops = real;
    assert_status(VV_IO, wal_sync(log, end, &err));
    assert_non_null(strstr(err.msg, "no space left"));
    assert_status(VV_IO, util_append(log, 0, 2, 0, &end, &err));
    assert_status(VV_IO, wal_close(log, &err));
}

static void the_ring_counts_in_the_budget(void **state)
{
    util_dir *f = *state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    f->opt.budget = &budget;
    util_seen seen = {0};
    wal *log = NULL;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_LOG), f->opt.ring_size);
    assert_ok(wal_close(log, &err), err);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* ---- check and dump of what is not well ---- */

typedef struct lines {
    int count;
    char all[8192];
} lines;

static void note_line(void *ctx, const char *text)
{
    lines *l = ctx;
    size_t used = strlen(l->all);
    l->count++;
    (void)snprintf(l->all + used, sizeof l->all - used, "%s\n", text);
}

static void flip_byte(util_dir *f, const char *path, uint64_t offset)
{
    vv_error err;
    vio_file *file = NULL;
    uint8_t byte;
    assert_ok(vio_open(f->env.io, path, VIO_READ | VIO_WRITE, &file, &err), err);
    assert_ok(vio_pread_full(file, offset, &byte, 1, &err), err);
    byte ^= 0x10;
    assert_ok(vio_pwrite(file, offset, &byte, 1, &err), err);
    vio_close(file);
}

static void check_names_every_damaged_segment(void **state)
{
    util_dir *f = *state;
    vv_error err;
    f->opt.segment_size = 32 * 1024;
    f->opt.ring_size = 32 * 1024;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end = 0;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; end < 200000; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    assert_ok(wal_close(log, &err), err);
    flip_byte(f, "wal/0000000000000002.seg", VV_BLOCK + 5000);
    flip_byte(f, "wal/0000000000000004.seg", VV_BLOCK + 20);
    lines l = {0};
    assert_status(VV_CORRUPT, wal_check(&f->env, "wal", note_line, &l, NULL, &err));
    assert_int_equal(l.count, 2);
    assert_non_null(strstr(l.all, "segment 2: offset"));
    assert_non_null(strstr(l.all, "segment 4: offset 4096"));
    assert_non_null(strstr(err.msg, "segment 2: offset"));

    l = (lines){0};
    assert_ok(wal_dump_file(&f->env, "wal/0000000000000004.seg", note_line, &l, &err), err);
    assert_int_equal(l.count, 2);
    assert_non_null(strstr(l.all, "end at position"));
    assert_status(VV_NOT_FOUND, wal_dump_file(&f->env, "wal/nothing", NULL, NULL, &err));
    /* The replay stops at the first, and the log stays as it is. */
    seen = (util_seen){0};
    assert_status(VV_CORRUPT, util_open(&f->opt, &log, &seen, &err));
    assert_non_null(strstr(err.msg, "segment 2: offset"));
    assert_non_null(strstr(err.msg, "restore"));
}

static void check_tells_what_opening_would_do(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end = 0;
    lines l = {0};
    assert_status(VV_NOT_FOUND, wal_check(&f->env, "wal", note_line, &l, NULL, &err));
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; i <= 10; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    wal_abandon(log);
    wal_recovery found;
    assert_ok(wal_check(&f->env, "wal", note_line, &l, &found, &err), err);
    assert_int_equal(l.count, 1);
    assert_non_null(strstr(l.all, "in the ring alone"));
    assert_int_equal(found.entries, 10);
    assert_int_equal(found.ring_bytes, end);
    l = (lines){0};
    assert_ok(wal_dump_file(&f->env, "wal/ring", note_line, &l, &err), err);
    assert_int_equal(l.count, 1 + 2 * 10 + 1);
}

static void check_tells_what_the_ring_makes_good(void **state)
{
    util_dir *f = *state;
    vv_error err;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end = 0;
    lines l = {0};
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; i <= 10; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    assert_ok(wal_sync(log, end, &err), err);
    assert_ok(util_append(log, 0, 11, 0, &end, &err), err); /* it says what was synced before */
    assert_ok(wal_close(log, &err), err);
    flip_byte(f, "wal/0000000000000001.seg", VV_BLOCK + 100); /* the ring still has it */
    assert_status(VV_CORRUPT, wal_check(&f->env, "wal", note_line, &l, NULL, &err));
    assert_non_null(strstr(l.all, "the ring still has them"));
    seen = (util_seen){0};
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    assert_int_equal(seen.count, 11);
    assert_ok(wal_close(log, &err), err);
    assert_ok(wal_check(&f->env, "wal", note_line, &l, NULL, &err), err);
}

static void missing_and_cut_segments_are_damage(void **state)
{
    util_dir *f = *state;
    vv_error err;
    f->opt.segment_size = 32 * 1024;
    util_seen seen = {0};
    wal *log = NULL;
    uint64_t end = 0;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    for (uint64_t i = 1; end < 150000; i++)
        assert_ok(util_append(log, 0, i, 0, &end, &err), err);
    assert_ok(wal_close(log, &err), err);
    vv_error why;
    vio *io = f->env.io;
    assert_ok(vio_rename(io, "wal/0000000000000003.seg", "wal/x", &err), err);
    assert_status(VV_CORRUPT, util_open(&f->opt, &log, &seen, &why));
    assert_non_null(strstr(why.msg, "segment 3 is missing"));
    assert_ok(vio_rename(io, "wal/x", "wal/0000000000000003.seg", &err), err);
    flip_byte(f, "wal/0000000000000002.seg", 70);
    assert_status(VV_CORRUPT, util_open(&f->opt, &log, &seen, &why));
    assert_non_null(strstr(why.msg, "header of segment 2"));
    flip_byte(f, "wal/0000000000000002.seg", 70);
    vio_file *file = NULL;
    assert_ok(vio_open(io, "wal/0000000000000002.seg", VIO_READ | VIO_WRITE, &file, &err), err);
    assert_ok(vio_truncate(file, 20000, &err), err);
    vio_close(file);
    assert_status(VV_CORRUPT, util_open(&f->opt, &log, &seen, &why));
    assert_non_null(strstr(why.msg, "20000 bytes of 32768"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, util_setup, util_teardown)

typedef struct scanned {
    util_seen seen;
    uint64_t count;
    uint64_t stop_after;
} scanned;

static vv_status scan_one(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    scanned *s = ctx;
    if (s->stop_after > 0 && s->count == s->stop_after)
        return vv_fail(err, VV_TIMEOUT, "enough");
    s->count++;
    return util_see(&s->seen, rec, position, err);
}

/* What is asked for is there, beside a writer, while segments that nobody needs would go. */
static void a_held_log_can_be_read_while_it_is_written(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    util_seen seen = {.spread = 3000};
    uint64_t end = 0;
    uint64_t above[WAL_SHARD_MAX] = {0};
    wal_stats stats;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    wal_hold(log);
    for (uint64_t i = 1; i <= 400; i++) {
        assert_ok(util_append(log, 3, i, 3000, &end, &err), err);
        assert_ok(util_append(log, 5, i, 3000, &end, &err), err);
    }
    assert_status(VV_INVALID, wal_scan(log, end + 1, above, scan_one, NULL, &err));
    assert_ok(wal_sync(log, end, &err), err);
    uint64_t after = 0;
    assert_ok(wal_release(log, 3, 400, &err), err);
    assert_ok(wal_release(log, 5, 400, &err), err);
    for (uint64_t i = 401; i <= 500; i++)
        assert_ok(util_append(log, 3, i, 3000, &after, &err), err);
    wal_stats_read(log, &stats);
    uint64_t held = stats.segments;
    for (uint64_t from = 0; from < 400; from += 93) {
        scanned s = {.seen = {.spread = 3000}};
        above[3] = from;
        above[5] = 390;
        assert_ok(wal_scan(log, end, above, scan_one, &s, &err), err);
        assert_null(s.seen.wrong);
        assert_int_equal(400 - from + 10, s.count);
        assert_int_equal(400, s.seen.last[3]);
        assert_int_equal(400, s.seen.last[5]);
    }
    scanned s = {.seen = {.spread = 3000}, .stop_after = 3};
    assert_status(VV_TIMEOUT, wal_scan(log, end, above, scan_one, &s, &err));
    wal_unhold(log);
    assert_ok(wal_sync(log, after, &err), err);
    assert_ok(wal_release(log, 3, 401, &err), err);
    wal_stats_read(log, &stats);
    assert_true(stats.segments < held);
    assert_ok(wal_close(log, &err), err);
}

/* What an archive has not fetched stays, within its bound. */
static void a_log_is_kept_for_an_archive(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    util_seen seen = {.spread = 3000};
    uint64_t end = 0;
    uint64_t above[WAL_SHARD_MAX] = {0};
    scanned s = {.seen = {.spread = 3000}};
    wal_stats stats;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    wal_keep(log, 0, UINT64_MAX);
    for (uint64_t i = 1; i <= 400; i++)
        assert_ok(util_append(log, 3, i, 3000, &end, &err), err);
    assert_ok(wal_sync(log, end, &err), err);
    assert_ok(wal_release(log, 3, 400, &err), err);
    assert_ok(wal_scan(log, end, above, scan_one, &s, &err), err);
    assert_int_equal(400, s.count);
    wal_stats_read(log, &stats);
    uint64_t kept = stats.segments;
    assert_true(kept > 1);
    wal_keep(log, end, UINT64_MAX); /* it was fetched */
    assert_ok(wal_release(log, 3, 400, &err), err);
    wal_stats_read(log, &stats);
    assert_true(stats.segments < kept);
    wal_keep(log, 0, 1); /* more than it may be */
    for (uint64_t i = 401; i <= 800; i++)
        assert_ok(util_append(log, 3, i, 3000, &end, &err), err);
    assert_ok(wal_sync(log, end, &err), err);
    assert_ok(wal_release(log, 3, 800, &err), err);
    wal_stats_read(log, &stats);
    assert_true(stats.segments < kept);
    assert_ok(wal_close(log, &err), err);
}

/* Kept for an archive is not unreleased: it neither counts nor hides who holds the log. */
static void what_is_kept_and_released_is_no_pressure(void **state)
{
    util_dir *f = *state;
    vv_error err;
    wal *log = NULL;
    util_seen seen = {0};
    uint64_t end = 0;
    uint64_t i = 1;
    wal_stats stats;
    f->opt.segment_size = 32 * 1024;
    f->opt.ring_size = 32 * 1024;
    f->opt.log_limit = 256 * 1024;
    assert_ok(util_open(&f->opt, &log, &seen, &err), err);
    wal_shard_open(log, 3);
    wal_keep(log, 0, UINT64_MAX);
    for (; i <= 4000; i++)
        assert_ok(util_append(log, 3, i, 0, &end, &err), err);
    assert_ok(wal_sync(log, end, &err), err);
    assert_int_equal(wal_pressure(log), UINT64_C(1) << 3);
    assert_ok(wal_release(log, 3, 4000, &err), err);
    assert_int_equal(wal_pressure(log), 0);
    wal_stats_read(log, &stats);
    assert_true(stats.retained_bytes > 2 * f->opt.log_limit);
    for (; i <= 4500; i++)
        assert_ok(util_append(log, 3, i, 0, &end, &err), err);
    assert_int_equal(wal_pressure(log), 0);
    for (; i <= 6000; i++)
        assert_ok(util_append(log, 3, i, 0, &end, &err), err);
    assert_int_equal(wal_pressure(log), UINT64_C(1) << 3);
    assert_ok(wal_close(log, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_new_log_is_empty_and_reopens_empty),
        T(what_was_closed_is_there_again),
        T(after_sigkill_all_that_was_appended_is_there),
        T(batches_of_every_size_pass),
        T(a_batch_of_many_records_is_delivered_in_order),
        T(released_segments_go_and_are_recycled),
        T(spares_are_made_in_the_background),
        T(the_background_drains_the_ring),
        T(a_changed_ring_and_segment_size_keep_the_log),
        T(a_lost_ring_costs_only_what_was_not_synced),
        T(wrong_options_are_refused),
        T(wrong_calls_are_refused),
        T(calls_out_of_order_are_refused),
        T(a_failing_consumer_ends_the_replay),
        T(a_read_only_log_changes_nothing),
        T(no_space_for_a_written_block_is_final),
        T(the_ring_counts_in_the_budget),
        T(check_names_every_damaged_segment),
        T(check_tells_what_opening_would_do),
        T(check_tells_what_the_ring_makes_good),
        T(missing_and_cut_segments_are_damage),
        T(a_log_is_kept_for_an_archive),
        T(what_is_kept_and_released_is_no_pressure),
        T(a_held_log_can_be_read_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
