/*
 * txn_model_test.c - random interleavings of many transactions against a serial oracle.
 *
 * The oracle is an array of values, a copy of it for each open transaction, and a list of all that
 * was ever written. A transaction must read its copy with its own writes on top, in any order and
 * direction; its commit must be refused exactly when something in the list is newer than its
 * snapshot and touches what it depends on; what commits becomes the array's next state. A committed
 * serializable transaction must moreover read the same when it is run alone at its commit.
 *
 * Beside the transactions run plain batches, compare-and-swap, range deletes, flushes, compactions.
 * VV_TXN_OPS sets the number of calls, VV_ENGINE_MEMORY=1 takes the reference engine.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "btree/btree.h"
#include "lsm/lsm.h"

#define TABLES 2u
#define KEYS 48u
#define TXNS 12u
#define SAVEPOINTS 4u
#define READS 64u
#define EVENTS 4096u /* remembered; nothing older than the oldest transaction is asked for */

typedef struct state {
    uint64_t value[TABLES][KEYS]; /* 0: absent */
} state;

typedef struct mask {
    bool key[TABLES][KEYS];
} mask;

/* What was written at one moment, or what is depended on: single keys, and keys under ranges. A key
 * under a range need not exist. */
typedef struct event {
    uint64_t time;
    mask keys;
    mask ranges;
} event;

typedef struct read_range {
    unsigned table, from, to; /* [from, to) */
} read_range;

typedef struct writes {
    mask keys;   /* own newest write is of the key */
    mask ranges; /* under a range deletion */
} writes;

typedef struct mtxn {
    vv_txn *t;
    bool serializable;
    uint64_t time;
    state base; /* the snapshot */
    state view; /* with its own writes */
    writes own;
    mask read_keys;
    read_range seen[READS];
    unsigned seen_count;
    struct {
        uint64_t id;
        state view;
        writes own;
    } savepoint[SAVEPOINTS];
    unsigned savepoints;
} mtxn;

static sim_world world;
static vv_table *table[TABLES];
static vv_rng rng;
static state now;
static event *events;
static uint64_t event_count;
static uint64_t next_id = 1;
static mtxn *txns[TXNS];
static uint64_t commits, conflicts, skews;
static vv_error err;

static uint64_t below(uint64_t n)
{
    return vv_rng_below(&rng, n);
}

/* Order of bytes is order of numbers. */
static vv_slice key_of(unsigned k)
{
    static char text[8][16];
    static unsigned turn;
    char *p = text[turn++ % 8];
    (void)snprintf(p, sizeof text[0], k % 3 == 0 ? "k%02u" : "k%02u/x", k);
    return vv_slice_str(p);
}

static vv_slice value_of(uint64_t id)
{
    static uint8_t bytes[8 + 200];
    vv_put_le64(bytes, id);
    memset(bytes + 8, (int)id, sizeof bytes - 8);
    return vv_slice_of(bytes, 8 + id % 200);
}

static uint64_t id_of(vv_slice value)
{
    assert_true(value.len >= 8);
    uint64_t id = vv_get_le64(value.data);
    assert_true(vv_slice_eq(value, value_of(id)));
    return id;
}

static event *new_event(void)
{
    event *e = &events[event_count % EVENTS];
    *e = (event){.time = ++event_count};
    return e;
}

static void mark(mask *m, unsigned t, unsigned from, unsigned to)
{
    for (unsigned k = from; k < to && k < KEYS; k++)
        m->key[t][k] = true;
}

/* ---- the oracle's verdict ---- */

/* Does an event touch a dependency? Two ranges that overlap over no key at all still do; with the
 * keys dense, ranges that overlap share a key number. */
static bool touches(const event *e, const mask *keys, const mask *ranges)
{
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned k = 0; k < KEYS; k++)
            if ((e->keys.key[t][k] || e->ranges.key[t][k]) &&
                (keys->key[t][k] || ranges->key[t][k]))
                return true;
    return false;
}

static bool must_conflict(const mtxn *m)
{
    mask keys = m->own.keys;
    mask ranges = m->own.ranges;
    if (m->serializable) {
        for (unsigned t = 0; t < TABLES; t++)
            for (unsigned k = 0; k < KEYS; k++)
                keys.key[t][k] |= m->read_keys.key[t][k];
        for (unsigned i = 0; i < m->seen_count; i++)
            mark(&ranges, m->seen[i].table, m->seen[i].from, m->seen[i].to);
    }
    assert_true(event_count - m->time < EVENTS);
    for (uint64_t time = m->time; time < event_count; time++)
        if (touches(&events[time % EVENTS], &keys, &ranges))
            return true;
    return false;
}

static bool wrote_something(const mtxn *m)
{
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned k = 0; k < KEYS; k++)
            if (m->own.keys.key[t][k] || m->own.ranges.key[t][k])
                return true;
    return false;
}

/* Everything it read of its snapshot reads the same now: it could have run alone at this moment. */
static void expect_serial(const mtxn *m)
{
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned k = 0; k < KEYS; k++)
            if (m->read_keys.key[t][k] && now.value[t][k] != m->base.value[t][k])
                fail_msg("key %u of table %u was read and has changed", k, t);
    for (unsigned i = 0; i < m->seen_count; i++)
        for (unsigned k = m->seen[i].from; k < m->seen[i].to; k++)
            if (now.value[m->seen[i].table][k] != m->base.value[m->seen[i].table][k])
                fail_msg("key %u of a range was seen and has changed", k);
}

/* ---- calls of a transaction ---- */

static void do_begin(mtxn **slot)
{
    mtxn *m = calloc(1, sizeof *m);
    assert_non_null(m);
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    m->serializable = below(2) == 0;
    opt.isolation = m->serializable ? VV_ISOLATION_SERIALIZABLE : VV_ISOLATION_SNAPSHOT;
    opt.durability = below(20) == 0 ? VV_DURABLE_SYNC : VV_DURABLE_NONE;
    assert_ok(vv_txn_begin(world.db, &opt, &m->t, &err), err);
    m->time = event_count;
    m->base = m->view = now;
    *slot = m;
}

static void do_end(mtxn **slot)
{
    mtxn *m = *slot;
    *slot = NULL;
    if (below(8) == 0) {
        vv_txn_abort(m->t);
        free(m);
        return;
    }
    bool has_writes = wrote_something(m);
    bool want = has_writes && must_conflict(m);
    vv_write_result r;
    vv_status st = vv_txn_commit(m->t, &r, &err);
    if (st != (want ? VV_CONFLICT : VV_OK))
        fail_msg("commit: %s (%s) instead of %s", vv_status_name(st), err.msg,
                 want ? "a conflict" : "OK");
    if (st == VV_OK && has_writes) {
        if (m->serializable)
            expect_serial(m);
        else
            skews += memcmp(&m->base, &now, sizeof now) != 0;
        event *e = new_event();
        e->keys = m->own.keys;
        e->ranges = m->own.ranges;
        for (unsigned t = 0; t < TABLES; t++)
            for (unsigned k = 0; k < KEYS; k++)
                if (m->own.keys.key[t][k] || m->own.ranges.key[t][k])
                    now.value[t][k] = m->view.value[t][k];
        commits++;
    }
    conflicts += want;
    free(m);
}

static void do_get(mtxn *m)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned k = (unsigned)below(KEYS);
    vv_value v = {0};
    vv_status st = vv_txn_get(m->t, table[t], key_of(k), &v, &err);
    uint64_t want = m->view.value[t][k];
    if (st != (want == 0 ? VV_NOT_FOUND : VV_OK))
        fail_msg("get: %s: %s", vv_status_name(st), err.msg);
    if (want != 0)
        assert_int_equal(id_of(v.data), want);
    vv_value_release(&v);
    m->read_keys.key[t][k] |= !m->own.keys.key[t][k] && !m->own.ranges.key[t][k];
}

static void do_write(mtxn *m)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned k = (unsigned)below(KEYS);
    uint64_t what = below(10);
    if (what == 0) {
        unsigned end = k + 1 + (unsigned)below(8);
        vv_slice upper = end >= KEYS ? vv_slice_of(NULL, 0) : key_of(end);
        assert_ok(vv_txn_delete_range(m->t, table[t], key_of(k), upper, &err), err);
        mark(&m->own.ranges, t, k, end);
        for (unsigned i = k; i < end && i < KEYS; i++) {
            m->view.value[t][i] = 0;
            m->own.keys.key[t][i] = false;
        }
        return;
    }
    uint64_t id = what < 4 ? 0 : next_id++;
    if (id == 0)
        assert_ok(vv_txn_delete(m->t, table[t], key_of(k), &err), err);
    else
        assert_ok(vv_txn_put(m->t, table[t], key_of(k), value_of(id), 0, &err), err);
    m->view.value[t][k] = id;
    m->own.keys.key[t][k] = true;
}

static unsigned live_up(const mtxn *m, unsigned t, unsigned k, unsigned high)
{
    while (k < high && m->view.value[t][k] == 0)
        k++;
    return k;
}

/* The last live key below k, or low - 1 as KEYS. */
static unsigned live_down(const mtxn *m, unsigned t, unsigned k, unsigned low)
{
    while (k > low && m->view.value[t][k - 1] == 0)
        k--;
    return k > low ? k - 1 : KEYS;
}

static void expect_at(const vv_cursor *c, const mtxn *m, unsigned t, unsigned k, bool is_end)
{
    if (vv_cursor_valid(c) == is_end)
        fail_msg("the cursor is %s", is_end ? "on a key that is not there" : "at the end");
    if (is_end)
        return;
    assert_true(vv_slice_eq(vv_cursor_key(c), key_of(k)));
    assert_int_equal(id_of(vv_cursor_value(c)), m->view.value[t][k]);
}

/* One seek and some steps in either direction. Remembers what was seen, as the transaction must. */
static void do_scan(mtxn *m)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned low = (unsigned)below(KEYS);
    unsigned high = low + 1 + (unsigned)below(KEYS - low);
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    if (m->seen_count == READS)
        return;
    opt.lower = key_of(low);
    opt.upper = high == KEYS ? vv_slice_of(NULL, 0) : key_of(high);
    assert_ok(vv_txn_scan(m->t, table[t], &opt, &c, &err), err);
    unsigned at;
    unsigned from = low;
    unsigned to = high;
    bool is_end;
    if (below(2) == 0) {
        from = low + (unsigned)below(high - low);
        assert_ok(vv_cursor_seek(c, key_of(from), &err), err);
        at = live_up(m, t, from, high);
        is_end = at == high;
        to = is_end ? high : at + 1;
    } else {
        to = low + 1 + (unsigned)below(high - low);
        if (to == KEYS)
            assert_ok(vv_cursor_seek_below(c, vv_slice_of(NULL, 0), &err), err);
        else
            assert_ok(vv_cursor_seek_below(c, key_of(to), &err), err);
        at = live_down(m, t, to, low);
        is_end = at == KEYS;
        from = is_end ? low : at;
    }
    expect_at(c, m, t, at, is_end);
    for (uint64_t n = below(12); n > 0 && !is_end; n--) {
        if (below(4) == 0) /* the cursor sees what is written meanwhile */
            do_write(m);
        if (below(3) > 0) {
            assert_ok(vv_cursor_next(c, &err), err);
            at = live_up(m, t, at + 1, high);
            is_end = at >= high;
            to = is_end ? high : at + 1 > to ? at + 1 : to;
        } else {
            assert_ok(vv_cursor_prev(c, &err), err);
            at = live_down(m, t, at, low);
            is_end = at == KEYS;
            from = is_end ? low : at < from ? at : from;
        }
        expect_at(c, m, t, at, is_end);
    }
    vv_cursor_close(c);
    m->seen[m->seen_count++] = (read_range){.table = t, .from = from, .to = to};
}

static void do_savepoint(mtxn *m)
{
    uint64_t what = below(3);
    if (what == 0 && m->savepoints < SAVEPOINTS) {
        assert_ok(vv_txn_savepoint(m->t, &m->savepoint[m->savepoints].id, &err), err);
        m->savepoint[m->savepoints].view = m->view;
        m->savepoint[m->savepoints++].own = m->own;
    } else if (what > 0 && m->savepoints > 0) {
        unsigned i = (unsigned)below(m->savepoints);
        if (what == 1) {
            assert_ok(vv_txn_release(m->t, m->savepoint[i].id, &err), err);
            m->savepoints = i;
            return;
        }
        assert_ok(vv_txn_rollback_to(m->t, m->savepoint[i].id, &err), err);
        m->view = m->savepoint[i].view;
        m->own = m->savepoint[i].own;
        m->savepoints = i + 1;
    }
}

/* ---- others ---- */

static void do_batch(void)
{
    vv_batch *b = vv_batch_create(world.db);
    assert_non_null(b);
    event *e = new_event();
    for (uint64_t n = 1 + below(3); n > 0; n--) {
        unsigned t = (unsigned)below(TABLES);
        unsigned k = (unsigned)below(KEYS);
        if (below(12) == 0) {
            unsigned end = k + 1 + (unsigned)below(5);
            vv_slice upper = end >= KEYS ? vv_slice_of(NULL, 0) : key_of(end);
            assert_ok(vv_batch_delete_range(b, table[t], key_of(k), upper, &err), err);
            mark(&e->ranges, t, k, end);
            for (unsigned i = k; i < end && i < KEYS; i++)
                now.value[t][i] = 0;
            continue;
        }
        uint64_t id = below(3) == 0 ? 0 : next_id++;
        if (id == 0)
            assert_ok(vv_batch_delete(b, table[t], key_of(k), &err), err);
        else
            assert_ok(vv_batch_put(b, table[t], key_of(k), value_of(id), 0, &err), err);
        now.value[t][k] = id;
        e->keys.key[t][k] = true;
    }
    assert_ok(vv_write(world.db, b, VV_DURABLE_NONE, NULL, &err), err);
    vv_batch_destroy(b);
}

static void do_swap(void)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned k = (unsigned)below(KEYS);
    uint64_t old = now.value[t][k];
    uint64_t id = next_id++;
    uint8_t copy[256];
    vv_slice expected = value_of(old);
    memcpy(copy, expected.data, expected.len);
    assert_ok(vv_compare_and_swap(table[t], key_of(k), old != 0, vv_slice_of(copy, expected.len),
                                  value_of(id), 0, VV_DURABLE_NONE, NULL, &err),
              err);
    now.value[t][k] = id;
    new_event()->keys.key[t][k] = true;
}

static void open_tables(void)
{
    table[0] = make_table(world.db, "t", "zero", VV_TABLE_KV);
    table[1] =
        make_table_of(world.db, "t", "one", VV_TABLE_KV,
                      getenv("VV_ENGINE_MIXED") != NULL ? VV_ENGINE_BTREE : VV_ENGINE_DEFAULT);
}

static void expect_now(void)
{
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned k = 0; k < KEYS; k++) {
            vv_value v = {0};
            vv_status st = vv_get(table[t], NULL, key_of(k), &v, &err);
            assert_int_equal(st, now.value[t][k] == 0 ? VV_NOT_FOUND : VV_OK);
            if (st == VV_OK)
                assert_int_equal(id_of(v.data), now.value[t][k]);
            vv_value_release(&v);
        }
    }
}

static void drop_all(void)
{
    for (unsigned i = 0; i < TXNS; i++) {
        if (txns[i] == NULL)
            continue;
        vv_txn_abort(txns[i]->t);
        free(txns[i]);
        txns[i] = NULL;
    }
}

static void do_upkeep(void)
{
    uint64_t what = below(100);
    if (what == 0) {
        drop_all();
        for (unsigned t = 0; t < TABLES; t++)
            vv_table_close(table[t]);
        if (world.ops == &lsm_ops)
            sim_reopen(&world);
        open_tables();
        expect_now();
    } else if (what < 10) {
        assert_ok(vv_checkpoint(world.db, &err), err);
    } else if (what < 14) {
        assert_ok(vv_compact(table[what % 2], vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err),
                  err);
    } else {
        vv_status st = db_step(world.db, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND);
    }
}

/* Old transactions end, so that the list of events reaches back. */
static void end_the_old(void)
{
    for (unsigned i = 0; i < TXNS; i++)
        if (txns[i] != NULL && event_count - txns[i]->time > EVENTS / 2)
            do_end(&txns[i]);
}

static void step(void)
{
    uint64_t what = below(100);
    mtxn **slot = &txns[below(TXNS)];
    if (what < 4)
        do_batch();
    else if (what < 6)
        do_swap();
    else if (what < 10)
        do_upkeep();
    else if (*slot == NULL)
        do_begin(slot);
    else if (what < 40)
        do_write(*slot);
    else if (what < 60)
        do_get(*slot);
    else if (what < 75)
        do_scan(*slot);
    else if (what < 82)
        do_savepoint(*slot);
    else
        do_end(slot);
    end_the_old();
}

static void prop_transactions_equal_a_serial_oracle(void **unused)
{
    (void)unused;
    uint64_t want = vv_test_share("VV_TXN_OPS", 400000);
    uint64_t seed = vv_test_seed(0x7a11);
    print_message("VV_SEED=0x%llx\n", (unsigned long long)seed);
    vv_rng_init(&rng, seed);
    events = calloc(EVENTS, sizeof *events);
    assert_non_null(events);
    world.ops = getenv("VV_ENGINE_MEMORY") != NULL  ? &engine_memory_ops
                : getenv("VV_ENGINE_BTREE") != NULL ? &btree_ops
                                                    : &lsm_ops;
    world.opt = (vv_options)SIM_TINY_OPTIONS;
    sim_start(&world);
    open_tables();
    for (uint64_t i = 0; i < want; i++)
        step();
    drop_all();
    expect_now();
    for (unsigned t = 0; t < TABLES; t++)
        vv_table_close(table[t]);
    print_message("%llu calls, %llu commits, %llu conflicts, %llu commits behind their snapshot\n",
                  (unsigned long long)want, (unsigned long long)commits,
                  (unsigned long long)conflicts, (unsigned long long)skews);
    sim_end(&world);
    free(events);
    assert_true(commits > want / 100 && conflicts > want / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_transactions_equal_a_serial_oracle),
    };
    int failed = sim_choose_files(&world) ? cmocka_run_group_tests(tests, NULL, NULL) : SKIPPED;
    sim_remove_files(&world);
    return failed;
}
