/*
 * model_test.c - a million random calls of the public interface against an ordered in-memory map.
 *
 * The map is an array over all keys there can be, sorted, so that every seek, step and range has
 * one right answer. A snapshot takes a copy of the map; everything read at it must equal the copy
 * for as long as it lives, over flushes, compactions and range deletions.
 *
 * VV_MODEL_OPS sets the number of calls.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/rng.h"
#include "btree/btree.h"
#include "lsm/lsm.h"

#define KEYS 1500u
#define SNAPSHOTS 6u
#define TABLES 2u
#define KEY_MAX 40u

typedef struct cell {
    uint64_t id; /* of the value; 0: absent */
    int64_t expires_ns;
    int64_t version;
} cell;

typedef struct view {
    vv_snapshot *at; /* NULL: now */
    int64_t time_ns;
    cell cell[TABLES][KEYS];
} view;

static sim_world world;
static vv_table *table[TABLES];
static uint8_t key_bytes[KEYS][KEY_MAX];
static vv_slice keys[KEYS];
static view now;
static view *snaps[SNAPSHOTS];
static vv_rng rng;
static uint64_t next_id = 1;

static int order(const void *a, const void *b)
{
    return vv_slice_cmp(*(const vv_slice *)a, *(const vv_slice *)b);
}

/* Keys that are hard to tell apart: long common parts, prefixes of each other, zero and 0xff. */
static void make_keys(void)
{
    static const char *const stems[] = {"", "a", "sensor/temperature/room-", "\xff\xff", "k"};
    unsigned count = 0;
    while (count < KEYS) {
        uint8_t *p = key_bytes[count];
        const char *stem = stems[vv_rng_below(&rng, ARRAY_LEN(stems))];
        size_t len = strlen(stem);
        memcpy(p, stem, len);
        size_t more = 1 + vv_rng_below(&rng, 3);
        for (size_t i = 0; i < more; i++)
            p[len++] = (uint8_t)(vv_rng_one_in(&rng, 8) ? vv_rng_below(&rng, 2) * 255
                                                        : '0' + vv_rng_below(&rng, 20));
        vv_slice key = vv_slice_of(p, len);
        bool is_new = true;
        for (unsigned i = 0; i < count; i++)
            is_new &= !vv_slice_eq(keys[i], key);
        if (is_new)
            keys[count++] = key;
    }
    qsort(keys, KEYS, sizeof keys[0], order);
}

static vv_slice make_value(uint64_t id)
{
    static uint8_t bytes[4096];
    uint64_t h = vv_hash64(&id, sizeof id);
    size_t len = 8 + (h % 50 == 0 ? 3000 : h % 120);
    memset(bytes, (int)(h >> 32), len);
    vv_put_le64(bytes, id);
    return vv_slice_of(bytes, len);
}

static bool is_live(const view *v, unsigned t, unsigned k)
{
    const cell *c = &v->cell[t][k];
    return c->id != 0 && (c->expires_ns == 0 || c->expires_ns > v->time_ns);
}

static unsigned next_live(const view *v, unsigned t, unsigned k)
{
    while (k < KEYS && !is_live(v, t, k))
        k++;
    return k;
}

/* The greatest live key below k, or KEYS. */
static unsigned live_below(const view *v, unsigned t, unsigned k)
{
    while (k > 0 && !is_live(v, t, k - 1))
        k--;
    return k == 0 ? KEYS : k - 1;
}

/* "Now" moves with the clock; whole seconds, so that an expiry never falls between two readings. */
static void read_clock(void)
{
    now.time_ns = vv_clock_wall(world.env.clock);
}

static view *any_view(void)
{
    view *v = snaps[vv_rng_below(&rng, SNAPSHOTS)];
    return v == NULL || vv_rng_one_in(&rng, 2) ? &now : v;
}

static vv_durability any_durability(void)
{
    return vv_rng_one_in(&rng, 50) ? VV_DURABLE_SYNC : VV_DURABLE_NONE;
}

/* ---- writes ---- */

/* Cells a batch put into: they get its version once it is known. */
static cell *touched[64];
static unsigned touched_count;

static void add_one(vv_batch *b, unsigned t)
{
    vv_error err = {0};
    unsigned k = (unsigned)vv_rng_below(&rng, KEYS);
    uint64_t what = vv_rng_below(&rng, 100);
    cell *c = now.cell[t];
    if (what < 70) {
        uint64_t id = next_id++;
        int64_t expires = 0;
        if (vv_rng_one_in(&rng, 12)) /* half an hour or more away: the clock creeps meanwhile */
            expires = now.time_ns + (int64_t)(vv_rng_below(&rng, 20) * 3600 + 1800) * VV_NS_PER_S;
        assert_ok(vv_batch_put(b, table[t], keys[k], make_value(id), expires, &err), err);
        c[k] = (cell){.id = id, .expires_ns = expires};
        touched[touched_count++] = &c[k];
    } else if (what < 97) {
        assert_ok(vv_batch_delete(b, table[t], keys[k], &err), err);
        c[k] = (cell){0};
    } else {
        unsigned end = k + (unsigned)vv_rng_below(&rng, 60);
        vv_slice upper = end >= KEYS ? vv_slice_of(NULL, 0) : keys[end];
        assert_ok(vv_batch_delete_range(b, table[t], keys[k], upper, &err), err);
        for (unsigned i = k; i < end && i < KEYS; i++)
            c[i] = (cell){0};
    }
}

static uint64_t do_write(void)
{
    vv_error err = {0};
    vv_write_result r;
    uint64_t count = vv_rng_one_in(&rng, 10) ? 1 + vv_rng_below(&rng, 40) : 1;
    vv_batch *b = vv_batch_create(world.db);
    assert_non_null(b);
    touched_count = 0;
    for (uint64_t i = 0; i < count; i++)
        add_one(b, (unsigned)vv_rng_below(&rng, TABLES));
    assert_ok(vv_write(world.db, b, any_durability(), &r, &err), err);
    for (unsigned i = 0; i < touched_count; i++)
        touched[i]->version = r.version;
    vv_batch_destroy(b);
    return count;
}

static uint64_t do_condition(void)
{
    vv_error err = {0};
    vv_write_result r;
    unsigned t = (unsigned)vv_rng_below(&rng, TABLES);
    unsigned k = (unsigned)vv_rng_below(&rng, KEYS);
    cell *c = &now.cell[t][k];
    bool right = !vv_rng_one_in(&rng, 3);
    int64_t version = is_live(&now, t, k) ? c->version : 0;
    uint64_t id = next_id++;
    vv_batch *b = vv_batch_create(world.db);
    assert_non_null(b);
    assert_ok(vv_batch_require(b, table[t], keys[k], right ? version : version + 1, &err), err);
    assert_ok(vv_batch_put(b, table[t], keys[k], make_value(id), 0, &err), err);
    vv_status st = vv_write(world.db, b, any_durability(), &r, &err);
    assert_int_equal(st, right ? VV_OK : VV_CONFLICT);
    if (right)
        *c = (cell){.id = id, .version = r.version};
    vv_batch_destroy(b);
    return 1;
}

/* ---- reads ---- */

static uint64_t do_get(void)
{
    vv_error err = {0};
    vv_value v;
    view *at = any_view();
    unsigned t = (unsigned)vv_rng_below(&rng, TABLES);
    unsigned k = (unsigned)vv_rng_below(&rng, KEYS);
    vv_status st = vv_get(table[t], at->at, keys[k], &v, &err);
    if (st != (is_live(at, t, k) ? VV_OK : VV_NOT_FOUND))
        fail_msg("get: %s: %s", vv_status_name(st), err.msg);
    if (st == VV_OK) {
        const cell *c = &at->cell[t][k];
        assert_true(vv_slice_eq(v.data, make_value(c->id)));
        assert_true(v.version == c->version && v.expires_ns == c->expires_ns);
        vv_value_release(&v);
    }
    return 1;
}

static void expect_at(const vv_cursor *c, const view *at, unsigned t, unsigned k)
{
    if (vv_cursor_valid(c) != (k < KEYS))
        fail_msg("the cursor is %s", vv_cursor_valid(c) ? "on a key that is gone" : "at the end");
    if (k >= KEYS)
        return;
    assert_true(vv_slice_eq(vv_cursor_key(c), keys[k]));
    assert_true(vv_slice_eq(vv_cursor_value(c), make_value(at->cell[t][k].id)));
    assert_true(vv_cursor_version(c) == at->cell[t][k].version);
}

/* Bounds as key numbers: [low, high). */
static vv_cursor *open_cursor(const view *at, unsigned t, unsigned *low, unsigned *high)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = at->at;
    *low = 0;
    *high = KEYS;
    uint64_t form = vv_rng_below(&rng, 4);
    if (form == 0) {
        unsigned a = (unsigned)vv_rng_below(&rng, KEYS);
        unsigned b = (unsigned)vv_rng_below(&rng, KEYS);
        *low = a < b ? a : b;
        *high = a < b ? b : a;
        opt.lower = keys[*low];
        opt.upper = keys[*high];
    } else if (form == 1) {
        vv_slice whole = keys[vv_rng_below(&rng, KEYS)];
        opt.prefix = vv_slice_of(whole.data, 1 + vv_rng_below(&rng, whole.len));
        while (*low < KEYS && vv_slice_cmp(keys[*low], opt.prefix) < 0)
            (*low)++;
        *high = *low;
        while (*high < KEYS && vv_slice_has_prefix(keys[*high], opt.prefix))
            (*high)++;
    }
    assert_ok(vv_cursor_open(table[t], &opt, &c, &err), err);
    return c;
}

static unsigned clip_up(unsigned k, unsigned high)
{
    return k >= high ? KEYS : k;
}

static unsigned clip_down(unsigned k, unsigned low)
{
    return k == KEYS || k < low ? KEYS : k;
}

static uint64_t do_walk(void)
{
    vv_error err = {0};
    view *at = any_view();
    unsigned t = (unsigned)vv_rng_below(&rng, TABLES);
    unsigned low;
    unsigned high;
    uint64_t calls = 1;
    vv_cursor *c = open_cursor(at, t, &low, &high);
    unsigned k = KEYS;
    unsigned steps = (unsigned)vv_rng_below(&rng, 24);
    for (unsigned i = 0; i < steps; i++, calls++) {
        uint64_t what = vv_rng_below(&rng, 10);
        unsigned to = (unsigned)vv_rng_below(&rng, KEYS);
        bool to_end = vv_rng_one_in(&rng, 8);
        vv_slice key = to_end ? vv_slice_of(NULL, 0) : keys[to];
        if (k == KEYS && what > 1)
            what %= 2;
        if (what == 0) {
            unsigned from = to_end || to < low ? low : to;
            assert_ok(vv_cursor_seek(c, key, &err), err);
            k = clip_up(next_live(at, t, from), high);
        } else if (what == 1) {
            unsigned below = to_end || to > high ? high : to;
            assert_ok(vv_cursor_seek_below(c, key, &err), err);
            k = clip_down(live_below(at, t, below), low);
        } else if (what < 7) {
            assert_ok(vv_cursor_next(c, &err), err);
            k = clip_up(next_live(at, t, k + 1), high);
        } else {
            assert_ok(vv_cursor_prev(c, &err), err);
            k = clip_down(live_below(at, t, k), low);
        }
        expect_at(c, at, t, k);
    }
    vv_cursor_close(c);
    return calls;
}

static void compare_all(const view *at)
{
    vv_error err = {0};
    for (unsigned t = 0; t < TABLES; t++) {
        vv_cursor *c = NULL;
        vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
        opt.snapshot = at->at;
        assert_ok(vv_cursor_open(table[t], &opt, &c, &err), err);
        assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
        for (unsigned k = next_live(at, t, 0);; k = next_live(at, t, k + 1)) {
            expect_at(c, at, t, k);
            if (k == KEYS)
                break;
            assert_ok(vv_cursor_next(c, &err), err);
        }
        vv_cursor_close(c);
    }
}

/* ---- snapshots and upkeep ---- */

static uint64_t do_snapshot(void)
{
    vv_error err = {0};
    view **slot = &snaps[vv_rng_below(&rng, SNAPSHOTS)];
    if (*slot != NULL) {
        compare_all(*slot);
        vv_snapshot_release((*slot)->at);
        free(*slot);
        *slot = NULL;
        return 1;
    }
    view *v = malloc(sizeof *v);
    assert_non_null(v);
    *v = now;
    assert_ok(vv_snapshot_create(world.db, &v->at, &err), err);
    assert_int_equal(vv_snapshot_version(v->at, table[0]), vv_table_version(table[0]));
    *slot = v;
    return 1;
}

static void drop_snapshots(void)
{
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if (snaps[i] == NULL)
            continue;
        compare_all(snaps[i]);
        vv_snapshot_release(snaps[i]->at);
        free(snaps[i]);
        snaps[i] = NULL;
    }
}

static void open_tables(void)
{
    table[0] = make_table(world.db, "t", "zero", VV_TABLE_KV);
    table[1] =
        make_table_of(world.db, "t", "one", VV_TABLE_KV,
                      getenv("VV_ENGINE_MIXED") != NULL ? VV_ENGINE_BTREE : VV_ENGINE_DEFAULT);
}

static void reopen(void)
{
    drop_snapshots();
    for (unsigned t = 0; t < TABLES; t++)
        vv_table_close(table[t]);
    sim_reopen(&world);
    open_tables();
    compare_all(&now);
}

static uint64_t do_upkeep(void)
{
    vv_error err = {0};
    uint64_t what = vv_rng_below(&rng, 400);
    if (what == 0)
        reopen();
    else if (what < 4)
        assert_ok(vv_checkpoint(world.db, &err), err);
    else if (what < 6)
        assert_ok(vv_compact(table[what % 2], vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err),
                  err);
    else if (what < 12)
        compare_all(any_view());
    else if (what < 20)
        vio_sim_advance(world.disk, 3600 * VV_NS_PER_S);
    else
        for (int i = 0; i < 4 && db_step(world.db, &err) == VV_OK; i++) {
        }
    return 1;
}

static void prop_store_equals_a_map(void **state)
{
    (void)state;
    uint64_t want = vv_test_share("VV_MODEL_OPS", 1000000);
    uint64_t seed = vv_test_seed(0x30de1);
    uint64_t done = 0;
    print_message("VV_SEED=0x%llx\n", (unsigned long long)seed);
    vv_rng_init(&rng, seed);
    make_keys();
    world.ops = getenv("VV_ENGINE_MEMORY") != NULL  ? &engine_memory_ops
                : getenv("VV_ENGINE_BTREE") != NULL ? &btree_ops
                                                    : &lsm_ops;
    world.opt = (vv_options)SIM_TINY_OPTIONS;
    world.opt.memtable_size = 48u << 10;
    sim_start(&world);
    open_tables();
    while (done < want) {
        read_clock();
        uint64_t what = vv_rng_below(&rng, 100);
        done += what < 45   ? do_write()
                : what < 48 ? do_condition()
                : what < 78 ? do_get()
                : what < 94 ? do_walk()
                : what < 96 ? do_snapshot()
                            : do_upkeep();
    }
    compare_all(&now);
    drop_snapshots();
    for (unsigned t = 0; t < TABLES; t++)
        vv_table_close(table[t]);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(world.db, &s);
    print_message("%llu calls, %llu flushes, %llu compactions since the last reopen\n",
                  (unsigned long long)done, (unsigned long long)s.flushes,
                  (unsigned long long)s.compactions);
    sim_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_store_equals_a_map),
    };
    int failed = sim_choose_files(&world) ? cmocka_run_group_tests(tests, NULL, NULL) : SKIPPED;
    sim_remove_files(&world);
    return failed;
}
