/*
 * db_pressure_test.c - short of memory, short of log: writers are slowed, not refused, and what the
 * store holds stays inside its limits while they wait.
 */
#include "db/db_test_util.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "db/db_int.h"

#define WRITERS 6
#define MEMTABLES 3 /* active and frozen together: the engine's default */

static vv_db *db;
static vv_table *kv;
static atomic_bool stop;
static atomic_int failures;
static uint64_t used_max; /* the watcher's, read after it ended */
static uint64_t memtables_max;
static uint64_t retained_max;

#define CHECK(cond, err)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            atomic_fetch_add(&failures, 1);                                                        \
            (void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #cond, (err).msg);        \
        }                                                                                          \
    } while (0)

static uint64_t value_len;
static unsigned writes; /* of each writer */

static void writer(void *arg)
{
    long id = (long)(intptr_t)arg;
    uint8_t *value = malloc(value_len);
    memset(value, (int)id, value_len);
    for (unsigned n = 0; n < writes; n++) {
        char key[32];
        vv_error err = {0};
        (void)snprintf(key, sizeof key, "%ld/%06u", id, n * 7919 % 1000000);
        CHECK(vv_put(kv, vv_slice_str(key), vv_slice_of(value, value_len), &err) == VV_OK, err);
    }
    free(value);
}

static void watcher(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        vv_stats s = {.size = sizeof s};
        vv_stats_read(db, &s);
        used_max = vv_max_u64(used_max, s.memory_used);
        memtables_max = vv_max_u64(memtables_max, s.memtable_count);
        retained_max = vv_max_u64(retained_max, s.log_retained_bytes);
        (void)usleep(500);
    }
}

/* All writers at once, watched. */
static void run_writers(void)
{
    vv_error err = {0};
    vv_thread *thread[WRITERS];
    vv_thread *watch = NULL;
    used_max = memtables_max = retained_max = 0;
    atomic_store(&stop, false);
    atomic_store(&failures, 0);
    const vv_threads *threads = vv_threads_real();
    assert_ok(threads->create("watch", VV_THREAD_NORMAL, watcher, NULL, &watch, &err), err);
    for (size_t i = 0; i < WRITERS; i++)
        assert_ok(threads->create("test", VV_THREAD_NORMAL, writer, (void *)(intptr_t)i, &thread[i],
                                  &err),
                  err);
    for (size_t i = 0; i < WRITERS; i++)
        threads->join(thread[i]);
    atomic_store(&stop, true);
    threads->join(watch);
    assert_int_equal(atomic_load(&failures), 0);
}

static void expect_all(void)
{
    for (long id = 0; id < WRITERS; id++)
        for (unsigned n = 0; n < writes; n++) {
            char key[32];
            vv_value v;
            vv_error err = {0};
            (void)snprintf(key, sizeof key, "%ld/%06u", id, n * 7919 % 1000000);
            assert_ok(vv_get(kv, NULL, vv_slice_str(key), &v, &err), err);
            assert_int_equal(v.data.len, value_len);
            assert_int_equal(v.data.data[value_len / 2], id);
            vv_value_release(&v);
        }
}

static char dir[64];

static void open_real(const vv_options *opt)
{
    vv_error err = {0};
    (void)strcpy(dir, "/tmp/varve-pressure-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_ok(vv_db_open(dir, opt, &db, &err), err);
    kv = make_table(db, "plant", "kv", VV_TABLE_KV);
}

static void close_real(void)
{
    vv_error err = {0};
    char command[128];
    vv_table_close(kv);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static vv_options tight_memory(void)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.durability = VV_DURABLE_OS;
    opt.memory_limit = 16u << 20;
    opt.cache_size = 2u << 20;
    opt.log_segment_size = 4u << 20;
    return opt;
}

/* Several times the limit is written; others hold all the memory they may. */
static void writers_wait_for_memory(void **state)
{
    (void)state;
    vv_options opt = tight_memory();
    open_real(&opt);
    vv_budget *budget = db_budget(db);
    uint64_t taken = 0;
    while (vv_budget_reserve(budget, VV_BUDGET_NETWORK, 4096))
        taken += 4096;
    assert_true(taken > 0 && taken < opt.memory_limit);
    value_len = 1000;
    writes = 8000;
    run_writers();
    assert_true(used_max <= opt.memory_limit);
    assert_true(memtables_max <= MEMTABLES);
    vv_budget_release(budget, VV_BUDGET_NETWORK, taken);
    expect_all();
    close_real();
}

/* Entries larger than a memtable. */
static void large_writes_wait_for_memory(void **state)
{
    (void)state;
    vv_options opt = tight_memory();
    opt.memtable_size = 256u << 10;
    open_real(&opt);
    value_len = 700000;
    writes = 15;
    run_writers();
    assert_true(memtables_max <= MEMTABLES);
    expect_all();
    close_real();
}

/* What could never be served is told so, and at once. */
static void what_never_fits_is_refused(void **state)
{
    (void)state;
    vv_options opt = tight_memory();
    open_real(&opt);
    size_t len = 15u << 20;
    uint8_t *big = calloc(1, len);
    vv_error err = {0};
    int64_t begin = vv_clock_mono(vv_clock_real());
    assert_status(VV_NO_MEMORY, vv_put(kv, vv_slice_str("big"), vv_slice_of(big, len), &err));
    assert_non_null(strstr(err.msg, "never fits"));
    assert_true(vv_clock_mono(vv_clock_real()) - begin < 9 * VV_NS_PER_S); /* it did not wait */
    free(big);
    put(kv, "k", "v");
    expect(kv, NULL, "big", NULL);
    close_real();
}

/* The same data again and again: compactions run while there is nothing to spare. */
static void a_compaction_keeps_the_limit(void **state)
{
    (void)state;
    vv_options opt = tight_memory();
    opt.memtable_size = 512u << 10;
    open_real(&opt);
    vv_budget *budget = db_budget(db);
    uint64_t taken = 0;
    while (vv_budget_reserve(budget, VV_BUDGET_QUERY, 4096))
        taken += 4096;
    value_len = 200;
    writes = 5000;
    for (int round = 0; round < 4; round++)
        run_writers();
    vv_error err = {0};
    atomic_store(&stop, false);
    vv_thread *watch = NULL;
    assert_ok(vv_threads_real()->create("watch", VV_THREAD_NORMAL, watcher, NULL, &watch, &err),
              err);
    assert_ok(vv_compact(kv, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    atomic_store(&stop, true);
    vv_threads_real()->join(watch);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    assert_true(s.compactions > 0 && s.compaction_write_bytes > 0);
    assert_true(used_max <= opt.memory_limit);
    assert_int_equal(vv_budget_part_used(budget, VV_BUDGET_WORK), 0); /* given back */
    vv_budget_release(budget, VV_BUDGET_QUERY, taken);
    expect_all();
    close_real();
}

/* The log over its limit: each shard flushes what holds it, once. Freezing at every piece of work
 * would make memtables by the hundred. */
static void a_short_log_is_relieved_once(void **state)
{
    (void)state;
    vv_options opt = VV_OPTIONS_INIT;
    opt.durability = VV_DURABLE_OS;
    opt.memory_limit = 64u << 20;
    opt.memtable_size = 512u << 10; /* what is not flushed yet is in the log: at most six of them */
    opt.shard_count = 2;
    opt.log_segment_size = 256u << 10;
    opt.log_limit = 1u << 20;
    opt.log_ring_size = 256u << 10;
    open_real(&opt);
    value_len = 1000;
    writes = 4000;
    run_writers();
    assert_true(memtables_max <= 2 * MEMTABLES);
    /* Over the limit while flushes run, but far from all that was written, some 24 MiB. */
    assert_true(retained_max <= 8 * opt.log_limit);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    assert_true(s.flushes > 0);
    expect_all();
    close_real();
}

/* ---- on the simulated disk, where nothing runs by itself ---- */

static void setup_sim(sim_world *w, uint64_t memtable_size)
{
    *w = (sim_world){.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    w->opt.memtable_size = memtable_size;
    sim_start(w);
}

static void a_shard_being_flushed_is_not_frozen_again(void **state)
{
    (void)state;
    sim_world w;
    setup_sim(&w, VV_MIB); /* more than log_limit: the log is full first */
    vv_table *t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    static uint8_t value[1000];
    engine *eng = w.db->shards[0].eng;
    engine_stats s;
    vv_error err = {0};
    for (unsigned n = 0; wal_pressure(w.db->log) == 0; n++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", n);
        assert_true(n < 1000);
        assert_ok(vv_put(t, vv_slice_str(key), vv_slice_of(value, sizeof value), &err), err);
    }
    put(t, "last", "v");
    assert_ok(db_freeze(w.db, &w.db->shards[0], &err), err);
    put(t, "later", "v"); /* something to freeze again, were it done */
    assert_true(wal_pressure(w.db->log) != 0);
    for (unsigned steps = 0; wal_pressure(w.db->log) != 0; steps++) {
        vv_status st = db_step(w.db, &err); /* sees the pressure and does a piece of the flush */
        assert_true(st == VV_OK && steps < 1000);
        w.db->ops->stats(eng, &s);
        assert_in_range(s.memtable_count, 1, 2);
    }
    expect(t, NULL, "last", "v");
    vv_table_close(t);
    sim_end(&w);
}

typedef struct answer {
    int count;
    vv_status status;
} answer;

static void note(void *ctx, vv_status status, const vv_write_result *result, const vv_error *err)
{
    answer *a = ctx;
    (void)result;
    (void)err;
    a->count++;
    a->status = status;
}

/* Somebody holds more than there is: named, refused without a trace, and over when it is given
 * back. */
static void the_memory_limit_is_named_and_lifts(void **state)
{
    (void)state;
    sim_world w;
    setup_sim(&w, 16 * VV_KIB);
    vv_error err = {0};
    answer got = {0};
    static uint8_t large[VV_MIB];
    vv_slice value = vv_slice_of(large, sizeof large);
    vv_table *t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    vv_budget *budget = db_budget(w.db);
    uint64_t share = budget->share[VV_BUDGET_MEMTABLE];
    vv_budget_take(budget, VV_BUDGET_NETWORK, w.opt.memory_limit);
    vv_budget_take(budget, VV_BUDGET_MEMTABLE, share);
    assert_status(VV_BUSY, vv_put(t, vv_slice_str("k"), value, &err));
    assert_non_null(strstr(err.msg, "memory_limit"));
    vv_batch *b = vv_batch_create(w.db);
    assert_ok(vv_batch_put(b, t, vv_slice_str("k"), value, 0, &err), err);
    assert_ok(vv_write_async(w.db, b, VV_DURABLE_OS, note, &got, &err), err);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.status, VV_BUSY);
    expect(t, NULL, "k", NULL);
    vv_budget_release(budget, VV_BUDGET_MEMTABLE, share);
    vv_budget_release(budget, VV_BUDGET_NETWORK, w.opt.memory_limit);
    put(t, "k", "v");
    expect(t, NULL, "k", "v");
    vv_batch_destroy(b);
    vv_table_close(t);
    sim_end(&w);
}

/* Requests cannot take what writes need to go on. */
static void the_share_of_writes_is_theirs(void **state)
{
    (void)state;
    sim_world w;
    setup_sim(&w, 16 * VV_KIB);
    vv_error err = {0};
    static uint8_t large[VV_MIB];
    vv_table *t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    vv_budget *budget = db_budget(w.db);
    uint64_t taken = 0;
    while (vv_budget_reserve(budget, VV_BUDGET_NETWORK, 1000))
        taken += 1000;
    assert_true(vv_budget_is_short(budget, VV_BUDGET_NETWORK, 1000));
    assert_false(vv_budget_is_short(budget, VV_BUDGET_MEMTABLE, VV_MIB));
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", i);
        assert_ok(vv_put(t, vv_slice_str(key), vv_slice_of(large, sizeof large), &err), err);
        assert_true(vv_budget_used(budget) <= w.opt.memory_limit);
    }
    vv_budget_release(budget, VV_BUDGET_NETWORK, taken);
    vv_table_close(t);
    sim_end(&w);
}

/* ---- what was refused leaves no trace: not even in what a later freeze asks for ---- */

static vv_batch *large_batch(vv_db *d, vv_table *t, size_t len)
{
    static uint8_t large[VV_MIB];
    vv_error err = {0};
    vv_batch *b = vv_batch_create(d);
    assert_non_null(b);
    assert_ok(vv_batch_put(b, t, vv_slice_str("refused"), vv_slice_of(large, len), 0, &err), err);
    db_commit_begin(d, b, VV_DURABLE_OS);
    return b;
}

/* The commit path's last step alone: what it does on its way, beside waiting for room. */
static vv_status append_raw(vv_db *d, vv_batch *const *group, size_t count, vv_error *err)
{
    vv_mutex_lock(&d->commit_lock);
    vv_status st = db_append(d, group, count, err);
    vv_mutex_unlock(&d->commit_lock);
    return st;
}

/* Takes all the disk has left. */
static void fill_disk(sim_world *w)
{
    vv_error err = {0};
    vio_file *ballast = NULL;
    uint64_t size = 0;
    assert_ok(vio_open(w->env.io, "ballast", VIO_WRITE | VIO_CREATE, &ballast, &err), err);
    for (uint64_t step = 4 * VV_MIB; step >= VV_BLOCK; step /= 2)
        while (vio_allocate(ballast, size + step, &err) == VV_OK)
            size += step;
    vio_close(ballast);
}

static void entries_the_log_refused_leave_nothing_behind(void **state)
{
    (void)state;
    sim_world w = {.disk = vio_sim_disk_create(), .ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    vv_error err = {0};
    w.opt.memtable_size = VV_MIB;
    assert_ok(sim_on(&w, &(vio_sim_options){.seed = 1, .capacity = 8u << 20}, &err), err);
    assert_ok(sim_open_db(&w, &err), err);
    vv_table *t = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    fill_disk(&w);
    vv_batch *b = large_batch(w.db, t, 200000);
    for (int i = 0; i < 1000; i++)
        assert_status(VV_NO_SPACE, append_raw(w.db, &b, 1, &err));
    assert_ok(vio_remove(w.env.io, "ballast", &err), err);
    assert_ok(db_freeze(w.db, &w.db->shards[0], &err), err);
    assert_ok(vv_checkpoint(w.db, &err), err);
    expect(t, NULL, "k", "v");
    expect(t, NULL, "refused", NULL);
    assert_ok(append_raw(w.db, &b, 1, &err), err); /* nor is it refused any longer */
    vv_batch_destroy(b);
    vv_table_close(t);
    sim_end(&w);
}

/* A table on each of two shards, the lower one first. */
static void make_pair(vv_db *d, vv_table *t[2])
{
    char tenant[16];
    t[0] = t[1] = NULL;
    for (int i = 0; t[0] == NULL || t[1] == NULL; i++) {
        assert_true(i < 100);
        (void)snprintf(tenant, sizeof tenant, "plant%d", i);
        vv_table *table = make_table(d, tenant, "kv", VV_TABLE_KV);
        if (t[table->shard->id] == NULL)
            t[table->shard->id] = table;
        else
            vv_table_close(table);
    }
}

/* Fill the memtables of the table's shard until it has no room before a flush. */
static void block_shard(vv_db *d, vv_table *t)
{
    vv_error err = {0};
    vv_batch *b = large_batch(d, t, 30000);
    vv_status st = VV_OK;
    for (int i = 0; st == VV_OK; i++) {
        assert_true(i < 100);
        st = append_raw(d, &b, 1, &err);
    }
    assert_int_equal(st, VV_BUSY);
    vv_batch_destroy(b);
}

static void a_group_refused_by_one_shard_leaves_nothing_on_another(void **state)
{
    (void)state;
    sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    vv_error err = {0};
    vv_table *t[2];
    w.opt.shard_count = 2;
    sim_start(&w);
    make_pair(w.db, t);
    put(t[0], "k", "v");
    block_shard(w.db, t[1]);
    /* Prepared in this order: the first is ready when the second refuses. */
    vv_batch *group[2] = {large_batch(w.db, t[0], 200000), large_batch(w.db, t[1], 100)};
    for (int i = 0; i < 1000; i++)
        assert_status(VV_BUSY, append_raw(w.db, group, 2, &err));
    assert_ok(db_freeze(w.db, t[0]->shard, &err), err);
    vv_batch_destroy(group[0]);
    vv_batch_destroy(group[1]);
    assert_ok(vv_checkpoint(w.db, &err), err);
    expect(t[0], NULL, "k", "v");
    expect(t[0], NULL, "refused", NULL);
    vv_table_close(t[0]);
    vv_table_close(t[1]);
    sim_end(&w);
}

/* Writers that come between the decision to freeze and the freezing. */
static void fill_meanwhile(void *ctx, const char *name)
{
    sim_world *w = ctx;
    if (strcmp(name, "db.before_relief") == 0)
        block_shard(w->db, kv);
}

static void a_freeze_keeps_the_bound_of_memtables(void **state)
{
    (void)state;
#ifndef VV_TEST_HOOKS
    skip();
#endif
    sim_world w;
    vv_error err = {0};
    engine_stats s;
    setup_sim(&w, 16 * VV_KIB);
    kv = make_table(w.db, "plant", "kv", VV_TABLE_KV);
    put(kv, "k",
        "a value, so that the memtable is worth freezing: more than an eighth of its size");
    w.db->opt.memtable_size = 0;
    assert_ok(db_background_want_room(w.db, &err), err);
    vv_point_set(fill_meanwhile, &w);
    assert_ok(db_step(w.db, &err), err);
    vv_point_set(NULL, NULL);
    w.db->ops->stats(w.db->shards[0].eng, &s);
    assert_in_range(s.memtable_count, 2, MEMTABLES); /* the handler ran, and nothing went over it */
    vv_table_close(kv);
    sim_end(&w);
}

/* ---- a shard without room, by turns of the commit thread ---- */

enum { WAITING = 12 };

typedef struct queued {
    vv_batch *batch;
    answer got;
    int order; /* of the answer */
} queued;

static int answers;

static void note_queued(void *ctx, vv_status status, const vv_write_result *result,
                        const vv_error *err)
{
    queued *q = ctx;
    note(&q->got, status, result, err);
    q->order = answers++;
}

static void queue_put(vv_db *d, vv_table *t, queued *q, size_t len)
{
    vv_error err = {0};
    *q = (queued){.batch = large_batch(d, t, len)};
    assert_ok(vv_write_async(d, q->batch, VV_DURABLE_SYNC, note_queued, q, &err), err);
}

static int count_answered(const queued *q)
{
    int n = 0;
    while (n < WAITING && q[n].got.count == 1)
        n++;
    for (int i = 0; i < WAITING; i++) { /* in order, and once */
        assert_int_equal(q[i].got.count, i < n);
        assert_true(i >= n || i == 0 || q[i].order > q[i - 1].order);
    }
    return n;
}

typedef struct blocked_bed {
    sim_world w;
    vv_table *t[2];
    queued full[WAITING]; /* of t[1]: more than its memtables hold */
    queued other;         /* of t[0], behind them */
    queued empty;         /* with sync: speaks for all before it */
} blocked_bed;

/* All in one chain, and a turn. */
static void block_by_queue(blocked_bed *b)
{
    vv_error err = {0};
    *b = (blocked_bed){.w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS}};
    b->w.opt.shard_count = 2;
    sim_start(&b->w);
    make_pair(b->w.db, b->t);
    vv_db *d = b->w.db;
    d->queue.gathers = true;
    d->queue.chain_max = VV_MIB;
    answers = 0;
    for (int i = 0; i < WAITING; i++)
        queue_put(d, b->t[1], &b->full[i], 30000);
    queue_put(d, b->t[0], &b->other, 100);
    b->empty = (queued){.batch = vv_batch_create(d)};
    assert_ok(vv_write_async(d, b->empty.batch, VV_DURABLE_SYNC, note_queued, &b->empty, &err),
              err);
    db_queue_turn(d);
    /* Those that had room, and the other shard's, have their answers; the rest are kept. */
    int first = count_answered(b->full);
    assert_in_range(first, 1, WAITING - 1);
    for (int i = 0; i < first; i++)
        assert_int_equal(b->full[i].got.status, VV_OK);
    assert_int_equal(b->other.got.count, 1);
    assert_int_equal(b->other.got.status, VV_OK);
    assert_int_equal(b->empty.got.count, 0);
    /* Nor are they in the way of what comes later. */
    vv_batch_destroy(b->other.batch);
    queue_put(d, b->t[0], &b->other, 100);
    db_queue_turn(d);
    assert_int_equal(b->other.got.count, 1);
    assert_int_equal(count_answered(b->full), first);
}

static void end_blocked(blocked_bed *b)
{
    assert_int_equal(b->empty.got.count, 1);
    assert_int_equal(b->empty.got.status, VV_OK);
    assert_int_equal(b->w.db->queue.bytes, 0);
    assert_int_equal(vv_budget_part_used(db_budget(b->w.db), VV_BUDGET_QUEUE), 0);
    for (int i = 0; i < WAITING; i++)
        vv_batch_destroy(b->full[i].batch);
    vv_batch_destroy(b->other.batch);
    vv_batch_destroy(b->empty.batch);
    vv_table_close(b->t[0]);
    vv_table_close(b->t[1]);
    sim_end(&b->w);
}

static void a_blocked_shard_delays_nobody(void **state)
{
    (void)state;
    static blocked_bed b;
    vv_error err = {0};
    block_by_queue(&b);
    for (int turns = 0; count_answered(b.full) < WAITING; turns++) {
        assert_true(turns < 1000);
        assert_status(VV_OK, db_step(b.w.db, &err));
        db_queue_turn(b.w.db);
    }
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(b.full[i].got.status, VV_OK);
    end_blocked(&b);
}

static void a_blocked_shard_is_refused_in_the_end(void **state)
{
    (void)state;
    static blocked_bed b;
    block_by_queue(&b);
    int first = count_answered(b.full);
    vio_sim_advance(b.w.disk, DB_ROOM_TIMEOUT_NS / 2);
    db_queue_turn(b.w.db);
    assert_int_equal(count_answered(b.full), first);
    vio_sim_advance(b.w.disk, DB_ROOM_TIMEOUT_NS / 2);
    db_queue_turn(b.w.db);
    assert_int_equal(count_answered(b.full), WAITING);
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(b.full[i].got.status, i < first ? VV_OK : VV_BUSY);
    assert_int_equal(atomic_load(&b.w.db->queue.blocked_shards), 0);
    end_blocked(&b);
}

static void parts_that_leave_nothing_are_refused(void **state)
{
    (void)state;
    vv_options out;
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    assert_ok(db_options_resolve(&opt, &out, &err), err);
    assert_int_equal(out.log_ring_size, 8u << 20);
    opt.cache_size = 48u << 20;
    assert_status(VV_INVALID, db_options_resolve(&opt, &out, &err));
    assert_non_null(strstr(err.msg, "cache_size"));
    opt.cache_size = 0;
    opt.memory_limit = 16u << 20;
    assert_ok(db_options_resolve(&opt, &out, &err), err);
    assert_int_equal(out.log_ring_size, 2u << 20);
}

static void the_process_has_its_part_from_the_start(void **state)
{
    (void)state;
    vv_options out;
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    uint64_t before = db_memory_free(&opt);
    opt.process_memory = 5u << 20;
    assert_int_equal(db_memory_free(&opt), before - (5u << 20));
    opt.process_memory = 60u << 20; /* leaves nothing to the cache */
    assert_status(VV_INVALID, db_options_resolve(&opt, &out, &err));
    assert_non_null(strstr(err.msg, "process_memory"));

    sim_world w = {.disk = vio_sim_disk_create(), .ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    w.opt.memory_limit = 64u << 20;
    w.opt.process_memory = 5u << 20;
    sim_start(&w);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w.db, &s);
    assert_int_equal(s.memory_part[VV_BUDGET_PROCESS], 5u << 20);
    assert_true(s.memory_used >= (5u << 20));
    sim_close(&w);
    sim_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_that_leave_nothing_are_refused),
        cmocka_unit_test(the_process_has_its_part_from_the_start),
        cmocka_unit_test(the_memory_limit_is_named_and_lifts),
        cmocka_unit_test(the_share_of_writes_is_theirs),
        cmocka_unit_test(a_shard_being_flushed_is_not_frozen_again),
        cmocka_unit_test(entries_the_log_refused_leave_nothing_behind),
        cmocka_unit_test(a_group_refused_by_one_shard_leaves_nothing_on_another),
        cmocka_unit_test(a_freeze_keeps_the_bound_of_memtables),
        cmocka_unit_test(a_blocked_shard_delays_nobody),
        cmocka_unit_test(a_blocked_shard_is_refused_in_the_end),
        cmocka_unit_test(what_never_fits_is_refused),
        cmocka_unit_test(writers_wait_for_memory),
        cmocka_unit_test(large_writes_wait_for_memory),
        cmocka_unit_test(a_compaction_keeps_the_limit),
        cmocka_unit_test(a_short_log_is_relieved_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
