/*
 * db_apply_test.c - groups of several shards applied by several threads: in the order of each
 * shard, whole before they are seen, and at one position of the log for a snapshot.
 */
#include "db/db_test_bed.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "varve/record.h"

#define SHARDS 3u
#define KEYS 200u

typedef struct bed {
    char dir[40];
    vv_db *db;
    vv_table *table; /* over all shards */
} bed;

/* Real threads, which are called for the smallest group. */
static void open_bed(bed *b, uint32_t apply_threads)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    opt.memory_limit = 32u << 20;
    opt.memtable_size = 256u << 10;
    opt.log_segment_size = 1u << 20;
    opt.log_ring_size = 1u << 20;
    opt.log_limit = 8u << 20;
    opt.shard_count = SHARDS;
    opt.apply_threads = apply_threads;
    assert_ok(vv_db_open(b->dir, &opt, &b->db, &err), err);
    b->db->apply.least_ops = 1;
    topt.partitions = SHARDS;
    topt.if_not_exists = true;
    assert_ok(vv_table_create(b->db, "plant", "spread", &topt, &b->table, &err), err);
}

static void close_bed(bed *b)
{
    vv_error err = {0};
    vv_table_close(b->table);
    assert_ok(vv_db_close(b->db, &err), err);
}

static int setup_bed(void **state)
{
    bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    (void)snprintf(b->dir, sizeof b->dir, "/tmp/varve-apply-test-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    open_bed(b, SHARDS);
    *state = b;
    return 0;
}

static int teardown_bed(void **state)
{
    bed *b = *state;
    char command[80];
    vv_error err = {0};
    close_bed(b);
    assert_ok(vv_check(b->dir, NULL, NULL, &err), err);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->dir);
    assert_int_equal(system(command), 0);
    free(b);
    return 0;
}

static const char *key_on(const vv_table *t, uint32_t shard, unsigned from, char out[16])
{
    for (unsigned i = from;; i++) {
        (void)snprintf(out, 16, "key-%05u", i);
        if (db_shard_of_key(t, vv_slice_str(out)) == shard)
            return out;
    }
}

/* ---- batches that are queued while the commit thread is held, so that they go as one group ----
 */

static _Atomic unsigned outstanding;
static _Atomic unsigned refused;

static void note_written(void *ctx, vv_status status, const vv_write_result *result,
                         const vv_error *err)
{
    (void)result;
    (void)err;
    if (status != VV_OK)
        atomic_fetch_add(&refused, 1);
    vv_batch_destroy(ctx);
    atomic_fetch_sub(&outstanding, 1);
}

/* From any thread, so it asserts nothing: what went wrong is counted. */
static void queue_put(bed *b, const char *key, uint32_t value)
{
    uint8_t bytes[4];
    vv_batch *batch = vv_batch_create(b->db);
    vv_status st = batch == NULL ? VV_NO_MEMORY : VV_OK;
    vv_put_le32(bytes, value);
    atomic_fetch_add(&outstanding, 1);
    if (st == VV_OK)
        st = vv_batch_put(batch, b->table, vv_slice_str(key), vv_slice_of(bytes, 4), 0, NULL);
    while (st == VV_OK) {
        st = vv_write_async(b->db, batch, VV_DURABLE_OS, note_written, batch, NULL);
        if (st == VV_OK)
            return;
        st = st == VV_BUSY ? VV_OK : st;
    }
    note_written(batch, st, NULL, NULL);
}

static void wait_all(void)
{
    while (atomic_load(&outstanding) > 0)
        (void)usleep(100);
}

static uint32_t number_at(vv_table *t, const vv_snapshot *snap, const char *key)
{
    vv_error err = {0};
    vv_value v;
    vv_status st = vv_get(t, snap, vv_slice_str(key), &v, &err);
    if (st == VV_NOT_FOUND)
        return 0;
    assert_ok(st, err);
    uint32_t n = vv_get_le32(v.data.data);
    vv_value_release(&v);
    return n;
}

/* Few keys, written again and again: what is there in the end is what was queued last. */
static void prop_the_last_write_of_a_key_wins(void **state)
{
    bed *b = *state;
    static uint32_t last[KEYS];
    char key[16];
    vv_rng rng;
    memset(last, 0, sizeof last);
    vv_rng_init(&rng, vv_test_seed(0xa991));
    uint32_t next = 0;
    for (unsigned round = 0; round < 40; round++) {
        vv_mutex_lock(&b->db->commit_lock); /* what is queued meanwhile goes together */
        for (unsigned i = 0; i < 300; i++) {
            unsigned k = (unsigned)vv_rng_below(&rng, round % 2 == 0 ? 8 : KEYS);
            (void)snprintf(key, sizeof key, "key-%05u", k);
            last[k] = ++next;
            queue_put(b, key, next);
        }
        vv_mutex_unlock(&b->db->commit_lock);
        if (round % 8 == 7) {
            wait_all();
            assert_int_equal(atomic_load(&refused), 0);
            for (unsigned k = 0; k < KEYS; k++) {
                (void)snprintf(key, sizeof key, "key-%05u", k);
                if (number_at(b->table, NULL, key) != last[k])
                    fail_msg("%s is %u instead of %u", key, number_at(b->table, NULL, key),
                             last[k]);
            }
        }
    }
    assert_true(atomic_load(&b->db->counters.groups_apart) > 20);
    close_bed(b);
    open_bed(b, 1); /* and from the log, by one thread */
    for (unsigned k = 0; k < KEYS; k++) {
        (void)snprintf(key, sizeof key, "key-%05u", k);
        assert_int_equal(number_at(b->table, NULL, key), last[k]);
    }
    assert_int_equal(atomic_load(&b->db->counters.groups_apart), 0);
}

/* ---- snapshots ---- */

static void dawdle(void *ctx, const char *name)
{
    _Atomic unsigned *calls = ctx;
    if (strcmp(name, "db.apply.taken") == 0 && atomic_fetch_add(calls, 1) % 3 == 0)
        (void)usleep(300);
}

typedef struct counting {
    bed *b;
    char key[SHARDS][16];
    _Atomic bool stop;
    uint32_t reached;
} counting;

/* The same number to a key of each shard, one after the other in the log. */
static void count_up(void *arg)
{
    counting *c = arg;
    for (uint32_t n = 1; !atomic_load(&c->stop); n++) {
        for (uint32_t s = 0; s < SHARDS; s++)
            queue_put(c->b, c->key[s], n);
        c->reached = n;
        if (n % 32 == 0)
            wait_all();
    }
    wait_all();
}

/* 0: no such key; UINT32_MAX: the version is not kept any more. */
static uint32_t number_of_version(vv_table *part, int64_t version, const char *key)
{
    vv_error err = {0};
    vv_value v;
    vv_status st = vv_get_at(part, version, vv_slice_str(key), &v, &err);
    if (st == VV_NOT_FOUND)
        return 0;
    if (st == VV_UNSUPPORTED)
        return UINT32_MAX;
    assert_ok(st, err);
    uint32_t n = vv_get_le32(v.data.data);
    vv_value_release(&v);
    return n;
}

/* What a version shows does not change: all of it was there when it could first be seen. */
static void check_versions(const counting *c)
{
    for (uint32_t p = 0; p < SHARDS; p++) {
        vv_table part = db_part_at(c->b->table, p);
        const char *key = c->key[part.shard->id];
        int64_t version = vv_table_version(&part);
        uint32_t first = number_of_version(&part, version, key);
        (void)usleep(400);
        uint32_t again = number_of_version(&part, version, key);
        if (first != again && first != UINT32_MAX && again != UINT32_MAX)
            fail_msg("version %lld of shard %u shows %u, and then %u", (long long)version,
                     part.shard->id, first, again);
    }
}

/* All shards of a snapshot are at one position: what is seen of a later one of the log cannot be
 * ahead of an earlier one, nor more than one step behind. */
static void prop_a_snapshot_is_one_position_of_the_log(void **state)
{
    bed *b = *state;
    vv_error err = {0};
    static _Atomic unsigned calls;
    counting c = {.b = b};
    vv_thread *thread = NULL;
    for (uint32_t s = 0; s < SHARDS; s++)
        (void)key_on(b->table, s, 0, c.key[s]);
    close_bed(b); /* the handler is there before the store's threads, and after them */
    vv_point_set(dawdle, &calls);
    open_bed(b, SHARDS);
    assert_ok(vv_threads_real()->create("count", VV_THREAD_NORMAL, count_up, &c, &thread, &err),
              err);
    uint32_t before = 0;
    for (unsigned i = 0; i < 300 || before < 20; i++) {
        vv_snapshot *snap = NULL;
        uint32_t n[SHARDS];
        assert_ok(vv_snapshot_create(b->db, &snap, &err), err);
        for (uint32_t s = 0; s < SHARDS; s++) /* the last one first: others may come meanwhile */
            n[SHARDS - 1 - s] = number_at(b->table, snap, c.key[SHARDS - 1 - s]);
        for (uint32_t s = 1; s < SHARDS; s++)
            if (n[s] > n[s - 1] || n[0] > n[s] + 1)
                fail_msg("a snapshot sees %u on shard %u and %u before it, %u on the first", n[s],
                         s, n[s - 1], n[0]);
        assert_true(n[0] >= before);
        before = n[0];
        vv_snapshot_release(snap);
        check_versions(&c);
        /* A cursor over all shards without a snapshot is as good as one. */
        vv_cursor *at = NULL;
        uint32_t seen[SHARDS] = {0};
        assert_ok(vv_cursor_open(b->table, NULL, &at, &err), err);
        assert_ok(vv_cursor_seek(at, vv_slice_str(""), &err), err);
        while (vv_cursor_valid(at)) {
            for (uint32_t s = 0; s < SHARDS; s++)
                if (vv_slice_eq(vv_cursor_key(at), vv_slice_str(c.key[s])))
                    seen[s] = vv_get_le32(vv_cursor_value(at).data);
            assert_ok(vv_cursor_next(at, &err), err);
        }
        vv_cursor_close(at);
        for (uint32_t s = 1; s < SHARDS; s++)
            assert_true(seen[s] <= seen[s - 1] && seen[0] <= seen[s] + 1);
    }
    atomic_store(&c.stop, true);
    vv_threads_real()->join(thread);
    assert_int_equal(atomic_load(&refused), 0);
    assert_true(atomic_load(&b->db->counters.groups_apart) > 0);
    for (uint32_t s = 0; s < SHARDS; s++)
        assert_int_equal(number_at(b->table, NULL, c.key[s]), c.reached);
    close_bed(b);
    vv_point_set(NULL, NULL);
    open_bed(b, SHARDS);
}

/* ---- how many threads ---- */

static void threads_are_as_many_as_shards_at_most(void **state)
{
    bed *b = *state;
    vv_error err = {0};
    assert_int_equal(b->db->apply.thread_count, SHARDS - 1);
    static const struct {
        uint32_t asked;
        uint32_t want;
    } cases[] = {{1, 0}, {2, 1}, {64, SHARDS - 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        close_bed(b);
        open_bed(b, cases[i].asked);
        assert_int_equal(b->db->apply.thread_count, cases[i].want);
    }
    close_bed(b);
    vv_options opt = VV_OPTIONS_INIT;
    opt.apply_threads = 65;
    assert_status(VV_INVALID, vv_db_open(b->dir, &opt, &b->db, &err));
    assert_non_null(strstr(err.msg, "apply_threads"));
    open_bed(b, 0);
    assert_true(b->db->apply.thread_count <= SHARDS - 1);
}

#define B(f) cmocka_unit_test_setup_teardown(f, setup_bed, teardown_bed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        B(prop_the_last_write_of_a_key_wins),
        B(prop_a_snapshot_is_one_position_of_the_log),
        B(threads_are_as_many_as_shards_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
