/*
 * engine_suite_work.c - what happens behind the writers: freezing, flushing, compacting, reopening,
 * pins and floors, and running out of things.
 */
#include "engine/engine_suite_int.h"

#include "base/alloc.h"

/* -- pins and floors -- */

static void pinned_reads(bed *b, void *ctx)
{
    (void)ctx;
    b->now_ns = 1500;
    expect_get(b, "a", 3, "three");
    expect_get(b, "ttl", 3, "alive");
    expect_get(b, "gone", 3, "here");
    expect_get(b, "ranged", 3, "here");
    expect_scan(b, 3, "a=three gone=here ranged=here ttl=alive");
    b->now_ns = 9000;
    expect_get(b, "a", b->version, "last");
    expect_scan(b, b->version, "a=last");
}

static void a_pin_keeps_what_it_needs(bed *b)
{
    vv_error err;
    put_now(b, "a", "one");
    put(b, "a", "two");
    put(b, "gone", "here");
    put(b, "ranged", "here");
    commit(b);
    put(b, "a", "three");
    put_until(b, "ttl", "alive", 2000);
    commit(b);
    assert_ok(b->e->ops->pin(b->e, 3, 1500, &err), err);
    assert_ok(b->e->ops->pin(b->e, 3, 1500, &err), err); /* pins count */
    put(b, "a", "four");
    del(b, "gone");
    commit(b);
    del_range(b, "r", "s");
    commit(b);
    put_now(b, "a", "last");
    b->floor = (engine_floor){.version = b->version, .time_ns = 9000};
    pinned_reads(b, NULL);
    compact_all(b);
    pinned_reads(b, NULL);
    b->e->ops->unpin(b->e, 3, 1500);
    compact_all(b);
    pinned_reads(b, NULL);
    b->e->ops->unpin(b->e, 3, 1500);
    compact_all(b);
    b->now_ns = 9000;
    expect_scan(b, b->version, "a=last");
}

static void reads_from_the_floor_on_are_right(bed *b)
{
    char value[16];
    for (int i = 1; i <= 30; i++) {
        (void)snprintf(value, sizeof value, "%d", i);
        put(b, "a", value);
        if (i % 2 == 0)
            put(b, "b", value);
        else
            del(b, "b");
        commit(b);
        if (i % 10 == 0) {
            b->floor.version = i - 4;
            compact_all(b);
        }
    }
    for (int state = 0; state < 2; state++) {
        for (int i = 26; i <= 30; i++) {
            (void)snprintf(value, sizeof value, "%d", i);
            expect_get(b, "a", i, value);
            expect_get(b, "b", i, i % 2 == 0 ? value : NULL);
        }
        bed_reopen(b);
    }
}

/* What nobody can ask for any more goes away in the end. */
static void dead_versions_are_dropped(bed *b)
{
    char key[16];
    char value[200];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        put(b, key, value);
        if (i % 100 == 99)
            commit(b);
    }
    put_now(b, "keep", "me");
    compact_all(b);
    engine_stats full;
    b->e->ops->stats(b->e, &full);
    del_range(b, "0", "1");
    for (int i = 1000; i < 3000; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        del(b, key);
    }
    commit(b);
    b->floor.version = b->version;
    compact_all(b);
    expect_scan(b, b->version, "keep=me");
    engine_stats left;
    b->e->ops->stats(b->e, &left);
    if (full.disk_bytes > 0 && left.disk_bytes > full.disk_bytes / 4)
        fail_msg("%llu bytes on disk are left of %llu", (unsigned long long)left.disk_bytes,
                 (unsigned long long)full.disk_bytes);
}

/* -- freezing and flushing -- */

static void prepare_says_busy_until_work_is_done(bed *b)
{
    b->subject->ops->close(b->e);
    b->opt.memtable_size = 64 * VV_KIB;
    b->opt.memtable_count = 2;
    vv_error err;
    assert_ok(bed_try_open(b, &err), err);
    static char value[4000];
    memset(value, 'v', sizeof value - 1);
    char key[16];
    int busy = 0;
    int written = 0;
    for (int i = 0; i < 400 && busy < 3; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        put(b, key, value);
        vv_status st = try_commit(b, &err);
        if (st == VV_BUSY) {
            forget_batch(b);
            expect_get(b, "0000", b->version, value); /* reads go on */
            engine_stats stats;
            b->e->ops->stats(b->e, &stats);
            assert_true(stats.memtable_count <= 2);
            settle(b);
            busy++;
            i--;
            continue;
        }
        assert_ok(st, err);
        written++;
    }
    assert_int_equal(busy, 3);
    for (int i = 0; i < written; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        expect_get(b, key, b->version, value);
    }
}

static void freeze_and_work_flush(bed *b)
{
    vv_error err;
    engine_stats stats;
    assert_ok(b->e->ops->freeze(b->e, &err), err); /* empty: nothing to freeze */
    b->e->ops->stats(b->e, &stats);
    assert_int_equal(stats.memtable_count, 1);
    assert_status(VV_NOT_FOUND, b->e->ops->work(b->e, &err));
    put_now(b, "a", "1");
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    b->e->ops->stats(b->e, &stats);
    assert_int_equal(stats.memtable_count, 2);
    uint32_t engines = b->subject->engines == 0 ? 1 : b->subject->engines;
    for (uint32_t i = 0; i < engines; i++)
        assert_ok(b->e->ops->work(b->e, &err), err);
    b->e->ops->stats(b->e, &stats);
    assert_int_equal(stats.memtable_count, 1);
    assert_int_equal(stats.flushes, engines);
    settle(b);
    expect_scan(b, 1, "a=1");
    int64_t checkpoint = b->e->ops->checkpoint(b->e);
    assert_true(checkpoint == 0 || checkpoint == 1);
    assert_int_equal(stats.checkpoint, checkpoint);
    assert_int_equal(b->checkpointed, checkpoint); /* the hook said so too */
}

static void an_empty_engine_answers(bed *b)
{
    engine_stats stats;
    vv_error err;
    for (int i = 0; i < 2; i++) {
        expect_get(b, "a", 0, NULL);
        expect_get(b, "a", 1000, NULL);
        expect_scan(b, 1000, "");
        b->e->ops->stats(b->e, &stats);
        assert_int_equal(stats.memtable_items, 0);
        assert_int_equal(b->e->ops->visible(b->e), 0);
        assert_int_equal(b->e->ops->checkpoint(b->e), 0);
        assert_int_equal(b->e->ops->throttle_ns(b->e, 100), 0);
        assert_int_equal(b->e->ops->approximate_size(b->e, vv_slice_str("a"), vv_slice_str("b")),
                         0);
        compact_all(b);
        assert_ok(b->e->ops->pin(b->e, 0, 0, &err), err);
        b->e->ops->unpin(b->e, 0, 0);
        bed_reopen(b);
    }
}

static void figures_follow(bed *b)
{
    char key[16];
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        put_now(b, key, "a value of some length, the same for every key");
    }
    engine_stats stats;
    b->e->ops->stats(b->e, &stats);
    assert_true(stats.memtable_items <= 2000);
    assert_true(stats.memtable_bytes > 0);
    compact_all(b);
    b->e->ops->stats(b->e, &stats);
    assert_true(stats.flushes >= 1);
    uint8_t low[32];
    uint8_t mid[32];
    uint8_t high[32];
    vv_slice l = table_key(1, "", low, sizeof low);
    vv_slice m = table_key(1, "1000", mid, sizeof mid);
    vv_slice h = table_key(2, "", high, sizeof high);
    uint64_t all = b->e->ops->approximate_size(b->e, l, h);
    uint64_t half = b->e->ops->approximate_size(b->e, l, m);
    assert_true(half <= all && all <= stats.disk_bytes);
    assert_int_equal(b->e->ops->approximate_size(b->e, h, l), 0);
    if (stats.disk_bytes > 0)
        assert_true(half > all / 4 && half < all / 4 * 3);
}

/* -- reopening -- */

static void a_reopened_engine_is_the_same(bed *b)
{
    char key[16];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 50; i++) {
            (void)snprintf(key, sizeof key, "%d.%02d", round, i);
            put(b, key, key);
        }
        commit(b);
        if (round % 2 == 0) {
            vv_error err;
            assert_ok(b->e->ops->freeze(b->e, &err), err);
            settle(b);
            put_now(b, "only in the log", "x");
            del_range(b, "0.1", "0.2");
            commit(b);
        }
        bed_reopen(b);
        for (int i = 0; i < 50; i++) {
            (void)snprintf(key, sizeof key, "%d.%02d", round, i);
            bool ranged = round == 0 && i >= 10 && i < 20;
            expect_get(b, key, b->version, ranged ? NULL : key);
        }
        expect_clean(b);
    }
    expect_get(b, "0.09", b->version, "0.09");
    expect_get(b, "0.15", b->version, NULL);
    expect_get(b, "only in the log", b->version, "x");
}

static void replay_may_overlap(bed *b)
{
    put_now(b, "a", "1");
    put_now(b, "b", "1");
    vv_error err;
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    settle(b);
    del(b, "a");
    commit(b);
    for (int i = 0; i < 3; i++) {
        bed_reopen(b); /* hands over entries from before the checkpoint */
        expect_scan(b, b->version, "b=1");
        expect_scan(b, 2, "a=1 b=1");
        expect_get(b, "a", 1, "1");
    }
}

/* -- running out -- */

static void the_budget_is_a_limit(bed *b)
{
    put_now(b, "a", "1");
    vv_error err;
    b->budget.limit = vv_budget_used(&b->budget) + VV_KIB;
    static char value[64 * 1024];
    memset(value, 'v', sizeof value - 1);
    vv_status st = VV_OK;
    for (int i = 0; i < 100 && st == VV_OK; i++) {
        put(b, "big", value);
        st = try_commit(b, &err);
    }
    forget_batch(b);
    expect_get(b, "a", b->version, "1"); /* reads and small things go on */
    b->budget.limit = 0;
    put_now(b, "b", "2");
    expect_get(b, "b", b->version, "2");
    /* The model counts only; who reserves must say so by its name. */
    if (st != VV_OK)
        assert_true(st == VV_NO_MEMORY || st == VV_BUSY);
}

/* A workload that stops at nothing but a broken promise; false when an allocation failed in it. */
static bool try_everything(bed *b, int round)
{
    vv_error err;
    char key[16];
    bool clean = true;
    for (int i = 0; i < 4; i++) {
        (void)snprintf(key, sizeof key, "%d.%d", round, i);
        put(b, key, "value");
        del_range(b, "x", "y");
        vv_status st = try_commit(b, &err);
        if (st == VV_BUSY) {
            (void)b->e->ops->work(b->e, &err);
            st = VV_NO_MEMORY;
        }
        if (st != VV_OK) {
            assert_int_equal(st, VV_NO_MEMORY);
            forget_batch(b);
            clean = false;
        }
    }
    uint8_t buf[32];
    engine_value value;
    engine_read read = {.version = b->version, .now_ns = b->now_ns};
    vv_status st = b->e->ops->get(b->e, table_key(1, "base", buf, sizeof buf), &read, &value, &err);
    if (st == VV_OK)
        engine_value_release(&value);
    else
        assert_int_equal(st, VV_NO_MEMORY);
    clean = clean && st == VV_OK;

    engine_cursor *c = NULL;
    uint8_t low[8];
    uint8_t high[8];
    engine_cursor_options opt = {.read = read,
                                 .lower = table_key(1, "", low, sizeof low),
                                 .upper = table_key(2, "", high, sizeof high)};
    st = b->e->ops->cursor(b->e, &opt, &c, &err);
    if (st == VV_OK) {
        st = engine_cursor_seek(c, vv_slice_of(NULL, 0), &err);
        while (st == VV_OK && engine_cursor_valid(c))
            st = engine_cursor_next(c, &err);
        engine_cursor_close(c);
    }
    if (st != VV_OK)
        assert_int_equal(st, VV_NO_MEMORY);
    clean = clean && st == VV_OK;

    st = b->e->ops->pin(b->e, b->version, b->now_ns, &err);
    if (st == VV_OK)
        b->e->ops->unpin(b->e, b->version, b->now_ns);
    clean = clean && st == VV_OK;
    st = b->e->ops->freeze(b->e, &err);
    clean = clean && st == VV_OK;
    st = b->e->ops->compact_range(b->e, opt.lower, opt.upper, &err);
    clean = clean && st == VV_OK;
    for (int i = 0; i < 20; i++) {
        st = b->e->ops->work(b->e, &err);
        if (st == VV_NOT_FOUND)
            break;
        clean = clean && st == VV_OK;
    }
    return clean;
}

static void every_allocation_may_fail(bed *b)
{
    put_now(b, "base", "1");
    bool failed = true;
    for (int n = 0; failed && n < 4000; n++) {
        vv_alloc_fail_after(n, 0);
        bool clean = try_everything(b, n);
        vv_alloc_fail_after(-1, 0);
        failed = !clean;
        engine_stats stats;
        b->e->ops->stats(b->e, &stats);
        if (stats.failed || n % 16 == 15)
            bed_reopen(b); /* what is latched is gone after a reopen, what was acked is not */
        else
            settle(b);
        expect_get(b, "base", b->version, "1");
        char key[16];
        for (size_t i = 0; i < 4; i++) { /* as the log says, whatever that was */
            (void)snprintf(key, sizeof key, "%d.%zu", n, i);
            bool logged_it = false;
            for (size_t at = b->log_count < 8 ? 0 : b->log_count - 8; at < b->log_count; at++)
                logged_it |= memmem(b->log[at].payload.data, b->log[at].payload.len, key,
                                    strlen(key)) != NULL;
            expect_get(b, key, b->version, logged_it ? "value" : NULL);
        }
    }
    if (vv_alloc_count() > 0)
        assert_false(failed);
}

static void open_survives_failed_allocations(bed *b)
{
    put_now(b, "a", "1");
    compact_all(b);
    put_now(b, "b", "2");
    b->subject->ops->close(b->e);
    b->e = NULL;
    vv_status st = VV_NO_MEMORY;
    vv_error err;
    for (int n = 0; st != VV_OK; n++) {
        vv_alloc_fail_after(n, 0);
        st = bed_try_open(b, &err);
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK)
            assert_int_equal(st, VV_NO_MEMORY);
    }
    bed_replay(b);
    expect_scan(b, 2, "a=1 b=2");
}

/* -- threads -- */

typedef struct shared {
    bed *b;
    _Atomic bool stop;
    _Atomic int wrong;
} shared;

/* Every batch writes the same number under each key: a reader must never see two. */
#define SAME_KEYS 20u

static void read_consistently(void *arg)
{
    shared *s = arg;
    const engine_ops *ops = s->b->e->ops;
    uint8_t low[8];
    uint8_t high[8];
    vv_slice lower = table_key(1, "", low, sizeof low);
    vv_slice upper = table_key(2, "", high, sizeof high);
    for (unsigned turn = 0; !atomic_load(&s->stop); turn++) {
        engine_read read = {.version = ops->visible(s->b->e)};
        engine_cursor_options opt = {.read = read, .lower = lower, .upper = upper};
        engine_cursor *c;
        if (ops->cursor(s->b->e, &opt, &c, NULL) != VV_OK) {
            atomic_fetch_add(&s->wrong, 1);
            return;
        }
        char first[16] = "";
        unsigned count = 0;
        bool reverse = turn % 2 == 1;
        vv_status st = reverse ? engine_cursor_seek_below(c, vv_slice_of(NULL, 0), NULL)
                               : engine_cursor_seek(c, vv_slice_of(NULL, 0), NULL);
        for (; st == VV_OK && engine_cursor_valid(c); count++) {
            const engine_item *item = engine_cursor_item(c);
            if (count == 0)
                (void)snprintf(first, sizeof first, "%.*s", (int)item->value.len,
                               (const char *)item->value.data);
            if (!vv_slice_eq(item->value, vv_slice_str(first)))
                atomic_fetch_add(&s->wrong, 1);
            engine_value got = {0};
            if (ops->get(s->b->e, item->key, &read, &got, NULL) != VV_OK ||
                !vv_slice_eq(got.data, vv_slice_str(first)))
                atomic_fetch_add(&s->wrong, 1);
            engine_value_release(&got);
            st = reverse ? engine_cursor_prev(c, NULL) : engine_cursor_next(c, NULL);
        }
        if (st != VV_OK || (read.version > 0 && count != SAME_KEYS))
            atomic_fetch_add(&s->wrong, 1);
        engine_cursor_close(c);
    }
}

static void work_on(void *arg)
{
    shared *s = arg;
    while (!atomic_load(&s->stop))
        if (s->b->e->ops->work(s->b->e, NULL) == VV_NOT_FOUND)
            vv_clock_sleep(s->b->env->clock, VV_NS_PER_MS);
}

static void readers_see_whole_batches(bed *b)
{
    if (b->env->threads == NULL) {
        print_message("  left out: this world has no threads\n");
        return;
    }
    shared s = {.b = b};
    vv_thread *threads[3];
    vv_error err;
    const vv_threads *t = b->env->threads;
    assert_ok(t->create("reader", VV_THREAD_NORMAL, read_consistently, &s, &threads[0], &err), err);
    assert_ok(t->create("reader", VV_THREAD_NORMAL, read_consistently, &s, &threads[1], &err), err);
    assert_ok(t->create("work", VV_THREAD_NORMAL, work_on, &s, &threads[2], &err), err);
    char key[16];
    char value[16];
    for (int i = 0; i < 3000 && atomic_load(&s.wrong) == 0; i++) {
        (void)snprintf(value, sizeof value, "%d", i);
        if (i % 50 == 49)
            del_range(b, "", "~"); /* and all of it back in the same batch */
        for (unsigned n = 0; n < SAME_KEYS; n++) {
            (void)snprintf(key, sizeof key, "%02u", n);
            put(b, key, value);
        }
        vv_status st = try_commit(b, &err);
        if (st == VV_BUSY) {
            forget_batch(b);
            vv_clock_sleep(b->env->clock, VV_NS_PER_MS / 10);
        } else {
            assert_ok(st, err);
        }
        if (i % 500 == 499)
            assert_ok(b->e->ops->freeze(b->e, &err), err);
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        t->join(threads[i]);
    assert_int_equal(atomic_load(&s.wrong), 0);
}

/* ---- files of a state ---- */

typedef struct held_files {
    char path[64][VIO_PATH_MAX];
    unsigned count;
    bool current_is_last;
} held_files;

static vv_status note_file(void *ctx, const engine_file *file, vv_error *err)
{
    held_files *held = ctx;
    (void)err;
    size_t len = strlen(file->path);
    held->current_is_last = len > 8 && strcmp(file->path + len - 8, "/CURRENT") == 0;
    for (unsigned i = 0; i < held->count; i++)
        if (strcmp(held->path[i], file->path) == 0)
            fail_msg("'%s' is named twice", file->path);
    if (file->content.data == NULL) {
        assert_true(held->count < ARRAY_LEN(held->path));
        (void)snprintf(held->path[held->count++], VIO_PATH_MAX, "%s",
                       file->source != NULL ? file->source : file->path);
    }
    return VV_OK;
}

static unsigned count_present(bed *b, const held_files *held)
{
    unsigned present = 0;
    for (unsigned i = 0; i < held->count; i++) {
        vio_file *file = NULL;
        present += vio_open(b->env->io, held->path[i], VIO_READ, &file, NULL) == VV_OK;
        vio_close(file);
    }
    return present;
}

static void held_files_stay(bed *b)
{
    static held_files held;
    vv_error err = {0};
    int64_t checkpoint = -1;
    const engine_ops *ops = b->e->ops;
    held = (held_files){0};
    if (ops->list_files == NULL)
        return;
    int64_t last = 0;
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i % 13);
        last = put_now(b, key, "some value that is a little longer than nothing");
        if (i % 10 == 9) {
            assert_ok(ops->freeze(b->e, &err), err);
            settle(b);
        }
    }
    ops->hold_files(b->e);
    vv_status listed = ops->list_files(b->e, note_file, &held, &checkpoint, &err);
    if (listed == VV_UNSUPPORTED) {
        print_message("  left out: %s\n", err.msg);
        ops->release_files(b->e);
        return;
    }
    assert_ok(listed, err);
    assert_true(held.count > 0 && held.current_is_last);
    assert_true(checkpoint == last && checkpoint == ops->checkpoint(b->e));
    ops->hold_files(b->e); /* they nest */
    ops->release_files(b->e);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 13; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "k%u", i);
            put_now(b, key, round % 2 == 0 ? "another" : "one");
        }
        compact_all(b);
    }
    settle(b);
    assert_int_equal(held.count, count_present(b, &held));
    ops->release_files(b->e);
    settle(b);
    assert_true(count_present(b, &held) < held.count);
    expect_get(b, "k3", b->version, "one");
    expect_clean(b);
}

const suite_test suite_work_tests[] = {
    {"a_pin_keeps_what_it_needs", a_pin_keeps_what_it_needs},
    {"reads_from_the_floor_on_are_right", reads_from_the_floor_on_are_right},
    {"dead_versions_are_dropped", dead_versions_are_dropped},
    {"prepare_says_busy_until_work_is_done", prepare_says_busy_until_work_is_done},
    {"freeze_and_work_flush", freeze_and_work_flush},
    {"an_empty_engine_answers", an_empty_engine_answers},
    {"figures_follow", figures_follow},
    {"held_files_stay", held_files_stay},
    {"a_reopened_engine_is_the_same", a_reopened_engine_is_the_same},
    {"replay_may_overlap", replay_may_overlap},
    {"the_budget_is_a_limit", the_budget_is_a_limit},
    {"every_allocation_may_fail", every_allocation_may_fail},
    {"open_survives_failed_allocations", open_survives_failed_allocations},
    {"readers_see_whole_batches", readers_see_whole_batches},
    {NULL, NULL},
};
